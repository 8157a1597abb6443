using System.Net.Sockets;
using Boxer.Networking;
using Boxer.Sessions;
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
        Assert.Equal(cancelled.Token, fault.CancellationToken);
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
    public async Task Parallel_commands_wait_for_processors_for_a_time_of_their_own()
    {
        await using var open = new OpenSession(processors: 1);
        using Boxer.Admission.AdmissionQueue.Ticket place = open.Admission.EnterSession("other");
        using Boxer.Admission.AdmissionQueue.Ticket own = open.Admission.EnterSession("own");
        using var processors = new SessionProcessors(own, 1, () => false);
        IDisposable run = await place.AcquireProcessorsAsync(1, isExclusive: false, Cancel);
        Task<IDisposable> first = processors.AcquireAsync(Cancel);
        open.Time.Advance(TimeSpan.FromSeconds(40));
        Task<IDisposable> second = processors.AcquireAsync(Cancel);
        Task<IDisposable> third = processors.AcquireAsync(Cancel);
        open.Time.Advance(TimeSpan.FromSeconds(30));
        await Assert.ThrowsAsync<SandboxCapacityException>(() => first);
        Assert.Equal(2, open.Admission.WaitingForProcessors);
        run.Dispose();
        using (await second)
        using (await third)
        {
            await Until.IsSoAsync(() => open.Admission.Ledger.PromisedProcessors == 1 && open.Admission.WaitingForProcessors == 0, 30);
        }

        Assert.Equal(0, open.Admission.Ledger.PromisedProcessors);
    }

    [Fact]
    public async Task The_end_of_a_session_leaves_no_processors_promised_to_those_who_waited()
    {
        await using var open = new OpenSession(processors: 1);
        using Boxer.Admission.AdmissionQueue.Ticket place = open.Admission.EnterSession("other");
        using Boxer.Admission.AdmissionQueue.Ticket own = open.Admission.EnterSession("own");
        using var processors = new SessionProcessors(own, 1, () => false);
        IDisposable run = await place.AcquireProcessorsAsync(1, isExclusive: false, Cancel);
        Task<IDisposable> waiting = processors.AcquireAsync(CancellationToken.None);
        processors.Dispose();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        run.Dispose();

        Assert.Equal((0, 0), (open.Admission.WaitingForProcessors, open.Admission.Ledger.PromisedProcessors));
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
