namespace Boxer.Tests.Support;

/// <summary>A stream without bytes that does not end, such as a pipe that somebody left open.</summary>
internal sealed class NeverEndingStream : MemoryStream
{
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await Task.Delay(Timeout.Infinite, cancellationToken);
        return 0;
    }
}
