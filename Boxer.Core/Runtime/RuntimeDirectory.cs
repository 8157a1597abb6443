using System.Security.Cryptography;
using Boxer.Diagnostics;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime.Cgroups;
using Microsoft.Extensions.Logging;

namespace Boxer.Runtime;

/// <summary>
/// What one runner has on this host while it lives: a name, a locked file that says that it lives, and a directory for everything
/// that must not outlive it. The lock goes with the process, however that ends; whoever starts next takes away what is left.
/// </summary>
internal sealed class RuntimeDirectory : IAsyncDisposable
{
    private const string LockSuffix = ".lock";
    private const string CgroupsFile = "cgroups";
    private readonly FileLock _lock;

    private RuntimeDirectory(string id, string directory, FileLock @lock)
    {
        Id = id;
        Directory = directory;
        _lock = @lock;
    }

    /// <summary>Eight hexadecimal digits, also in the names of links, tables and cgroups.</summary>
    internal string Id { get; }

    /// <summary>The directory of this instance.</summary>
    internal string Directory { get; }

    /// <summary>Where instances live: /run/boxer for root, else $XDG_RUNTIME_DIR/boxer, else /tmp/boxer-UID.</summary>
    internal static string DefaultBase()
    {
        if (Unistd.geteuid() == 0)
        {
            return "/run/boxer";
        }

        string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        return string.IsNullOrEmpty(runtime) ? $"/tmp/boxer-{Unistd.geteuid()}" : Path.Join(runtime, "boxer");
    }

    /// <summary>Makes a new instance.</summary>
    /// <exception cref="SandboxPrivilegeException">Its directory cannot be made.</exception>
    /// <exception cref="SandboxRuntimeException">There is no room for it.</exception>
    internal static RuntimeDirectory Create(string baseDirectory)
    {
        PrivateDirectory.Ensure(baseDirectory);
        while (true)
        {
            string id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4));
            string lockFile = Path.Join(baseDirectory, id + LockSuffix);
            FileLock? held = null;
            try
            {
                held = FileLock.TryCreate(lockFile);

                // Between its creation and its lock, another instance may have taken the file for a dead one's.
                if (held is null || !File.Exists(lockFile))
                {
                    held?.Dispose();
                    continue;
                }

                string directory = Path.Join(baseDirectory, id);
                System.IO.Directory.CreateDirectory(directory, PrivateDirectory.Mode);
                return new RuntimeDirectory(id, directory, held);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                if (held is not null)
                {
                    File.Delete(lockFile);
                    held.Dispose();
                }

                throw HostFault.ToException($"Nothing can be made in {baseDirectory}: {exception.Message}", exception);
            }
        }
    }

    /// <summary>Takes away what dead instances left: processes, cgroups, mounts, directories. Live ones are not touched.</summary>
    internal static async Task ReconcileAsync(string baseDirectory, TimeProvider time, ILogger logger)
    {
        if (!System.IO.Directory.Exists(baseDirectory))
        {
            return;
        }

        PrivateDirectory.Ensure(baseDirectory);
        foreach (string lockFile in System.IO.Directory.GetFiles(baseDirectory, "*" + LockSuffix))
        {
            string id = Path.GetFileNameWithoutExtension(lockFile);
            try
            {
                using FileLock? held = FileLock.TryTake(lockFile);
                if (held is null)
                {
                    continue;
                }

                await RemoveAsync(Path.Join(baseDirectory, id), time).ConfigureAwait(false);
                File.Delete(lockFile);
                Log.InstanceReconciled(logger, id);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                Log.ReconcileFailed(logger, id, exception);
            }
        }
    }

    /// <summary>Whether the process that made an instance lives.</summary>
    internal static bool IsAlive(string baseDirectory, string id)
    {
        string lockFile = Path.Join(baseDirectory, id + LockSuffix);
        if (!File.Exists(lockFile))
        {
            return false;
        }

        using FileLock? held = FileLock.TryTake(lockFile);
        return held is null && File.Exists(lockFile);
    }

    /// <summary>Writes down where this instance's cgroups are, before they are made.</summary>
    internal void RecordCgroups(CgroupHierarchy cgroups) => File.WriteAllLines(Path.Join(Directory, CgroupsFile), [.. cgroups.Directories, .. cgroups.MissingParents()]);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await RemoveAsync(Directory, TimeProvider.System).ConfigureAwait(false);
            File.Delete(_lock.Path);
        }
        finally
        {
            _lock.Dispose();
        }
    }

    private static async Task RemoveAsync(string directory, TimeProvider time)
    {
        string cgroups = Path.Join(directory, CgroupsFile);
        if (File.Exists(cgroups))
        {
            // Only names that an instance gives: a damaged file must not make us kill strangers.
            string name = "boxer-" + Path.GetFileName(directory);
            string[] lines = File.ReadAllLines(cgroups);
            string[] recorded = [.. lines.Where(line => Path.GetFileName(line) == name)];
            await CgroupHierarchy.RemoveAsync(recorded, time).ConfigureAwait(false);
            CgroupHierarchy.RemoveEmpty(lines.Where(line => recorded.Any(child => child.StartsWith(line + "/", StringComparison.Ordinal))));
        }

        // Without cgroups, the runtime's processes are known by their executable and the directory in their arguments.
        await ProcessTable.EndRuntimeAsync(directory, RuntimePrograms.Read(directory), time).ConfigureAwait(false);
        foreach (string mountPoint in MountTable.Below(directory))
        {
            _ = SysMount.umount2(mountPoint, SysMount.MNT_DETACH);
        }

        if (System.IO.Directory.Exists(directory))
        {
            System.IO.Directory.Delete(directory, recursive: true);
        }
    }
}
