using System.Net;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Network.Tools;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The mode <c>sandbox</c>: each sandbox has a network namespace with a link to this host and NAT to the outside. Sandboxes cannot reach each
/// other, and reach only destinations that the <see cref="EgressPolicy"/> allows. Requires uid 0 with CAP_NET_ADMIN and CAP_SYS_ADMIN, and the
/// programs ip, tc and nft.
/// </summary>
public sealed class SandboxNetworkMode : INetworkMode, IAsyncDisposable, IDisposable
{
    private static readonly (int Bit, string Name)[] Capabilities = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
    private readonly Func<BoxerOptions> _options;
    private readonly TimeProvider _time;
    private readonly NetworkTools _tools;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<NetworkInstance> _lostInstances = [];
    private NetworkInstance? _instance;
    private IPAddress[]? _resolvers;
    private bool _disposed;

    /// <summary>Creates the mode. It changes nothing on this host before the first sandbox.</summary>
    /// <param name="options">
    /// The options. <see cref="BoxerOptions.DnsServers"/>, <see cref="BoxerOptions.NetworkBlocks"/> and <see cref="BoxerOptions.EnableIPv6"/> are read
    /// when the first sandbox is created.
    /// </param>
    /// <param name="time">The clock; <see langword="null"/>: <see cref="TimeProvider.System"/>.</param>
    public SandboxNetworkMode(BoxerOptions options, TimeProvider? time = null)
        : this(() => options, time)
    {
        ArgumentNullException.ThrowIfNull(options);
    }

    internal SandboxNetworkMode(Func<BoxerOptions> options, TimeProvider? time, IReadOnlyList<string>? programDirectories = null)
    {
        _options = options;
        _time = time ?? TimeProvider.System;
        _tools = new NetworkTools(_time, programDirectories);
    }

    /// <inheritdoc/>
    public string Name => "sandbox";

    /// <inheritdoc/>
    /// <remarks>The link of a pooled sandbox exists, and the firewall drops all of its traffic.</remarks>
    public bool SupportsPooling => true;

    /// <inheritdoc/>
    public bool SupportsEgressPolicy => true;

    /// <inheritdoc/>
    public string? GetUnavailableReason()
    {
        string[] missing =
        [
            .. Unistd.geteuid() == 0 ? (string[])[] : ["uid 0"],
            .. ProcessCapabilities.Lacking(Capabilities),
            .. _tools.MissingPrograms.Select(name => $"the program {name}"),
            .. _options().EnableIPv6 && !Directory.Exists("/proc/sys/net/ipv6") ? (string[])["IPv6 in the kernel, which EnableIPv6 wants"] : [],
        ];
        return missing.Length == 0
            ? null
            : $"this process lacks {string.Join(", ", missing)}; run it as root with these capabilities and with iproute2 and nftables installed, or use the mode 'none'.";
    }

    /// <inheritdoc/>
    public Task ReconcileAsync(CancellationToken cancellationToken) =>
        GetUnavailableReason() is null ? NetworkInstance.ReconcileAsync(_tools, _time, cancellationToken) : Task.CompletedTask;

    /// <inheritdoc/>
    public async Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken)
    {
        NetworkInstance instance = await GetInstanceAsync(cancellationToken).ConfigureAwait(false);
        return new SandboxNetworkAttachment(instance, await instance.AddLinkAsync(cancellationToken).ConfigureAwait(false), Resolvers(), _time);
    }

    /// <summary>Same as <see cref="DisposeAsync"/>, for containers that are disposed synchronously.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>Removes links, firewall rules and other settings of this mode from this host. All of its sandboxes must have ended.</summary>
    public async ValueTask DisposeAsync()
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            foreach (NetworkInstance instance in _instance is null ? _lostInstances : [.. _lostInstances, _instance])
            {
                await instance.DisposeAsync().ConfigureAwait(false);
            }

            _tools.Dispose();
        }
        finally
        {
            _gate.Release();
        }
    }

    private async Task<NetworkInstance> GetInstanceAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_instance is { Monitor.IsTableLost: true } lost)
            {
                _lostInstances.Add(lost);
                _instance = null;
            }

            IList<string> blocks = _options().NetworkBlocks;
            return _instance ??= await NetworkInstance.CreateAsync(
                _tools,
                [.. (blocks.Count > 0 ? blocks : BoxerOptions.DefaultNetworkBlocks).Select(IPNetwork.Parse)],
                Resolvers(),
                _options().EnableIPv6,
                _time,
                cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    // Read at the first sandbox, when the options are complete.
    private IPAddress[] Resolvers()
    {
        IList<string> configured = _options().DnsServers;
        return _resolvers ??= [.. (configured.Count > 0 ? configured : BoxerOptions.DefaultDnsServers).Select(IPAddress.Parse)];
    }
}
