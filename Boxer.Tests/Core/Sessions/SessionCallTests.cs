using System.Net.Sockets;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>Commands, processes and connections of a session, with a fake sandbox.</summary>
public sealed class SessionCallTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ExecAsync_returns_what_the_command_printed_and_left_behind()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        exec.Print("one ");
        exec.Print("two");
        exec.End(Termination.Exited(3), leftBehind: 2);

        SandboxResult ended = await result;
        Assert.Equal((3, "one two", 2, "sha256:0"), (ended.ExitCode, ended.StandardOutput, ended.LeftBehind, ended.ImageDigest));
        Assert.StartsWith("boxer-", ended.Id, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StreamAsync_yields_output_as_it_comes_and_leaving_it_ends_the_command()
    {
        await using var open = new OpenSession();
        await using (IAsyncEnumerator<SandboxEvent> events = open.Session.StreamAsync(new SandboxCommand("program"), Cancel).GetAsyncEnumerator(Cancel))
        {
            Assert.True(await events.MoveNextAsync());
            Assert.IsType<SandboxStarted>(events.Current);
            open.Sandbox.Execs[0].Print("now");
            Assert.True(await events.MoveNextAsync());
            Assert.Equal("now", System.Text.Encoding.UTF8.GetString(Assert.IsType<SandboxDataReceived>(events.Current).Data.Span));
        }

        Assert.True(open.Sandbox.Execs[0].Done.Task.IsCanceled);
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        await open.CallAsync();
    }

    [Fact]
    public async Task ExecAsync_that_is_cancelled_throws_the_callers_cancellation_and_keeps_the_session()
    {
        await using var open = new OpenSession();
        using var cancelled = new CancellationTokenSource();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancelled.Token);
        await cancelled.CancelAsync();

        OperationCanceledException fault = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => result);
        Assert.Null(open.Session.End);
        Assert.NotNull(fault);
    }

    [Fact]
    public async Task The_environment_of_one_command_is_not_seen_by_another()
    {
        await using var open = new OpenSession();
        var secret = new SandboxCommand("program");
        secret.Environment["TOKEN"] = "secret";
        Task<SandboxResult> first = open.Session.ExecAsync(secret, Cancel);
        await Until.IsSoAsync(() => open.Sandbox.Execs.Count == 1, 30);
        (Task<SandboxResult> second, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        open.Sandbox.Execs[0].End();
        exec.End();
        await Task.WhenAll(first, second);

        Assert.Contains("TOKEN=secret", open.Sandbox.Execs[0].Plan.Environment);
        Assert.Equal(["HOME=/home/boxer", "PATH=/bin"], exec.Plan.Environment.Order());
        Assert.Equal("/work", exec.Plan.WorkingDirectory);
        Assert.Equal(1_000u, exec.Plan.User.UserId);
    }

    [Fact]
    public async Task MaxParallelExecs_rejects_one_more_command()
    {
        await using var open = new OpenSession(options: new SessionOptions { MaxParallelExecs = 2 });
        (Task<SandboxResult> first, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        (Task<SandboxResult> second, FakeExec other) = await open.ExecAsync(cancellationToken: Cancel);
        await Assert.ThrowsAsync<SandboxCapacityException>(open.CallAsync);
        exec.End();
        await first;

        await open.CallAsync();
        other.End();
        await second;
    }

    [Fact]
    public async Task Commands_share_the_processors_of_the_session_and_an_idle_one_has_none()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> first, FakeExec one) = await open.ExecAsync(cancellationToken: Cancel);
        (Task<SandboxResult> second, FakeExec two) = await open.ExecAsync(cancellationToken: Cancel);
        Assert.Equal(1, open.Admission.Ledger.PromisedProcessors);
        one.End();
        await first;
        Assert.Equal(1, open.Admission.Ledger.PromisedProcessors);
        two.End();
        await second;
        Assert.Equal(0, open.Admission.Ledger.PromisedProcessors);

        (_, FakeGuestProcess guest) = await open.StartAsync();
        Assert.Equal(1, open.Admission.Ledger.PromisedProcessors);
        await open.Session.PauseAsync(Cancel);
        Assert.Equal(0, open.Admission.Ledger.PromisedProcessors);
        await open.Session.ResumeAsync(Cancel);
        Assert.Equal(1, open.Admission.Ledger.PromisedProcessors);
        guest.End(Termination.Exited(0));
        await Until.IsSoAsync(() => open.Admission.Ledger.PromisedProcessors == 0, 30);
    }

    [Fact]
    public async Task A_command_waits_for_processors_in_turn_and_the_end_of_the_session_ends_the_wait()
    {
        await using var open = new OpenSession(processors: 1);
        using Boxer.Admission.AdmissionQueue.Ticket place = open.Admission.EnterSession("other");
        using IDisposable run = await place.AcquireProcessorsAsync(1, isExclusive: false, Cancel);
        Task<SandboxResult> waiting = open.Session.ExecAsync(new SandboxCommand("program"), Cancel);
        await Until.IsSoAsync(() => open.Admission.WaitingForProcessors == 1, 30);
        Assert.Empty(open.Sandbox.Execs);
        await open.Session.CloseAsync(Cancel);

        SandboxSessionEndedException fault = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => waiting);
        Assert.Equal((SandboxSessionEnd.Closed, 0), (fault.End, open.Admission.WaitingForProcessors));
    }

    [Fact]
    public async Task The_network_report_of_a_command_is_the_difference()
    {
        var network = new CountingNetwork();
        await using var open = new OpenSession(network: network);
        network.Report = new NetworkReport { BytesIn = 100, BytesOut = 50, Denied = [new("1.1.1.1", null, 80, "tcp", 3)] };
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        network.Report = new NetworkReport
        {
            BytesIn = 150,
            BytesOut = 51,
            Denied = [new("1.1.1.1", null, 80, "tcp", 4), new(null, "example.org", 53, "dns", 2)],
        };
        exec.End();

        NetworkReport report = (await result).Network;
        Assert.Equal((50, 1), (report.BytesIn, report.BytesOut));
        Assert.Equal([new(null, "example.org", 53, "dns", 2), new("1.1.1.1", null, 80, "tcp", 1)], report.Denied);
        Assert.Equal(new NetworkReport { BytesIn = 0, BytesOut = 0 }, (await open.CallAsync()).Network with { Denied = NetworkReport.None.Denied });
        network.Report = null;
        Assert.NotNull((await open.CallAsync()).NetworkIncomplete);
    }

    [Fact]
    public async Task The_network_report_of_a_command_is_cut_to_100_denials_after_the_difference()
    {
        var network = new CountingNetwork();
        await using var open = new OpenSession(network: network);
        NetworkDenial[] large = [.. Enumerable.Range(1, 150).Select(port => new NetworkDenial("1.1.1.1", null, port, "tcp", 9))];
        network.Report = new NetworkReport { Denied = [.. large, new("2.2.2.2", null, 80, "tcp", 5)] };
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(Cancel);
        network.Report = new NetworkReport { Denied = [.. large, new("2.2.2.2", null, 80, "tcp", 6), new("3.3.3.3", null, 80, "tcp", 1)] };
        exec.End();

        Assert.Equal(["2.2.2.2 1", "3.3.3.3 1"], (await result).Network.Denied.Select(denial => $"{denial.Address} {denial.Count}"));
        Assert.Equal(NetworkReport.MaxDenied, (await open.Session.ReadNetworkAsync(Cancel)).Denied.Count);
    }

    [Theory]
    [InlineData("", "a:5", "a:5")]
    [InlineData("a:5", "a:6", "a:1")]
    [InlineData("a:5", "b:6", "b:1")]
    [InlineData(":5", "a:6", "a:1")]
    [InlineData("a:5 b:3", "a:6 b:5", "b:2 a:1")]
    [InlineData("a:5 :3", "a:5 b:4", "b:1")]
    [InlineData("a:5", "a:2", "a:2")]
    [InlineData("a:5", "b:2", "b:2")]
    [InlineData("a:5", "", "")]
    public async Task The_name_of_a_denied_address_may_change_between_two_reports(string before, string after, string expected)
    {
        var network = new CountingNetwork();
        await using var open = new OpenSession(network: network);
        network.Report = Report(before);
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(Cancel);
        network.Report = Report(after);
        exec.End();

        Assert.Equal(expected, string.Join(' ', (await result).Network.Denied.Select(denial => $"{denial.Domain}:{denial.Count}")));

        static NetworkReport Report(string denials) => new()
        {
            Denied =
            [
                .. denials.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                    .Select(text => text.Split(':'))
                    .Select(parts => new NetworkDenial("1.1.1.1", parts[0].Length == 0 ? null : parts[0], 80, "tcp", long.Parse(parts[1], null))),
            ],
        };
    }

    [Fact]
    public async Task ReadNetworkAsync_returns_the_totals_also_of_a_paused_session_and_says_when_they_cannot_be_read()
    {
        var network = new CountingNetwork { Report = new NetworkReport { BytesIn = 100, BytesOut = 50, Denied = [new("1.1.1.1", null, 80, "tcp", 3)] } };
        await using var open = new OpenSession(network: network);
        await open.CallAsync();
        Assert.Equal(network.Report.Denied, (await open.Session.ReadNetworkAsync(Cancel)).Denied);
        await open.Session.PauseAsync(Cancel);

        Assert.Equal(100, (await open.Session.ReadNetworkAsync(Cancel)).BytesIn);
        Assert.Equal(SandboxSessionState.Paused, open.Session.State);
        network.Report = null;
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => open.Session.ReadNetworkAsync(Cancel));
        await open.Session.CloseAsync(Cancel);
        Assert.Equal(SandboxSessionEnd.Closed, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => open.Session.ReadNetworkAsync(Cancel))).End);
    }

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
    public async Task ConnectAsync_names_a_port_without_a_listener_and_bounds_the_connections()
    {
        await using var open = new OpenSession(options: new SessionOptions { MaxConnections = 1 });
        await using (await open.Session.ConnectAsync(8_000, Cancel))
        {
            await Assert.ThrowsAsync<SandboxCapacityException>(() => open.Session.ConnectAsync(8_000, Cancel));
        }

        open.Sandbox.ConnectFault = new IOException("refused", new SocketException(111));
        Assert.Equal(8_000, (await Assert.ThrowsAsync<SandboxConnectionException>(() => open.Session.ConnectAsync(8_000, Cancel))).Port);
        open.Sandbox.ConnectFault = null;
        await (await open.Session.ConnectAsync(8_000, Cancel)).DisposeAsync();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => open.Session.ConnectAsync(0, Cancel));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => open.Session.ConnectAsync(65_536, Cancel));
    }

    [Fact]
    public async Task Over_the_disk_limit_commands_end_with_DiskLimit_and_writes_are_refused_until_files_are_removed()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
        open.Sandbox.DiskBytes = 1_001;
        open.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(TerminationKind.DiskLimit, (await result).Termination.Kind);

        SandboxFileException fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("file", new MemoryStream(), null, Cancel));
        Assert.Equal(SandboxFileError.NoSpace, fault.Reason);
        await open.Session.Files.RemoveAsync("file", Cancel);
        open.Sandbox.DiskBytes = 990;
        fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("file", new MemoryStream(new byte[11]), null, Cancel));
        Assert.Equal(SandboxFileError.NoSpace, fault.Reason);
        await open.Session.Files.WriteAsync("file", new MemoryStream(new byte[10]), null, Cancel);
        (Task<SandboxResult> other, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        open.Time.Advance(TimeSpan.FromSeconds(1));
        exec.End();
        Assert.Equal(0, (await other).ExitCode);
    }

    [Fact]
    public async Task A_frozen_session_is_not_asked_for_its_disk_use()
    {
        await using var open = new OpenSession();
        open.Time.Advance(TimeSpan.FromSeconds(1.5));
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
        int before = open.Sandbox.UsageReads;
        open.Time.Advance(TimeSpan.FromMinutes(1));

        Assert.Equal(before, open.Sandbox.UsageReads);
        Assert.Equal(0, open.Sandbox.CallsWhileFrozen);
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

    private sealed class CountingNetwork : INetworkAttachment
    {
        public NetworkReport? Report { get; set; } = NetworkReport.None;

        public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

        public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<NetworkReport> ReportAsync(CancellationToken cancellationToken) =>
            Report is null ? Task.FromException<NetworkReport>(new IOException("no report")) : Task.FromResult(Report);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
