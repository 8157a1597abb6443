using System.Security.Cryptography;
using System.Text;
using Boxer.Linux;

namespace Boxer.Images.Roots;

/// <summary>
/// Gives the roots of an application's own store with a layer on top, as overlay mounts: nothing is written to them, also not the mount
/// points that a runtime would make.
/// </summary>
internal sealed class OverlaidImageStore : IImageStore, IDisposable
{
    private readonly IImageStore _inner;
    private readonly OverlayMounts _mounts;
    private readonly string _topLayer;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _users = new(StringComparer.Ordinal);

    /// <param name="inner">The application's store.</param>
    /// <param name="directory">A directory of this process alone for the mounts.</param>
    /// <param name="topLayer">The directory that is put on top.</param>
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

    /// <summary>Unmounts everything. The application's store stays as it is.</summary>
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

    // With its last user, because what the store gives at the same path later is another tree.
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
