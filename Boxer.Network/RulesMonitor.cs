using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network;

/// <summary>
/// Checks that the nftables rules of an instance are still installed while it has links. If another program deleted its table
/// (<c>nft flush ruleset</c>, a restart of nftables.service), nothing filters the sandboxes any more, so it sets their links down.
/// Rules in other firewalls are installed again.
/// </summary>
internal sealed class RulesMonitor : IAsyncDisposable
{
    private static readonly TimeSpan TableInterval = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ForeignInterval = TimeSpan.FromSeconds(30);
    private readonly NetworkTools _tools;
    private readonly string _instanceId;
    private readonly bool _ipv6;
    private readonly GuestLinks _links;
    private readonly IReadOnlyList<Forwarding> _forwarding;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _foreignGate = new(1, 1);
    private readonly CancellationTokenSource _disposing = new();
    private readonly Task _monitoring;
    private long _foreignCheckedAt;

    /// <summary>Starts the checks. All rules are installed at this time.</summary>
    /// <param name="tools">Runs nft and ip.</param>
    /// <param name="instanceId">The instance.</param>
    /// <param name="ipv6">Whether its sandboxes have IPv6.</param>
    /// <param name="links">Its links.</param>
    /// <param name="forwarding">Forwarding of the families that it uses.</param>
    /// <param name="time">The clock.</param>
    internal RulesMonitor(NetworkTools tools, string instanceId, bool ipv6, GuestLinks links, IReadOnlyList<Forwarding> forwarding, TimeProvider time)
    {
        _tools = tools;
        _instanceId = instanceId;
        _ipv6 = ipv6;
        _links = links;
        _forwarding = forwarding;
        _time = time;
        _foreignCheckedAt = time.GetTimestamp();
        _monitoring = RunAsync(_disposing.Token);
    }

    /// <summary>Whether the table of the instance was deleted. Its links are down then, and the next sandboxes need another instance.</summary>
    internal bool IsTableLost { get; private set; }

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _monitoring.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _disposing.Dispose();
        _foreignGate.Dispose();
    }

    /// <summary>Checks whether the table exists. If not, sets the links down.</summary>
    internal async Task CheckTableAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (!IsTableLost && (await FirewallTable.FindInstancesAsync(_tools, cancellationToken).ConfigureAwait(false)).Contains(_instanceId, StringComparer.Ordinal))
            {
                return;
            }

            IsTableLost = true;
            foreach (Forwarding forwarding in _forwarding)
            {
                await forwarding.InstallGuardAsync(cancellationToken).ConfigureAwait(false);
            }

            await _links.SetDownAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // nft failed, or a link was removed meanwhile. The next check repeats all of it.
        }
    }

    /// <summary>
    /// Adds missing rules to other firewalls, at most every 30 s: a firewall that starts or restarts drops Boxer's rules from its chains.
    /// </summary>
    /// <exception cref="SandboxRuntimeException">The rules cannot be added; the next call tries again.</exception>
    internal async Task RefreshForeignRulesAsync(CancellationToken cancellationToken)
    {
        if (!IsDue())
        {
            return;
        }

        await _foreignGate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (IsDue())
            {
                await ForeignFirewalls.AllowLinksAsync(_tools, _instanceId, _ipv6, cancellationToken).ConfigureAwait(false);
                Interlocked.Exchange(ref _foreignCheckedAt, _time.GetTimestamp());
            }
        }
        finally
        {
            _foreignGate.Release();
        }

        bool IsDue() => _time.GetElapsedTime(Interlocked.Read(ref _foreignCheckedAt)) >= ForeignInterval;
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(TableInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                if (_links.IsEmpty)
                {
                    continue;
                }

                await CheckTableAsync(cancellationToken).ConfigureAwait(false);
                try
                {
                    // Spares a run the check at its hand-over.
                    await RefreshForeignRulesAsync(cancellationToken).ConfigureAwait(false);
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    // The check stays due, and the next run reports the fault.
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
    }
}
