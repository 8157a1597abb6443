using System.Net;
using Boxer.Hosting;
using Boxer.Networking;
using Boxer.PublicApi.Tests.Support;
using CustomNetwork;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.PublicApi.Tests;

/// <summary>The sample network mode, with the lab that docs/network.md prepares.</summary>
[Collection(Sandboxes.Name)]
public sealed class CustomNetworkTests(PythonSandboxes sandboxes)
{
    private const string Fetch = """
        import socket, urllib.request
        print(urllib.request.urlopen("http://web.lab/", timeout=5).read().decode())
        for address in [("10.77.0.250", 80), ("198.51.100.1", 80), ("8.8.8.8", 53)]:
            try:
                socket.create_connection(address, timeout=1)
                print("reached")
            except OSError:
                print("refused")
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_run_reaches_the_lab_and_nothing_else(bool isPooled)
    {
        BoxerOptions options = sandboxes.Options();
        options.Pool.Enabled = isPooled;
        options.AllowedNetworks = ["lab"];
        await using Lab lab = await Lab.StartAsync();
        await using (SandboxRunner runner = Create(options, lab, supportsFreeze: true))
        {
            SandboxResult result = await RunAsync(runner, isPooled);

            Assert.Equal("from the lab\nrefused\nrefused\nrefused\n", result.EnsureSuccess().StandardOutput);
            Assert.True(result.Network.BytesIn > 0 && result.Network.BytesOut > 0);
            Assert.Empty(result.Network.Denied);

            // The lab defines the policy: the mode rejects policies of requests.
            InvalidSandboxRequestException refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
                () => runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = "lab", Egress = new EgressPolicy() }, Cancel));
            Assert.Equal("Egress", Assert.Single(refused.Faults).Field);
            refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
                () => runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = "none" }, Cancel));
            Assert.Equal("Network", Assert.Single(refused.Faults).Field);
        }

        Assert.Empty(Directory.EnumerateFiles("/run/netns", "boxerlab-*"));
    }

    [Fact]
    public async Task A_mode_without_freezing_serves_runs_from_the_pool()
    {
        BoxerOptions options = sandboxes.Options();
        options.Pool.Enabled = true;
        await using Lab lab = await Lab.StartAsync();
        await using SandboxRunner runner = Create(options, lab, supportsFreeze: false);

        Assert.StartsWith("from the lab\n", (await RunAsync(runner, isPooled: true)).EnsureSuccess().StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_lab_is_reported_and_leftovers_of_a_dead_process_are_removed()
    {
        await using Lab lab = await Lab.StartAsync();
        await using (SandboxRunner runner = Create(sandboxes.Options(), "nolab", supportsFreeze: true))
        {
            SandboxPrivilegeException missing = await Assert.ThrowsAsync<SandboxPrivilegeException>(
                () => runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = "lab" }, Cancel));
            Assert.Contains("ip netns add nolab", missing.Message, StringComparison.Ordinal);
        }

        // No process has this id: it is above the maximum of Linux.
        await Lab.RunAsync("ip netns add boxerlab-4194305-100");
        await using (SandboxRunner runner = Create(sandboxes.Options(), lab, supportsFreeze: true))
        {
            await runner.StartAsync(Cancel);
            Assert.False(File.Exists("/run/netns/boxerlab-4194305-100"));
        }
    }

    [Fact]
    public async Task A_full_lab_rejects_runs_until_one_ends()
    {
        await using Lab lab = await Lab.StartAsync();
        var mode = new LabNetworkMode(lab.Name, Lab.Bridge, Lab.Network, new Dictionary<string, IPAddress>(StringComparer.Ordinal));
        var links = new List<INetworkAttachment>();
        for (int i = 0; i < 100; i++)
        {
            links.Add(await mode.PrepareAsync($"test-{i}", Cancel));
        }

        await Assert.ThrowsAsync<SandboxCapacityException>(() => mode.PrepareAsync("one more", Cancel));
        Assert.All(links, link => Assert.True(link.IsUsable));
        await links[0].DisposeAsync();
        links[0] = await mode.PrepareAsync("again", Cancel);
        foreach (INetworkAttachment link in links)
        {
            await link.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_result_has_the_most_frequent_denials_of_a_mode_that_reports_more()
    {
        await using SandboxRunner runner = SandboxRunnerFactory.Create(sandboxes.Options(), configure: boxer => boxer.AddNetworkMode(new Chatty()));

        SandboxResult result = await runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = "chatty" }, Cancel);

        Assert.Equal(Enumerable.Range(51, NetworkReport.MaxDenied).Reverse().Select(count => (long)count), result.Network.Denied.Select(denial => denial.Count));
        Assert.Equal(7, result.Network.BytesIn);
    }

    private static SandboxRunner Create(BoxerOptions options, Lab lab, bool supportsFreeze) => Create(options, lab.Name, supportsFreeze);

    private static SandboxRunner Create(BoxerOptions options, string lab, bool supportsFreeze)
    {
        var mode = new LabNetworkMode(lab, Lab.Bridge, Lab.Network, new Dictionary<string, IPAddress>(StringComparer.Ordinal) { ["web.lab"] = IPAddress.Parse($"{Lab.Network}.1") });
        return SandboxRunnerFactory.Create(options, configure: boxer => boxer.AddNetworkMode(supportsFreeze ? mode : new Awake(mode)));
    }

    private static async Task<SandboxResult> RunAsync(SandboxRunner runner, bool isPooled)
    {
        SandboxRequest request = PythonSandboxes.Python(Fetch);
        request.Network = "lab";
        SandboxResult result = await runner.RunAsync(request, Cancel);
        for (int attempt = 0; isPooled && result.Timings.Sandbox != TimeSpan.Zero && attempt < 40; attempt++)
        {
            await Task.Delay(500, Cancel);
            result = await runner.RunAsync(request, Cancel);
        }

        Assert.Equal(isPooled, result.Timings.Sandbox == TimeSpan.Zero);
        return result;
    }

    /// <summary>A mode with loopback only and a long report.</summary>
    private sealed class Chatty : INetworkMode, INetworkAttachment
    {
        public string Name => "chatty";

        public bool SupportsPooling => false;

        public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => Task.FromResult<INetworkAttachment>(this);

        public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) => Task.FromResult(GuestNetwork.Create());

        public Task<NetworkReport> ReportAsync(CancellationToken cancellationToken) => Task.FromResult(new NetworkReport
        {
            BytesIn = 7,
            Denied = [.. Enumerable.Range(1, 150).Select(i => new NetworkDenial($"192.0.2.{i}", null, 80, "tcp", i))],
        });

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    /// <summary>The same mode without freezing.</summary>
    private sealed class Awake(INetworkMode inner) : INetworkMode
    {
        public string Name => inner.Name;

        public bool SupportsPooling => inner.SupportsPooling;

        public bool SupportsFreeze => false;

        public string? GetUnavailableReason() => inner.GetUnavailableReason();

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => inner.PrepareAsync(sandboxId, cancellationToken);
    }
}
