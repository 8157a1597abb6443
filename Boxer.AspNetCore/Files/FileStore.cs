using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Boxer.Linux;

namespace Boxer.AspNetCore.Files;

/// <summary>
/// Uploads and kept outputs of a host, in one separate <see cref="FileSpace"/> per client. A space is a directory below the store's root. Safe for
/// concurrent use within one process; a second process cannot open the same root.
/// </summary>
/// <remarks>
/// Guests cannot access these directories: files are copied into and out of sandboxes as bytes, so hostile code cannot create symbolic links here.
/// The store serves only files that it wrote itself, or found as regular files when it was opened.
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

    /// <summary>Opens a store, and removes partial files of a process that died.</summary>
    /// <param name="root">An absolute path. The directory is created with mode 0700 if it is missing; an existing one must be accessible to this process's user only.</param>
    /// <param name="limits">Limits of each space.</param>
    /// <exception cref="SandboxPrivilegeException">Other users may access the directory.</exception>
    /// <exception cref="IOException">Another process has opened the store.</exception>
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
                PrivateDirectory.DeleteTree(Path.Combine(space, SpaceDirectory.StagingName));
            }

            return new FileStore(root, limits, ownership);
        }
        catch
        {
            ownership.Dispose();
            throw;
        }
    }

    /// <summary>Gets a space by name; creates it on first use.</summary>
    /// <param name="name">1 to 64 lower-case letters, digits and hyphens.</param>
    /// <exception cref="SandboxPrivilegeException">Other users may access the space's directory.</exception>
    /// <exception cref="IOException">The space's directory cannot be used.</exception>
    public FileSpace GetSpace(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!IsSpaceName(name))
        {
            throw new ArgumentException("The name of a file space is 1 to 64 lower-case letters, digits and hyphens.", nameof(name));
        }

        ObjectDisposedException.ThrowIf(_disposed, this);

        // Opening a space counts its files. Lazy keeps callers of other spaces from waiting for that.
        Lazy<FileSpace> space = _spaces.GetOrAdd(name, _ => new(() => new FileSpace(Path.Combine(_root, name), _limits)));
        try
        {
            return space.Value;
        }
        catch
        {
            // The next call tries again.
            _spaces.TryRemove(KeyValuePair.Create(name, space));
            throw;
        }
    }

    /// <summary>Whether a name is valid for a space.</summary>
    internal static bool IsSpaceName(string name) => SpaceName().IsMatch(name);

    /// <summary>Closes the store, so that another process can open it. Files stay in place.</summary>
    public void Dispose()
    {
        _disposed = true;
        _ownership.Dispose();
    }

    [GeneratedRegex("^[a-z0-9-]{1,64}\\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex SpaceName();
}
