using System.Runtime.CompilerServices;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>Processes of a session, with a fake sandbox.</summary>
public sealed class SessionProcessTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_process_prints_to_a_history_that_many_readers_attach_to()
    {
        await using var open = new OpenSession();
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        guest.Print("hello ");
        guest.Print("world");
        Task<List<SandboxProcessEvent>> reader = ReadAsync(process, 0);
        guest.End(Termination.Exited(4));

        Assert.Equal("hello world", Text(await reader));
        List<SandboxProcessEvent> late = await ReadAsync(process, 6);
        Assert.Equal("world", Text(late));
        Assert.Equal(6, Assert.IsType<SandboxProcessOutput>(late[0]).Offset);
        Assert.Equal(4, Assert.IsType<SandboxProcessEnded>(late[^1]).End.Termination.ExitCode);
        Assert.Same(process, Assert.Single(open.Session.Processes));
        Assert.Throws<ArgumentOutOfRangeException>(() => process.EventsAsync(-1, Cancel));
    }

    [Fact]
    public async Task A_process_takes_input_signals_and_sizes_until_it_ends()
    {
        await using var open = new OpenSession();
        ISandboxProcess process = await open.Session.StartAsync(new SandboxCommand("bash") { Terminal = new SandboxTerminal(80, 24) }, Cancel);
        FakeGuestProcess guest = open.Sandbox.Processes[0];
        await process.Input.WriteAsync("ls\n"u8.ToArray(), Cancel);
        await process.SignalAsync(2, Cancel);
        await process.ResizeAsync(new SandboxTerminal(100, 40), Cancel);
        Assert.True(process.IsTerminal);
        Assert.Equal([(2, false)], guest.Signals);
        Assert.Equal(new SandboxTerminal(100, 40), Assert.Single(guest.Sizes));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => process.SignalAsync(65, Cancel));

        await process.DisposeAsync();
        Assert.True(guest.IsKilled);
        Assert.Equal(9, process.End!.Termination.Signal);
        await process.SignalAsync(2, Cancel);
        await Assert.ThrowsAsync<IOException>(async () => await process.Input.WriteAsync("x"u8.ToArray(), Cancel));
        (ISandboxProcess plain, _) = await open.StartAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => plain.ResizeAsync(new SandboxTerminal(1, 1), Cancel));
    }

    [Fact]
    public async Task MaxProcesses_bounds_living_ones_and_ended_ones_are_kept_for_ten_minutes()
    {
        await using var open = new OpenSession(request => request with { IdleTimeout = TimeSpan.FromHours(1) }, new SessionOptions { MaxProcesses = 2 });
        (ISandboxProcess first, FakeGuestProcess guest) = await open.StartAsync();
        await open.StartAsync();
        await Assert.ThrowsAsync<SandboxCapacityException>(open.StartAsync);
        guest.End(Termination.Exited(0));
        await first.WaitAsync(Cancel);
        await Until.IsSoAsync(() => TryStart(open), 30);
        Assert.Equal(3, open.Session.Processes.Count);

        open.Time.Advance(TimeSpan.FromMinutes(11));
        Assert.DoesNotContain(first, open.Session.Processes);
        Assert.Equal(2, open.Session.Processes.Count);

        static bool TryStart(OpenSession open) => open.StartAsync().ContinueWith(task => task.IsCompletedSuccessfully, TaskScheduler.Default).GetAwaiter().GetResult();
    }

    [Fact]
    public async Task A_program_that_cannot_be_started_is_a_process_that_has_ended()
    {
        await using var open = new OpenSession();
        open.Sandbox.StartEnds = Termination.NotStarted(2);
        (ISandboxProcess process, _) = await open.StartAsync();

        Assert.Equal(TerminationKind.NotStarted, process.End!.Termination.Kind);
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
    }

    [Fact]
    public async Task The_output_of_all_processes_together_is_bounded()
    {
        const int Kept = 4_096;
        await using var open = new OpenSession(options: new SessionOptions { MaxProcesses = 2, ProcessHistoryBytes = Kept });
        ISandboxProcess[] ended = [await EndAsync(new string('a', Kept)), await EndAsync(new string('b', Kept)), await EndAsync("c")];
        Assert.Equal($"0 {Kept} 1", await LengthsAsync());

        // A living process may fill its share.
        await open.StartAsync();
        Assert.Equal("0 0 1", await LengthsAsync());
        await open.StartAsync();
        Assert.Equal("0 0 0", await LengthsAsync());
        Assert.Equal(5, open.Session.Processes.Count);

        async Task<ISandboxProcess> EndAsync(string output)
        {
            (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
            guest.Print(output);
            guest.End(Termination.Exited(0));
            await process.WaitAsync(Cancel);
            await Until.IsSoAsync(() => open.Session.State == SandboxSessionState.Idle, 30);
            open.Time.Advance(TimeSpan.FromTicks(1));
            return process;
        }

        async Task<string> LengthsAsync()
        {
            List<int> lengths = [];
            foreach (ISandboxProcess process in ended)
            {
                lengths.Add(Text(await ReadAsync(process, 0)).Length);
            }

            return string.Join(' ', lengths);
        }
    }

    [Fact]
    public async Task A_long_command_is_cut_in_lists_and_whole_in_the_sandbox()
    {
        await using var open = new OpenSession();
        ISandboxProcess process = await open.Session.StartAsync(new SandboxCommand("sh", "-c", new string('a', 100_000), "b"), Cancel);
        Assert.Equal(["sh", "-c"], process.Command.Take(2));
        Assert.Equal(3, process.Command.Count);
        Assert.EndsWith("a...", process.Command[2], StringComparison.Ordinal);
        Assert.InRange(process.Command[2].Length, 16_000, 16_384);
        Assert.Equal(100_000, open.Sandbox.Processes[0].Plan.Arguments[2].Length);
    }

    [Fact]
    public async Task Ended_processes_are_forgotten_although_nobody_asks_for_them()
    {
        await using var open = new OpenSession(request => request with { IdleTimeout = TimeSpan.FromHours(1) });
        WeakReference process = await StartAndEndAsync(open);
        await Until.IsSoAsync(() => open.Session.State == SandboxSessionState.Idle, 30);
        open.Time.Advance(TimeSpan.FromMinutes(10));
        await Until.IsSoAsync(
            () =>
            {
                GC.Collect();
                return !process.IsAlive;
            },
            30);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static async Task<WeakReference> StartAndEndAsync(OpenSession open)
    {
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        guest.End(Termination.Exited(0));
        await process.WaitAsync(Cancel);
        return new WeakReference(process);
    }

    internal static string Text(IEnumerable<SandboxProcessEvent> events) =>
        string.Concat(events.OfType<SandboxProcessOutput>().Select(output => System.Text.Encoding.UTF8.GetString(output.Data.Span)));

    private static async Task<List<SandboxProcessEvent>> ReadAsync(ISandboxProcess process, long from)
    {
        List<SandboxProcessEvent> found = [];
        await foreach (SandboxProcessEvent item in process.EventsAsync(from, Cancel))
        {
            found.Add(item);
        }

        return found;
    }
}
