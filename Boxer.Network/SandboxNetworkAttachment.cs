using System.Net;
using Boxer.Network.Dns;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>The network of one sandbox of <see cref="SandboxNetworkMode"/>.</summary>
internal sealed class SandboxNetworkAttachment(NetworkInstance instance, GuestLink link, IPAddress[] resolvers, TimeProvider time) : INetworkAttachment
{
    private SandboxRules? _rules;
    private FilteringResolver? _resolver;
    private (long Received, long Sent) _before;

    // Reports of a session may overlap. The gate protects both below.
    private readonly SemaphoreSlim _reporting = new(1, 1);
    private readonly DenialTotals _denials = new();
    private long _lastSent;
    private int _disposed;

    public NetworkConfiguration Runtime { get; } = new(NetworkStack.Sandbox, link.NamespacePath);

    public bool IsUsable => instance.IsUsable(link);

    public async Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
    {
        // Checked again: the sandbox may have waited in the pool for hours.
        await instance.Monitor.RefreshForeignRulesAsync(cancellationToken).ConfigureAwait(false);
        _before = GuestLinks.ReadBytes(link);
        if (policy.FiltersNames)
        {
            _resolver = new FilteringResolver(link, policy, resolvers, instance.Firewall, time);
        }

        _rules = new SandboxRules(instance.Firewall.Table, link, policy, _resolver?.Port);
        try
        {
            await Task.WhenAll(
                policy.BandwidthBitsPerSecond is { } bits ? instance.Links.LimitBandwidthAsync(link, bits, cancellationToken) : Task.CompletedTask,
                instance.Firewall.InstallAsync(_rules, cancellationToken)).ConfigureAwait(false);
        }
        catch (SandboxException)
        {
            // If the table was deleted, IsUsable is false from now on.
            await instance.Monitor.CheckTableAsync(cancellationToken).ConfigureAwait(false);
            throw;
        }

        return GuestNetwork.Create(resolvers);
    }

    public async Task<NetworkReport> ReportAsync(CancellationToken cancellationToken)
    {
        await _reporting.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            (long received, long sent) = GuestLinks.ReadBytes(link);
            (received, sent) = (received - _before.Received, sent - _before.Sent);

            // No packets sent since the last report, so nothing more can have been denied. Each reading starts a process of nft.
            if (sent != _lastSent)
            {
                await instance.Firewall.CountDenialsAsync(link, _denials, cancellationToken).ConfigureAwait(false);
                _lastSent = sent;
            }

            return new NetworkReport
            {
                BytesIn = received,
                BytesOut = sent,
                Denied =
                [
                    .. _denials.All.Select(denial => _resolver?.AddName(denial) ?? denial)
                        .Concat(_resolver?.Denials ?? [])
                        .OrderByDescending(denial => denial.Count),
                ],
            };
        }
        finally
        {
            _reporting.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        try
        {
            if (_rules is not null && !instance.Monitor.IsTableLost)
            {
                await instance.Firewall.RemoveAsync(_rules).ConfigureAwait(false);
            }
        }
        finally
        {
            if (_resolver is not null)
            {
                await _resolver.DisposeAsync().ConfigureAwait(false);
            }

            await instance.Links.RemoveAsync(link, hadTraffic: _rules is not null).ConfigureAwait(false);
        }
    }
}
