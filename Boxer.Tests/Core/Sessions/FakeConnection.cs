namespace Boxer.Tests.Core.Sessions;

/// <summary>A connection that reads nothing.</summary>
internal sealed class FakeConnection : SandboxConnection
{
    public bool IsDisposed { get; private set; }

    public override ValueTask CloseWriteAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => 0;

    public override void Write(byte[] buffer, int offset, int count)
    {
    }

    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        base.Dispose(disposing);
    }
}
