using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core;

/// <summary>The disposal of <see cref="SandboxRunner"/> while a run begins.</summary>
public sealed class SandboxRunnerTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task DisposeAsync_waits_for_a_run_that_has_just_begun()
    {
        Task? disposal = null;
        bool isEarly = false;
        var mode = new Mode();
        SandboxRunner runner = Make(mode);

        // The run is in its first steps, which no other thread sees. The disposal has time to end, and must not.
        mode.OnCheck = () =>
        {
            disposal = runner.DisposeAsync().AsTask();
            isEarly = disposal.Wait(TimeSpan.FromSeconds(0.5), Cancel);
        };

        await Assert.ThrowsAsync<ObjectDisposedException>(() => runner.RunAsync(new SandboxRequest("image", "true") { Network = mode.Name }, Cancel));
        await disposal!;

        Assert.False(isEarly);
    }

    public void Dispose() => _scratch.Dispose();

    private SandboxRunner Make(Mode mode) => new(new BoxerOptions { Home = _scratch["home"] }, [mode]);

    private sealed class Mode : INetworkMode
    {
        public string Name => "own";

        public bool SupportsPooling => false;

        public Action OnCheck { get; set; } = () => { };

        public string? GetUnavailableReason()
        {
            OnCheck();
            return null;
        }

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
