using System.Security.Cryptography;
using Boxer.Common;

namespace Boxer.Images.Manifests;

/// <summary>
/// Verifies the size and the digest of the content that is read through it. Content can be trusted only once its end was read, or
/// <see cref="CompleteAsync"/> has returned.
/// </summary>
/// <param name="inner">The content; not disposed.</param>
/// <param name="expected">Expected digest.</param>
/// <param name="size">Expected size in bytes; <see langword="null"/> if unknown.</param>
/// <param name="what">Name of the content, for messages.</param>
/// <param name="onRead">Called with the number of bytes of each read; may throw.</param>
internal sealed class VerifyingStream(Stream inner, ImageDigest expected, long? size, string what, Action<int>? onRead = null) : ForwardStream
{
    private readonly IncrementalHash _hash = expected.NewHash();
    private long _length;
    private bool _ended;

    /// <inheritdoc/>
    /// <exception cref="RegistryException">The content has another size or digest.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_ended || buffer.Length == 0)
        {
            return 0;
        }

        int length = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        if (length == 0)
        {
            Verify();
            _ended = true;
            return 0;
        }

        _length += length;
        if (_length > size)
        {
            throw new RegistryException($"{what} is longer than the {size} bytes that its manifest names").AsPublic();
        }

        onRead?.Invoke(length);
        _hash.AppendData(buffer.Span[..length]);
        return length;
    }

    /// <summary>Reads the rest of the content, and verifies all of it.</summary>
    /// <param name="cancellationToken">Cancels the read; the content remains unverified.</param>
    /// <exception cref="RegistryException">The content has another size or digest.</exception>
    public async Task CompleteAsync(CancellationToken cancellationToken)
    {
        var buffer = new byte[32 * 1024];
        while (await ReadAsync(buffer, cancellationToken).ConfigureAwait(false) > 0)
        {
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _hash.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Verify()
    {
        if (_length < size)
        {
            // An interrupted connection looks the same.
            throw new RegistryException($"{what} ended after {_length} of {size} bytes", RegistryFaultKind.Transient);
        }

        ImageDigest actual = expected.FromHash(_hash);
        if (actual != expected)
        {
            throw new RegistryException($"{what} has the digest {actual} instead of {expected}").AsPublic();
        }
    }
}
