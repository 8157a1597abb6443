using Boxer.Processes;

namespace Boxer.Tests.Core.Processes;

/// <summary>Programs of this host that end by themselves, at a deadline or by cancellation.</summary>
public sealed class HostCommandTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);
    private readonly DescriptorPoller _poller = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _poller.Dispose();

    [Fact]
    public async Task RunAsync_returns_the_exit_code_and_both_outputs()
    {
        HostCommand.Result result = await HostCommand.RunAsync(
            _poller, "/bin/sh", ["-c", "cat; echo fault >&2; exit 7"], Long, TimeProvider.System, Cancel, "input"u8.ToArray());

        Assert.Equal(new HostCommand.Result(7, "input", "fault\n"), result);
    }

    [Fact]
    public async Task RunAsync_returns_128_and_the_signal()
    {
        HostCommand.Result result = await RunAsync("kill -SEGV $$");

        Assert.Equal(128 + 11, result.ExitCode);
    }

    [Fact]
    public async Task RunAsync_keeps_the_first_bytes_and_drains_the_rest()
    {
        HostCommand.Result result = await RunAsync("yes | head -c 300000; yes | head -c 300000 >&2; exit 3", keptBytes: 4);

        Assert.Equal((3, "y\ny\n", 4096, true), (result.ExitCode, result.Stdout, result.Stderr.Length, result.IsCut));
    }

    [Fact]
    public async Task RunAsync_succeeds_if_the_program_does_not_read_its_input()
    {
        HostCommand.Result result = await HostCommand.RunAsync(
            _poller, "/bin/sh", ["-c", "exit 0"], Long, TimeProvider.System, Cancel, new byte[1 << 20]);

        Assert.Equal(0, result.ExitCode);
    }

    [Fact]
    public async Task RunAsync_throws_after_the_timeout()
    {
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(
            () => HostCommand.RunAsync(_poller, "/bin/sh", ["-c", "exec sleep 1000"], TimeSpan.FromSeconds(0.1), TimeProvider.System, Cancel));

        Assert.Equal("/bin/sh -c exec sleep 1000 did not end within 0.1 s.", fault.Message);
    }

    [Fact]
    public async Task RunAsync_can_be_cancelled()
    {
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        Task<HostCommand.Result> running = HostCommand.RunAsync(_poller, "/bin/sh", ["-c", "exec sleep 1000"], Long, TimeProvider.System, cancellation.Token);
        await cancellation.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
    }

    [Fact]
    public async Task RunAsync_throws_if_the_program_is_missing()
    {
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(
            () => HostCommand.RunAsync(_poller, "/missing/program", [], Long, TimeProvider.System, Cancel));

        Assert.StartsWith("Cannot start /missing/program: ", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_passes_ChildEnvironment_and_nothing_else()
    {
        HostCommand.Result result = await HostCommand.RunAsync(_poller, "/usr/bin/env", [], Long, TimeProvider.System, Cancel);

        Assert.Equal(string.Join('\n', HostCommand.ChildEnvironment) + "\n", result.Stdout);
    }

    private Task<HostCommand.Result> RunAsync(string script, int keptBytes = 1 << 20) =>
        HostCommand.RunAsync(_poller, "/bin/sh", ["-c", script], Long, TimeProvider.System, Cancel, keptBytes: keptBytes);
}
