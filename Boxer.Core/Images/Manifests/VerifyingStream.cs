using System.Security.Cryptography;
using Boxer.Common;

namespace Boxer.Images.Manifests;

/// <summary>
/// Checks the size and the digest of what is read through it. What was read may be trusted only after
/// <see cref="CompleteAsync"/> returned.
/// </summary>
/// <param name="inner">Where it is read from; not disposed.</param>
/// <param name="expected">The digest it must have.</param>
/// <param name="size">How long it must be; <see langword="null"/> if that is not known.</param>
/// <param name="what">What it is, for messages.</param>
/// <param name="counted">Told of bytes as they are read; may throw.</param>
internal sealed class VerifyingStream(Stream inner, ImageDigest expected, long? size, string what, Action<int>? counted = null) : ForwardStream
{
    private readonly IncrementalHash _hash = expected.NewHash();
    private long _length;
    private bool _ended;

    /// <inheritdoc/>
    /// <exception cref="RegistryException">The content is not what was named.</exception>
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

        counted?.Invoke(length);
        _hash.AppendData(buffer.Span[..length]);
        return length;
    }

    /// <summary>Reads what is left, up to the end, and verifies all of it.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RegistryException">The content is not what was named.</exception>
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
            // A connection that was cut looks like this too.
            throw new RegistryException($"{what} ended after {_length} of {size} bytes", RegistryFaultKind.Transient);
        }

        ImageDigest actual = expected.FromHash(_hash);
        if (actual != expected)
        {
            throw new RegistryException($"{what} has the digest {actual} instead of {expected}").AsPublic();
        }
    }
}
