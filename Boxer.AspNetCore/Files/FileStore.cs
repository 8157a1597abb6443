using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Boxer.Linux;

namespace Boxer.AspNetCore.Files;

/// <summary>
/// Uploads and kept outputs of a host, in spaces that know nothing of each other. A space is a directory below the store's root:
/// <c>data</c> has its files under their own paths, <c>staging</c> what is still arriving or going.
/// Safe for concurrent use within one process; a second process on the same root is refused.
/// </summary>
/// <remarks>
/// Guests never reach these directories: input files are copied into a sandbox and outputs come out of it as bytes, so nothing hostile
/// can make a symbolic link here. What is served is only what the store itself wrote or found as a regular file when it was opened.
/// </remarks>
internal sealed partial class FileStore : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<FileSpace>> _spaces = new(StringComparer.Ordinal);
    private readonly FileLock _ownership;
    private volatile bool _disposed;
    private readonly string _root;
    private readonly FileStoreLimits _limits;

    private FileStore(string root, FileStoreLimits limits, FileLock ownership)
    {
        _root = root;
        _limits = limits;
        _ownership = ownership;
    }

    /// <summary>Opens a store, and removes what a process that died left half-written in it.</summary>
    /// <param name="root">An absolute path; made with mode 0700 when missing, else a directory of this process's user that nobody else may enter.</param>
    /// <param name="limits">What each space may hold.</param>
    /// <exception cref="SandboxPrivilegeException">The directory is not this process's alone.</exception>
    /// <exception cref="IOException">Another process has the store open.</exception>
    public static FileStore Open(string root, FileStoreLimits limits)
    {
        ArgumentException.ThrowIfNullOrEmpty(root);
        ArgumentNullException.ThrowIfNull(limits);
        if (!Path.IsPathFullyQualified(root))
        {
            throw new ArgumentException("The root of a file store must be an absolute path.", nameof(root));
        }

        PrivateDirectory.Ensure(root);

        FileLock ownership = FileLock.TryTakeOrCreate(Path.Combine(root, "lock"))
            ?? throw new IOException($"Another process has the store {root} open.");
        try
        {
            foreach (string space in Directory.EnumerateDirectories(root))
            {
                PrivateDirectory.DeleteTree(Path.Combine(space, FileSpace.StagingName));
            }

            return new FileStore(root, limits, ownership);
        }
        catch
        {
            ownership.Dispose();
            throw;
        }
    }

    /// <summary>The space of this name, made when it is first asked for.</summary>
    /// <param name="name">1 to 64 lower-case letters, digits and hyphens.</param>
    /// <exception cref="SandboxPrivilegeException">The space's directory is not this process's alone.</exception>
    /// <exception cref="IOException">The space's directory cannot be used.</exception>
    public FileSpace GetSpace(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!IsSpaceName(name))
        {
            throw new ArgumentException("The name of a file space is 1 to 64 lower-case letters, digits and hyphens.", nameof(name));
        }

        ObjectDisposedException.ThrowIf(_disposed, this);

        // What is in it is counted when it is opened: nobody waits for that of another space.
        Lazy<FileSpace> space = _spaces.GetOrAdd(name, _ => new(() => FileSpace.Open(Path.Combine(_root, name), _limits)));
        try
        {
            return space.Value;
        }
        catch
        {
            // So that the next call tries again.
            _spaces.TryRemove(KeyValuePair.Create(name, space));
            throw;
        }
    }

    /// <summary>Whether a space can have this name.</summary>
    internal static bool IsSpaceName(string name) => SpaceName().IsMatch(name);

    /// <summary>Lets another process open the store. Files stay where they are.</summary>
    public void Dispose()
    {
        _disposed = true;
        _ownership.Dispose();
    }

    [GeneratedRegex("^[a-z0-9-]{1,64}\\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex SpaceName();
}
