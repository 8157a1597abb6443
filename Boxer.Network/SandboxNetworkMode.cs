using System.Net;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The mode <c>sandbox</c>: a network namespace for each sandbox, joined to this host by a link of two addresses, with NAT to the outside
/// and no way to other sandboxes. An <see cref="EgressPolicy"/> says what may be reached. Needs uid 0 with CAP_NET_ADMIN and
/// CAP_SYS_ADMIN, and the programs ip, tc and nft.
/// </summary>
public sealed class SandboxNetworkMode : INetworkMode, IAsyncDisposable, IDisposable
{
    private static readonly (int Bit, string Name)[] Capabilities = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
    private readonly Func<BoxerOptions> _options;
    private readonly TimeProvider _time;
    private readonly NetworkTools _tools;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<NetworkInstance> _lost = [];
    private NetworkInstance? _instance;
    private IPAddress[]? _resolvers;
    private bool _disposed;

    /// <summary>Makes the mode. This host is not touched before the first sandbox.</summary>
    /// <param name="options">The options; <see cref="BoxerOptions.DnsServers"/>, <see cref="BoxerOptions.NetworkBlocks"/> and <see cref="BoxerOptions.EnableIPv6"/> are read at the first sandbox.</param>
    /// <param name="time">The clock; <see langword="null"/>: the system's.</param>
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
    /// <remarks>What waits has its link and addresses, and all of it is dropped.</remarks>
    public bool SupportsPooling => true;

    /// <inheritdoc/>
    public bool SupportsEgressPolicy => true;

    /// <inheritdoc/>
    public string? GetUnavailableReason()
    {
        string[] lacking =
        [
            .. Unistd.geteuid() == 0 ? (string[])[] : ["uid 0"],
            .. ProcessCapabilities.Lacking(Capabilities),
            .. _tools.Missing.Select(name => $"the program {name}"),
            .. _options().EnableIPv6 && !Directory.Exists("/proc/sys/net/ipv6") ? (string[])["IPv6 in the kernel, which EnableIPv6 wants"] : [],
        ];
        return lacking.Length == 0
            ? null
            : $"this process lacks {string.Join(", ", lacking)}; run it as root with these capabilities and with iproute2 and nftables installed, or use the mode 'none'.";
    }

    /// <inheritdoc/>
    public Task ReconcileAsync(CancellationToken cancellationToken) =>
        GetUnavailableReason() is null ? NetworkInstance.ReconcileAsync(_tools, _time, cancellationToken) : Task.CompletedTask;

    /// <inheritdoc/>
    public async Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken)
    {
        NetworkInstance instance = await GetInstanceAsync(cancellationToken).ConfigureAwait(false);
        return new Attachment(instance, await instance.AddLinkAsync(cancellationToken).ConfigureAwait(false), Resolvers(), _time);
    }

    /// <summary>As <see cref="DisposeAsync"/>, for containers that are disposed synchronously.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>Takes away what this mode has on this host. Its sandboxes must be gone.</summary>
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
            foreach (NetworkInstance instance in _instance is null ? _lost : [.. _lost, _instance])
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
            if (_instance is { IsLost: true } lost)
            {
                _lost.Add(lost);
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

    // The options do not change, and are there when the first sandbox is made.
    private IPAddress[] Resolvers()
    {
        IList<string> configured = _options().DnsServers;
        return _resolvers ??= [.. (configured.Count > 0 ? configured : BoxerOptions.DefaultDnsServers).Select(IPAddress.Parse)];
    }

    private sealed class Attachment(NetworkInstance instance, GuestLink link, IPAddress[] resolvers, TimeProvider time) : INetworkAttachment
    {
        private NetworkPolicy? _policy;
        private DomainResolver? _resolver;
        private (long In, long Out) _before;
        private int _disposed;

        public NetworkConfiguration Runtime { get; } = new(NetworkStack.Sandbox, link.NamespacePath);

        public bool IsUsable => instance.IsUsable(link);

        public async Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
        {
            // Again, because it may have been prepared long ago.
            await instance.CheckForeignAsync(cancellationToken).ConfigureAwait(false);
            _before = NetworkInstance.ReadUsage(link);
            if (policy.FiltersNames)
            {
                _resolver = new DomainResolver(link, policy, resolvers, instance.Firewall, time);
            }

            _policy = policy;
            try
            {
                await Task.WhenAll(
                    policy.BandwidthBitsPerSecond is { } bits ? instance.ShapeAsync(link, bits, cancellationToken) : Task.CompletedTask,
                    instance.Firewall.AddAsync(link, policy, _resolver?.Port, cancellationToken)).ConfigureAwait(false);
            }
            catch (SandboxException)
            {
                // If somebody took the table away, whoever asks next whether it is usable is told.
                await instance.LookAsync(cancellationToken).ConfigureAwait(false);
                throw;
            }

            return GuestNetwork.Create(resolvers);
        }

        public async Task<NetworkReport> ReportAsync(CancellationToken cancellationToken)
        {
            (long received, long sent) = NetworkInstance.ReadUsage(link);
            (received, sent) = (received - _before.In, sent - _before.Out);

            // Who sent nothing was refused nothing.
            IReadOnlyList<NetworkDenial> denied = sent == 0 ? [] : await instance.Firewall.ReadDeniedAsync(link, cancellationToken).ConfigureAwait(false);
            return new NetworkReport
            {
                BytesIn = received,
                BytesOut = sent,
                Denied = [.. denied.Select(denial => _resolver?.NameOf(denial) ?? denial).Concat(_resolver?.Denied ?? []).OrderByDescending(denial => denial.Count).Take(NetworkReport.MaxDenied)],
            };
        }

        public async ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0)
            {
                return;
            }

            try
            {
                if (_policy is not null && !instance.IsLost)
                {
                    await instance.Firewall.RemoveAsync(link, _policy, _resolver?.Port).ConfigureAwait(false);
                }
            }
            finally
            {
                if (_resolver is not null)
                {
                    await _resolver.DisposeAsync().ConfigureAwait(false);
                }

                await instance.RemoveLinkAsync(link, wasOpen: _policy is not null).ConfigureAwait(false);
            }
        }
    }
}
