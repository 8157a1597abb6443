using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using ARSoft.Tools.Net.Dns;

namespace Boxer.Network;

/// <summary>
/// The resolver of one sandbox with an allow-list, on the host's end of its link, where the firewall redirects all that it sends to port
/// 53. It answers allowed names only, and opens their addresses before it does. Other names, types and addresses that are not public
/// are refused: DNS is no way out, and an allowed name no way in (rebinding).
/// </summary>
internal sealed class DomainResolver : IAsyncDisposable
{
    private const int MostNames = 1_000;
    private const int MostNameLength = 150;
    private const int Attempts = 20;
    private const int MostAtOnce = 64;
    private const int MostRecords = 64;
    private const int MostAddresses = 4_096;
    private static readonly TimeSpan LeastValidity = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan MostValidity = TimeSpan.FromHours(1);
    private static readonly TimeSpan UpstreamTimeout = TimeSpan.FromSeconds(3);
    private readonly GuestLink _link;
    private readonly NetworkPolicy _policy;
    private readonly Firewall _firewall;
    private readonly DnsClient _upstream;
    private readonly DnsServer _server;
    private readonly ConcurrentDictionary<string, long> _denied = new(StringComparer.Ordinal);
    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, string> _names = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _working = new(MostAtOnce, MostAtOnce);

    // The firewall's changes are one after the other for all sandboxes: each stands in that queue once.
    private readonly SemaphoreSlim _opening = new(1, 1);
    private readonly CancellationTokenSource _disposing = new();

    internal DomainResolver(GuestLink link, NetworkPolicy policy, IEnumerable<string> upstream, Firewall firewall)
    {
        _link = link;
        _policy = policy;
        _firewall = firewall;
        _upstream = new DnsClient([.. upstream.Select(IPAddress.Parse)], (int)UpstreamTimeout.TotalMilliseconds);
        (_server, Port) = Listen(link.IPv6 is null ? [link.Addresses.Host] : [link.Addresses.Host, link.IPv6.Host]);
        _server.QueryReceived += AnswerAsync;
    }

    /// <summary>Where it listens.</summary>
    internal int Port { get; }

    /// <summary>The names that were refused.</summary>
    internal IEnumerable<NetworkDenial> Denied => _denied.Select(pair => new NetworkDenial(null, pair.Key, 53, "dns", pair.Value));

    /// <summary>Whether names are to be held: where there is an allow-list, or a domain that is denied.</summary>
    internal static bool IsNeeded(NetworkPolicy policy) =>
        policy.Layers.Any(layer => layer.Allow is not null || layer.Deny.Any(rule => rule.Domain is not null));

    /// <summary>Whether every layer lets a name be resolved.</summary>
    internal static bool IsAllowed(NetworkPolicy policy, string name) =>
        policy.Layers.All(layer =>
            !layer.Deny.Any(rule => rule.MatchesName(name)) && (layer.Allow is null || layer.Allow.Any(rule => rule.MatchesName(name))));

    /// <summary>A denial with the name that its address was resolved from, where that is known.</summary>
    internal NetworkDenial NameOf(NetworkDenial denial) =>
        denial.Address is not null && _names.TryGetValue(denial.Address, out string? name) ? denial with { Domain = name } : denial;

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        _server.Stop();
        _disposing.Dispose();
    }

    // The port is the kernel's to choose, but the library must be told one.
    private static (DnsServer Server, int Port) Listen(IPAddress[] addresses)
    {
        for (int attempt = 1; ; attempt++)
        {
            IServerTransport[] transports = [];
            try
            {
                int port;
                using (var probe = new Socket(addresses[0].AddressFamily, SocketType.Dgram, ProtocolType.Udp))
                {
                    probe.Bind(new IPEndPoint(addresses[0], 0));
                    port = ((IPEndPoint)probe.LocalEndPoint!).Port;
                }

                transports = [.. addresses.Select(address => new IPEndPoint(address, port)).SelectMany(
                    endPoint => (IServerTransport[])[new UdpServerTransport(endPoint), new TcpServerTransport(endPoint)])];
                var server = new DnsServer(transports);
                server.Start();
                return (server, port);
            }
            catch (SocketException exception)
            {
                // The library leaves those open that it had bound before one failed.
                foreach (IServerTransport transport in transports)
                {
                    Close(transport);
                }

                // Taken meanwhile, perhaps.
                if (attempt == Attempts)
                {
                    throw new SandboxRuntimeException($"The resolver of a sandbox cannot listen on {string.Join<IPAddress>(" and ", addresses)}: {exception.Message}", exception);
                }
            }
        }
    }

    private static void Close(IServerTransport transport)
    {
        try
        {
            transport.Close();
        }
        catch (Exception exception) when (exception is NullReferenceException or InvalidOperationException or SocketException)
        {
            // One that was never bound.
        }
    }

    private async Task AnswerAsync(object sender, QueryReceivedEventArgs arguments)
    {
        if (arguments.Query is not DnsMessage query || query.Questions.Count != 1)
        {
            return;
        }

        DnsMessage response = query.CreateResponseInstance();
        arguments.Response = response;
        DnsQuestion question = query.Questions[0];
        string name = question.Name.ToString().TrimEnd('.').ToLowerInvariant();
        if (question.RecordClass != RecordClass.INet || name.Length > MostNameLength || !IsAllowed(_policy, name) || !MayAsk(name))
        {
            string key = name.Length > MostNameLength ? name[..MostNameLength] : name;
            if (_denied.Count < NetworkReport.MostDenied || _denied.ContainsKey(key))
            {
                _denied.AddOrUpdate(key, 1, (_, count) => count + 1);
            }

            response.ReturnCode = ReturnCode.NxDomain;
            return;
        }

        response.ReturnCode = ReturnCode.NoError;
        response.IsRecursionAllowed = true;
        if (question.RecordType != RecordType.A && (question.RecordType != RecordType.Aaaa || _link.IPv6 is null))
        {
            return;
        }

        if (!await _working.WaitAsync(TimeSpan.Zero, CancellationToken.None).ConfigureAwait(false))
        {
            response.ReturnCode = ReturnCode.ServerFailure;
            return;
        }

        try
        {
            await ResolveAsync(question, name, response).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SandboxException or IOException or OperationCanceledException)
        {
            // Fail closed: what was not opened is not told.
            response.AnswerRecords.Clear();
            response.ReturnCode = ReturnCode.ServerFailure;
        }
        finally
        {
            _working.Release();
        }
    }

    private async Task ResolveAsync(DnsQuestion question, string name, DnsMessage response)
    {
        DnsMessage? answer = await _upstream.ResolveAsync(question.Name, question.RecordType, RecordClass.INet, token: _disposing.Token).ConfigureAwait(false);
        if (answer is null)
        {
            response.ReturnCode = ReturnCode.ServerFailure;
            return;
        }

        response.ReturnCode = answer.ReturnCode;
        AddressRecordBase[] records = [.. answer.AnswerRecords.OfType<AddressRecordBase>().Where(record => record.RecordType == question.RecordType)
            .Where(record => !SpecialRanges.Contains(record.Address) || OpensPrivate(record.Address)).Take(MostRecords)];
        if (records.Length == 0)
        {
            return;
        }

        TimeSpan validity = TimeSpan.FromSeconds(records.Min(record => record.TimeToLive));
        validity = validity < LeastValidity ? LeastValidity : validity > MostValidity ? MostValidity : validity;
        await _opening.WaitAsync(_disposing.Token).ConfigureAwait(false);
        try
        {
            await _firewall.AllowAsync(_link, _policy, name, [.. records.Select(record => record.Address).Distinct()], validity, _disposing.Token).ConfigureAwait(false);
        }
        finally
        {
            _opening.Release();
        }

        foreach (AddressRecordBase record in records)
        {
            if (_names.Count < MostAddresses)
            {
                _names[record.Address.ToString()] = name;
            }

            // Under the name that was asked for: the names between are nobody's business.
            int seconds = Math.Min(record.TimeToLive, (int)validity.TotalSeconds);
            response.AnswerRecords.Add(record is ARecord ? new ARecord(question.Name, seconds, record.Address) : new AaaaRecord(question.Name, seconds, record.Address));
        }
    }

    // Private addresses are told where the operator opened them: the firewall holds by range what is reached at them.
    private bool OpensPrivate(IPAddress address) =>
        _policy.Layers.Any(layer => layer.PrivateRules.Any(rule => rule.Range!.Value.Contains(address)));

    // Each new name may carry something out: their number is bounded. A name's A and AAAA are asked for at once.
    private bool MayAsk(string name)
    {
        lock (_asked)
        {
            return _asked.Contains(name) || (_asked.Count < MostNames && _asked.Add(name));
        }
    }
}
