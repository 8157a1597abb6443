using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Tests.Core.Sessions;
using Boxer.Validation;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Core.Runtime.Kept.GuestScripts;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Openings of kept sandboxes that take too long, with the test as PID 1.</summary>
public sealed class KeptOpeningTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task OpenAsync_ends_in_time_if_PID_1_says_nothing(bool reads)
    {
        var time = new FakeTimeProvider();
        await using var guest = new ScriptedGuest(time);
        Task opening = guest.OpenAsync(async () =>
        {
            if (reads)
            {
                await guest.ReadAsync(InitFrameType.Open);
                await guest.ReadAsync(InitFrameType.Go);
            }
        });
        await AdvanceUntilAsync(time, opening);

        await Assert.ThrowsAsync<SandboxRuntimeException>(() => opening);
    }

    [Theory]
    [InlineData("does not open")]
    [InlineData("does not come")]
    [InlineData("ignores its cancellation")]
    public async Task OpenAsync_names_the_input_that_did_not_come_in_time(string content)
    {
        var time = new FakeTimeProvider();
        await using var guest = new ScriptedGuest(time);
        SandboxFile file = SandboxFile.FromStream("a", async token =>
        {
            if (content == "does not open")
            {
                await Task.Delay(Timeout.Infinite, token);
            }

            return new HangingStream(ignoresCancellation: content == "ignores its cancellation");
        });
        Task opening = guest.OpenAsync(() => Task.CompletedTask, Plan with { Files = [file] });
        await AdvanceUntilAsync(time, opening);

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => opening);
        Assert.Equal("Files[0]", Assert.Single(fault.Faults).Field);
        Assert.Contains("20 s", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task OpenAsync_blames_no_input_that_PID_1_does_not_read(bool isOfWorkspace)
    {
        var time = new FakeTimeProvider();
        await using var guest = new ScriptedGuest(time);
        SandboxFile file = SandboxFile.FromStream("a", _ => ValueTask.FromResult<Stream>(new MemoryStream(new byte[8 << 20])));
        OpenPlan plan = isOfWorkspace
            ? Plan with { Workspace = new CheckedWorkspace(OpenSession.Path("/work"), [SandboxInput.FromFiles(file)], MaxBytes: 8 << 20, MaxEntries: 1, MaxChangesBytes: 0) }
            : Plan with { Files = [file] };
        Task opening = guest.OpenAsync(() => Task.CompletedTask, plan);
        await AdvanceUntilAsync(time, opening);

        Assert.Contains("did not open within 20 s", (await Assert.ThrowsAsync<SandboxRuntimeException>(() => opening)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OpenAsync_that_is_cancelled_throws_the_cancellation()
    {
        await using var guest = new ScriptedGuest();
        using var cancellation = new CancellationTokenSource();
        Task opening = guest.OpenAsync(cancellation.CancelAsync, cancellationToken: cancellation.Token);

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening);
    }

    private sealed class HangingStream(bool ignoresCancellation) : MemoryStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Delay(Timeout.Infinite, ignoresCancellation ? Cancel : cancellationToken);
            return 0;
        }
    }
}
