using System.Text;
using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>Encodes frames to PID 1, each with its header.</summary>
internal static class InitEncoder
{
    private const int MaxHostnameBytes = 64;
    private const uint MaxMode = 0xFFF;

    /// <summary>Encodes a START frame.</summary>
    /// <exception cref="ArgumentException">A value exceeds a limit of <see cref="InitProtocol"/>, or a string contains a NUL.</exception>
    internal static byte[] EncodeStart(InitStart start)
    {
        ArgumentNullException.ThrowIfNull(start);
        CheckCommand(start.Arguments, start.Environment);
        return EncodePlan(start, InitFrameType.Start);
    }

    /// <summary>Encodes an OPEN frame.</summary>
    /// <param name="start">Description of the sandbox, without arguments, environment, outputs and changes.</param>
    /// <exception cref="ArgumentException">A value exceeds a limit of <see cref="InitProtocol"/>, or describes a command.</exception>
    internal static byte[] EncodeOpen(InitStart start)
    {
        ArgumentNullException.ThrowIfNull(start);
        if (start.Arguments.Count + start.Environment.Count > 0 || start.Outputs is not null || start.ChangeEntries > 0 || start.MergeOutput || start.Terminal is not null)
        {
            throw new ArgumentException("A session has no command, outputs or changes of its own.", nameof(start));
        }

        return EncodePlan(start, InitFrameType.Open);
    }

    /// <summary>Converts a START frame to a WARM_UP frame; both have the same payload.</summary>
    /// <param name="start">START frame with its header.</param>
    internal static byte[] ToWarmUp(ReadOnlyMemory<byte> start)
    {
        byte[] frame = start.ToArray();
        InitProtocol.WriteHeader(frame, InitFrameType.WarmUp, frame.Length - InitProtocol.HeaderSize);
        return frame;
    }

    /// <summary>Encodes a FILE_BEGIN frame.</summary>
    /// <param name="path">Absolute path in the sandbox.</param>
    /// <param name="executable">Whether the file is executable.</param>
    /// <exception cref="ArgumentException">The path is not a clean absolute path.</exception>
    internal static byte[] EncodeFileBegin(string path, bool executable)
    {
        CheckPath(path, nameof(path));
        var writer = new PayloadWriter();
        writer.U32(executable ? 1u : 0u);
        writer.Text(path);
        return writer.ToFrame(InitFrameType.FileBegin, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a frame that makes an entry of the workspace.</summary>
    /// <param name="type">One of the TREE frames.</param>
    /// <param name="mode">Permission bits.</param>
    /// <param name="seconds">Modification time in seconds since 1970.</param>
    /// <param name="nanoseconds">Nanoseconds of the modification time.</param>
    /// <param name="path">Path relative to the workspace.</param>
    /// <param name="other">Target of a link, or path of the file to copy; otherwise <see langword="null"/>.</param>
    /// <exception cref="ArgumentException">The path is not clean, or too long.</exception>
    internal static byte[] EncodeTreeEntry(InitFrameType type, uint mode, long seconds, uint nanoseconds, string path, string? other = null)
    {
        CheckPath("/" + path, nameof(path));
        var writer = new PayloadWriter();
        writer.U32(mode);
        writer.U64((ulong)seconds);
        writer.U32(nanoseconds);
        writer.Text(path);
        if (other is not null)
        {
            writer.Text(other);
        }

        return writer.ToFrame(type, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a frame without payload.</summary>
    internal static byte[] EncodeEmpty(InitFrameType type)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize];
        InitProtocol.WriteHeader(frame, type, 0);
        return frame;
    }

    /// <summary>Encodes a SIGNAL frame.</summary>
    /// <param name="signal">Number of the signal, 1 to 64.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="signal"/> is not 1 to 64.</exception>
    internal static byte[] EncodeSignal(int signal)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, 64);
        var writer = new PayloadWriter();
        writer.U32((uint)signal);
        return writer.ToFrame(InitFrameType.Signal, InitProtocol.MaxPayload);
    }

    /// <summary>Writes an identity, the first field of START.</summary>
    internal static void WriteIdentity(PayloadWriter writer, InitIdentity identity)
    {
        writer.U32(identity.UserId);
        writer.U32(identity.GroupId);
        writer.U64((ulong)identity.Capabilities);
        writer.U32((uint)identity.SupplementaryGroups.Count);
        foreach (uint group in identity.SupplementaryGroups)
        {
            writer.U32(group);
        }
    }

    /// <summary>Writes limits, the second field of START.</summary>
    internal static void WriteLimits(PayloadWriter writer, IReadOnlyList<InitResourceLimit> limits)
    {
        writer.U32((uint)limits.Count);
        foreach (InitResourceLimit limit in limits)
        {
            writer.U32((uint)limit.Resource);
            writer.U64(limit.Soft);
            writer.U64(limit.Hard);
        }
    }

    /// <summary>Writes a list of texts.</summary>
    internal static void WriteTexts(PayloadWriter writer, IReadOnlyList<string> texts)
    {
        writer.U32((uint)texts.Count);
        foreach (string text in texts)
        {
            writer.Text(text);
        }
    }

    private static byte[] EncodePlan(InitStart start, InitFrameType type)
    {
        CheckIdentity(start.Identity);
        CheckLimits(start.ResourceLimits);
        CheckWorkingDirectory(start.WorkingDirectory);
        CheckDirectories(start);
        CheckSandbox(start);
        var writer = new PayloadWriter();
        WriteIdentity(writer, start.Identity);
        WriteLimits(writer, start.ResourceLimits);
        writer.Text(start.Hostname);
        writer.Text(start.WorkingDirectory);
        WriteDirectories(writer, start);
        WriteTexts(writer, start.Arguments);
        WriteTexts(writer, start.Environment);
        writer.U64((ulong)start.MemoryBytes);
        writer.U32((uint)start.CpuQuota);
        writer.U32(start.MergeOutput ? 1u : 0u);
        writer.U64((ulong)start.ChangeBytes);
        writer.U32((uint)start.ChangeEntries);
        writer.U32((uint)(start.Terminal?.Columns ?? 0));
        writer.U32((uint)(start.Terminal?.Rows ?? 0));
        return writer.ToFrame(type, InitProtocol.MaxStartPayload);
    }

    private static void WriteDirectories(PayloadWriter writer, InitStart start)
    {
        writer.U64((ulong)start.TmpfsBytes);
        writer.U32((uint)start.Tmpfs.Count);
        foreach (InitTmpfs tmpfs in start.Tmpfs)
        {
            writer.Text(tmpfs.Path);
            writer.U32(tmpfs.Mode);
            writer.U32(tmpfs.UserId);
            writer.U32(tmpfs.GroupId);
            writer.U32((uint)tmpfs.Kind);
        }

        writer.U32((uint)start.TextFiles.Count);
        foreach (InitTextFile file in start.TextFiles)
        {
            writer.Text(file.Path);
            writer.Bytes(file.Content.Span);
        }

        writer.Text(start.Outputs?.Path ?? "");
        writer.U64((ulong)(start.Outputs?.MaxBytes ?? 0));
        writer.U32((uint)(start.Outputs?.MaxEntries ?? 0));
    }

    /// <summary>Checks an identity.</summary>
    /// <exception cref="ArgumentException">It has a reserved id, too many groups, or capabilities that its user cannot have.</exception>
    internal static void CheckIdentity(InitIdentity identity)
    {
        CheckCount(identity.SupplementaryGroups.Count, 0, InitProtocol.MaxGroups, nameof(identity.SupplementaryGroups));
        uint[] ids = [identity.UserId, identity.GroupId, .. identity.SupplementaryGroups];

        // -1 means "no change" to setresuid(2) and chown(2).
        if (ids.Any(id => id is InitProtocol.ReservedId or uint.MaxValue))
        {
            throw new ArgumentException($"Ids {InitProtocol.ReservedId} and {uint.MaxValue} are reserved.", nameof(identity));
        }

        if (identity.UserId == 0 && ids.Any(id => id >= InitProtocol.MappedIds))
        {
            throw new ArgumentException($"Groups of user 0 must be below {InitProtocol.MappedIds}.", nameof(identity));
        }

        if ((identity.Capabilities & ~InitCapabilities.All) != InitCapabilities.None || (identity.Capabilities != InitCapabilities.None && identity.UserId != 0))
        {
            throw new ArgumentException($"Only user 0 can have capabilities, and only those of {nameof(InitCapabilities.All)}.", nameof(identity));
        }
    }

    /// <summary>Checks the number of limits.</summary>
    /// <exception cref="ArgumentException">There are too many.</exception>
    internal static void CheckLimits(IReadOnlyList<InitResourceLimit> limits) => CheckCount(limits.Count, 0, InitProtocol.MaxItems, nameof(limits));

    /// <summary>Checks a command.</summary>
    /// <exception cref="ArgumentException">It has no program, or too many texts.</exception>
    internal static void CheckCommand(IReadOnlyList<string> arguments, IReadOnlyList<string> environment)
    {
        CheckCount(arguments.Count, 1, InitProtocol.MaxStrings, nameof(arguments));
        CheckCount(arguments.Count + environment.Count, 1, InitProtocol.MaxStrings, nameof(environment));
        if (arguments[0].Length == 0)
        {
            throw new ArgumentException("The name of the program is empty.", nameof(arguments));
        }
    }

    /// <summary>Checks a working directory.</summary>
    /// <exception cref="ArgumentException">It is not a clean absolute path.</exception>
    internal static void CheckWorkingDirectory(string path)
    {
        if (path != "/")
        {
            CheckPath(path, nameof(path));
        }
    }

    private static void CheckDirectories(InitStart start)
    {
        CheckCount(start.Tmpfs.Count, 0, InitProtocol.MaxItems, nameof(start.Tmpfs));
        CheckCount(start.TextFiles.Count, 0, InitProtocol.MaxItems, nameof(start.TextFiles));
        if (start.TmpfsBytes < 1)
        {
            throw new ArgumentException("The tmpfs needs at least 1 byte.", nameof(start));
        }

        foreach (InitTmpfs tmpfs in start.Tmpfs)
        {
            CheckPath(tmpfs.Path, nameof(start.Tmpfs));
            if (tmpfs.Mode > MaxMode)
            {
                throw new ArgumentException($"The mode of {tmpfs.Path} is out of range.", nameof(start));
            }
        }

        foreach (InitTextFile file in start.TextFiles)
        {
            CheckPath(file.Path, nameof(start.TextFiles));
        }

        if (start.Outputs is { } outputs)
        {
            CheckPath(outputs.Path, nameof(start.Outputs));
            if (outputs.MaxBytes < 0 || outputs.MaxEntries < 0)
            {
                throw new ArgumentException("The limits of the outputs are negative.", nameof(start));
            }
        }

        int workspaces = start.Tmpfs.Count(tmpfs => tmpfs.Kind == InitTmpfsKind.Workspace);
        if (workspaces > 1 || start.ChangeBytes < 0 || start.ChangeEntries < 0 || (start.ChangeEntries > 0 && workspaces == 0))
        {
            throw new ArgumentException("There is more than one workspace, or changes are requested without one.", nameof(start));
        }
    }

    private static void CheckSandbox(InitStart start)
    {
        if (Encoding.UTF8.GetByteCount(start.Hostname) > MaxHostnameBytes)
        {
            throw new ArgumentException($"The host name is longer than {MaxHostnameBytes} bytes.", nameof(start));
        }

        if (start.MemoryBytes < InitProtocol.LeastMemory || start.CpuQuota < 1)
        {
            throw new ArgumentException("The memory or the processor time is out of range.", nameof(start));
        }
    }

    private static void CheckCount(int count, int min, int max, string name)
    {
        if (count < min || count > max)
        {
            throw new ArgumentException($"{name} has {count} entries; {min} to {max} are allowed.", name);
        }
    }

    private static void CheckPath(string path, string name)
    {
        // Callers that know the origin of the text reject halves of surrogate pairs. Here they become U+FFFD.
        if ((CleanPath.TryParse(path, PathKind.Absolute, out _) & ~PathFaults.NotUnicode) != PathFaults.None)
        {
            throw new ArgumentException($"'{path}' is not a clean absolute path of at most {CleanPath.MaxBytes} bytes.", name);
        }
    }
}
