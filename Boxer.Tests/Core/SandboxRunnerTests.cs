using Boxer.Networking;
using Boxer.Tests.Hosting;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.Core;

/// <summary>The disposal of <see cref="SandboxRunner"/> while it prepares the host or begins a run.</summary>
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

    [Fact]
    public async Task DisposeAsync_succeeds_and_logs_although_a_cancellation_callback_of_a_network_mode_fails()
    {
        var log = new LogLines();
        var begun = new TaskCompletionSource();
        var mode = new Mode
        {
            OnReconcileAsync = async cancellationToken =>
            {
                await using CancellationTokenRegistration faulty = cancellationToken.Register(() => throw new InvalidOperationException("a fault of the callback"));
                begun.SetResult();
                await Task.Delay(Timeout.Infinite, cancellationToken);
            },
        };
        using ILoggerFactory loggers = LoggerFactory.Create(builder => builder.AddProvider(log));
        SandboxRunner runner = Make(mode, loggers);
        Task start = runner.StartAsync(Cancel);
        await begun.Task;

        await runner.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => start);
        Assert.Contains(log.All, line => line.StartsWith("A cancellation callback", StringComparison.Ordinal));
    }

    public void Dispose() => _scratch.Dispose();

    private SandboxRunner Make(Mode mode, ILoggerFactory? loggers = null) => new(new BoxerOptions { Home = _scratch["home"] }, [mode], loggers: loggers);

    private sealed class Mode : INetworkMode
    {
        public string Name => "own";

        public bool SupportsPooling => false;

        public Action OnCheck { get; set; } = () => { };

        public Func<CancellationToken, Task> OnReconcileAsync { get; init; } = _ => Task.CompletedTask;

        public string? GetUnavailableReason()
        {
            OnCheck();
            return null;
        }

        public Task ReconcileAsync(CancellationToken cancellationToken) => OnReconcileAsync(cancellationToken);

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
