using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Security.Cryptography;
using Boxer.Linux;

namespace Boxer.Runtime.Init;

/// <summary>Finds and installs the boxer-init program on this host.</summary>
[UnsupportedOSPlatform("windows")]
internal static class InitBinary
{
    private const string Name = "boxer-init";
    private static readonly TimeSpan AbandonedAfter = TimeSpan.FromHours(1);

    private const UnixFileMode ExecutableMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    /// <summary>Gets the possible paths of the program for this processor, in search order.</summary>
    /// <exception cref="PlatformNotSupportedException">The program does not exist for this processor.</exception>
    internal static IReadOnlyList<string> Candidates()
    {
        string architecture = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => "x64",
            Architecture.Arm64 => "arm64",
            var other => throw new PlatformNotSupportedException($"{Name} exists for x64 and arm64, not for {other}."),
        };
        string relative = Path.Combine("runtimes", $"linux-{architecture}", "native", Name);
        var searched = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);
        return
        [
            Path.Combine(AppContext.BaseDirectory, relative),
            Path.Combine(AppContext.BaseDirectory, Name),
            .. searched.Select(directory => Path.Combine(directory, Name)),
        ];
    }

    /// <summary>Finds the program that was built or installed with this assembly. The file may lack the permission to execute it.</summary>
    /// <exception cref="FileNotFoundException">None of the paths exists. The message lists them.</exception>
    internal static string Find()
    {
        IReadOnlyList<string> candidates = Candidates();
        return candidates.FirstOrDefault(File.Exists) ?? throw new FileNotFoundException(
            $"{Name} was not found. Looked for: {string.Join(", ", candidates)}.", Name);
    }

    /// <summary>
    /// Installs an executable copy as <c>bin/HASH/boxer-init</c>, because packages do not preserve the permission to execute.
    /// Uses an existing copy only if its content and mode are correct.
    /// </summary>
    /// <param name="source">Path from <see cref="Find"/>.</param>
    /// <param name="directory">Existing directory that only this user can write to.</param>
    /// <param name="cancellationToken">Cancels the operation; no partial copy remains.</param>
    /// <returns>Absolute path of the copy.</returns>
    internal static async Task<string> InstallAsync(string source, string directory, CancellationToken cancellationToken)
    {
        byte[] content = await File.ReadAllBytesAsync(source, cancellationToken).ConfigureAwait(false);
        byte[] hash = SHA256.HashData(content);
        string parent = Path.GetFullPath(Path.Combine(directory, "bin", Convert.ToHexStringLower(hash)[..16]));
        string target = Path.Combine(parent, Name);
        if (await IsIntactAsync(target, hash, cancellationToken).ConfigureAwait(false))
        {
            return target;
        }

        Directory.CreateDirectory(parent);
        string temporary = Path.Combine(parent, $".{Name}.{Guid.NewGuid():N}");
        WholeFile.Write(target, temporary, file => file.Write(content), ExecutableMode);
        return target;
    }

    /// <summary>Removes unfinished copies that are older than an hour. Another process may still be writing a younger one.</summary>
    /// <param name="directory">Directory that was given to <see cref="InstallAsync"/>.</param>
    /// <param name="time">Clock for the age of the files.</param>
    internal static void Sweep(string directory, TimeProvider time)
    {
        string bin = Path.Combine(directory, "bin");
        if (!Directory.Exists(bin))
        {
            return;
        }

        foreach (string left in Directory.EnumerateFiles(bin, $".{Name}.*", SearchOption.AllDirectories)
            .Where(path => time.GetUtcNow().UtcDateTime - File.GetLastWriteTimeUtc(path) > AbandonedAfter))
        {
            File.Delete(left);
        }
    }

    private static async Task<bool> IsIntactAsync(string path, byte[] hash, CancellationToken cancellationToken)
    {
        var file = new FileInfo(path);
        if (!file.Exists || file.LinkTarget is not null || file.UnixFileMode != ExecutableMode)
        {
            return false;
        }

        FileStream stream = file.OpenRead();
        await using (stream.ConfigureAwait(false))
        {
            byte[] found = await SHA256.HashDataAsync(stream, cancellationToken).ConfigureAwait(false);
            return found.AsSpan().SequenceEqual(hash);
        }
    }
}
