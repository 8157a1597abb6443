using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json;
using Boxer;
using Boxer.Networking;

namespace CustomNetwork;

/// <summary>
/// The network mode <c>lab</c>. Sandboxes can reach the machines of a network that the operator prepared (a bridge in a network namespace), but not this
/// host, the internet or each other. Only one process can use a lab at a time.
/// </summary>
/// <param name="lab">The namespace of the lab, as <c>ip netns add</c> names it.</param>
/// <param name="bridge">The bridge in the namespace. Its network is a /24; sandboxes use the addresses from .100 to .199.</param>
/// <param name="network">The first three numbers of the network, such as <c>10.77.0</c>.</param>
/// <param name="hosts">Names of machines in the lab.</param>
public sealed class LabNetworkMode(string lab, string bridge, string network, IReadOnlyDictionary<string, IPAddress> hosts) : INetworkMode
{
    private const string Prefix = "boxerlab-";
    private readonly ConcurrentQueue<int> _free = new(Enumerable.Range(100, 100));
    private readonly string _lab = lab;
    private readonly IReadOnlyDictionary<string, IPAddress> _hosts = hosts;

    /// <inheritdoc/>
    public string Name => "lab";

    /// <inheritdoc/>
    /// <remarks>The link of a pooled sandbox is down until a run uses it.</remarks>
    public bool SupportsPooling => true;

    /// <inheritdoc/>
    public string? GetUnavailableReason() => File.Exists($"/run/netns/{_lab}") ? null : $"the namespace {_lab} does not exist; make it with \"ip netns add {_lab}\".";

    /// <inheritdoc/>
    /// <remarks>The name of a namespace contains the process that created it.</remarks>
    public async Task ReconcileAsync(CancellationToken cancellationToken)
    {
        if (GetUnavailableReason() is not null)
        {
            return;
        }

        foreach (string name in Directory.EnumerateFiles("/run/netns", Prefix + "*").Select(path => Path.GetFileName(path)))
        {
            if (!Directory.Exists($"/proc/{name.Split('-')[1]}"))
            {
                await IpAsync($"netns delete {name}", cancellationToken);
            }
        }
    }

    /// <inheritdoc/>
    public async Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken)
    {
        if (!_free.TryDequeue(out int number))
        {
            throw new SandboxCapacityException("All addresses of the lab are in use.");
        }

        var link = new Link(this, number);
        try
        {
            // The lab's end of the link stays down, so no traffic passes. Isolated ports cannot reach each other.
            await IpAsync(
                $"""
                netns add {link.Namespace}
                link add {link.Port} netns {_lab} type veth peer name eth0 netns {link.Namespace}
                -n {_lab} link set {link.Port} master {bridge}
                -n {_lab} link set {link.Port} type bridge_slave isolated on
                -n {link.Namespace} addr add {network}.{number}/24 dev eth0
                -n {link.Namespace} link set lo up
                -n {link.Namespace} link set eth0 up
                """,
                cancellationToken);
            return link;
        }
        catch
        {
            await link.DisposeAsync();
            throw;
        }
    }

    private static async Task<string> IpAsync(string lines, CancellationToken cancellationToken = default)
    {
        string printed = "";
        foreach (string line in lines.Split('\n'))
        {
            var start = new ProcessStartInfo("ip", line.Split(' ')) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
            cancellationToken.ThrowIfCancellationRequested();

            // The process is awaited even if the operation is cancelled, so that its changes are complete and can be removed.
            using Process ip = Process.Start(start)!;
            Task<string> errors = ip.StandardError.ReadToEndAsync(CancellationToken.None);
            printed = await ip.StandardOutput.ReadToEndAsync(CancellationToken.None);
            await ip.WaitForExitAsync(CancellationToken.None);
            if (ip.ExitCode != 0)
            {
                throw new SandboxRuntimeException($"\"ip {line}\" failed: {await errors}");
            }
        }

        return printed;
    }

    /// <summary>The network of one sandbox: a namespace with one end of a link, and the other end at the lab's bridge.</summary>
    private sealed class Link(LabNetworkMode mode, int number) : INetworkAttachment
    {
        private (long In, long Out) _before;

        public string Namespace { get; } = string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-{number}");

        // A new name each time: the kernel removes a link some time after its namespace.
        public string Port { get; } = $"bl{Guid.NewGuid():N}"[..15];

        public NetworkConfiguration Runtime => new(NetworkStack.Sandbox, $"/run/netns/{Namespace}");

        public bool IsUsable => File.Exists(Runtime.NamespacePath) && mode.GetUnavailableReason() is null;

        public async Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
        {
            _before = await CountAsync(cancellationToken);
            await IpAsync($"-n {mode._lab} link set {Port} up", cancellationToken);
            return GuestNetwork.Create(hosts: mode._hosts);
        }

        public async Task<NetworkReport> ReportAsync(CancellationToken cancellationToken)
        {
            (long received, long sent) = await CountAsync(cancellationToken);
            return new NetworkReport { BytesIn = received - _before.In, BytesOut = sent - _before.Out };
        }

        // Deleting the namespace deletes both ends of the link.
        public async ValueTask DisposeAsync()
        {
            if (File.Exists(Runtime.NamespacePath))
            {
                await IpAsync($"netns delete {Namespace}");
            }

            mode._free.Enqueue(number);
        }

        // The lab's transmitted bytes are the sandbox's received bytes.
        private async Task<(long In, long Out)> CountAsync(CancellationToken cancellationToken)
        {
            using var links = JsonDocument.Parse(await IpAsync($"-n {mode._lab} -s -j link show {Port}", cancellationToken));
            JsonElement stats = links.RootElement[0].GetProperty("stats64");
            return (stats.GetProperty("tx").GetProperty("bytes").GetInt64(), stats.GetProperty("rx").GetProperty("bytes").GetInt64());
        }
    }
}
