using System.Security.Cryptography;
using System.Text;
using Boxer.Linux;

namespace Boxer.Images.Roots;

/// <summary>
/// Puts a layer on top of the roots of an application's own store, with overlay mounts. The roots themselves are not written to, not even the mount
/// points that a runtime needs.
/// </summary>
internal sealed class OverlaidImageStore : IImageStore, IDisposable
{
    private readonly IImageStore _inner;
    private readonly OverlayMounts _mounts;
    private readonly string _topLayer;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _users = new(StringComparer.Ordinal);

    /// <summary>Creates a store.</summary>
    /// <param name="inner">The application's store.</param>
    /// <param name="directory">Directory of the mounts, which no other process uses.</param>
    /// <param name="topLayer">Directory of the layer to put on top.</param>
    /// <exception cref="SandboxPrivilegeException">Other users may enter the directory.</exception>
    public OverlaidImageStore(IImageStore inner, string directory, string topLayer)
    {
        PrivateDirectory.Ensure(directory);
        _inner = inner;
        _mounts = new(directory);
        _topLayer = topLayer;
    }

    /// <inheritdoc/>
    public async Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
    {
        IImageLease lease = await _inner.AcquireAsync(reference, options, cancellationToken).ConfigureAwait(false);
        try
        {
            return new Lease(this, lease, Mount(lease.RootPath));
        }
        catch (IOException fault)
        {
            await lease.DisposeAsync().ConfigureAwait(false);
            throw new SandboxRuntimeException($"The root {lease.RootPath} could not be mounted: {fault.Message}", fault);
        }
    }

    /// <summary>Unmounts all roots. The application's store is not disposed.</summary>
    public void Dispose() => _mounts.UnmountAll();

    private static string Name(string rootPath) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(rootPath)));

    private string Mount(string rootPath)
    {
        lock (_lock)
        {
            string mounted = _mounts.Mount(Name(rootPath), [_topLayer, rootPath]);
            _users[rootPath] = _users.GetValueOrDefault(rootPath) + 1;
            return mounted;
        }
    }

    // Unmounted with its last user: the store may put another tree at the same path later.
    private void Release(string rootPath)
    {
        lock (_lock)
        {
            if (--_users[rootPath] == 0)
            {
                _users.Remove(rootPath);
                _mounts.Unmount(Name(rootPath));
            }
        }
    }

    private sealed class Lease(OverlaidImageStore store, IImageLease inner, string root) : IImageLease
    {
        private int _disposed;

        public string Digest => inner.Digest;

        public ImageConfig Config => inner.Config;

        public string RootPath => root;

        public async ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                store.Release(inner.RootPath);
                await inner.DisposeAsync().ConfigureAwait(false);
            }
        }
    }
}
