using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using Boxer.Common;
using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;

namespace Boxer.Images.Registry;

/// <summary>
/// The HTTP side of the OCI distribution protocol. It connects only where <see cref="RegistryEndpoints"/> lets it, whatever name led
/// there: names are resolved here and the address that is connected to is the one that was checked. Through a proxy that is the proxy's:
/// then the name must have public addresses only, as far as this host knows it. Safe for concurrent use.
/// </summary>
internal sealed class RegistryHttp : IDisposable
{
    private const int MaxRetries = 3;

    /// <summary>A place that says nothing for so long is given up, so that the next one is asked.</summary>
    public static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);

    private readonly RegistryEndpoints _places;
    private readonly RegistryCertificates _certificates;
    private readonly IRegistryCredentials? _credentials;
    private readonly RegistryProxy _proxy;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _retry;

    private readonly ILogger _logger;

    // Apart, so that a place that a user named never gets a connection to where only the operator's places may lead, and that what is
    // believed of one registry is believed of no other.
    private readonly Lock _lock = new();
    private readonly Dictionary<(bool IsConfigured, string Authority), HttpClient> _clients = [];
    private bool _isDisposed;

    /// <summary>Makes a client.</summary>
    /// <param name="places">Where it may connect.</param>
    /// <param name="options">Credentials, certificates, clock and logger.</param>
    /// <exception cref="ArgumentException">A certificate cannot be read.</exception>
    public RegistryHttp(RegistryEndpoints places, RegistryClientOptions options)
    {
        _places = places;
        _certificates = new([.. options.Registries]);
        _credentials = options.Credentials;
        _proxy = new(options.Proxy ?? HttpClient.DefaultProxy);
        _time = options.TimeProvider;
        _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
        _retry = new ResiliencePipelineBuilder { TimeProvider = options.TimeProvider }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<RegistryException>(fault => fault.Kind == RegistryFaultKind.Transient),
                MaxRetryAttempts = MaxRetries,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                Delay = TimeSpan.FromMilliseconds(300),
                DelayGenerator = arguments => ValueTask.FromResult((arguments.Outcome.Exception as RegistryException)?.RetryAfter),
                OnRetry = arguments =>
                {
                    ImageLog.Retrying(_logger, arguments.RetryDelay.TotalMilliseconds, arguments.Outcome.Exception?.Message ?? "");
                    return ValueTask.CompletedTask;
                },
            })
            .Build();
    }

    /// <summary>Asks the places of an image in order, until one gives what is wanted.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="places">The places.</param>
    /// <param name="ask">Asks one, which is the asker's from then on; given also what it is called.</param>
    /// <exception cref="ImageNotFoundException">No place has it.</exception>
    /// <exception cref="ImagePullException">It could not be had.</exception>
    public async Task<T> AskAsync<T>(ImageReference reference, IReadOnlyList<RegistryEndpoint> places, Func<RegistryRepository, string, Task<T>> ask)
    {
        var faults = new List<RegistryException>();
        bool isReached = false;
        foreach (RegistryEndpoint place in places)
        {
            if (place.IsFallback && isReached)
            {
                continue;
            }

            RegistryRepository repository = Open(place, reference);
            RegistryException fault;
            try
            {
                return await ask(repository, place.ToString()).ConfigureAwait(false);
            }
            catch (RegistryException thrown)
            {
                fault = thrown;
            }
            catch (InvalidDataException thrown)
            {
                fault = new RegistryException($"an image from {place}: {thrown.Message}", RegistryFaultKind.Failed, thrown);
            }

            isReached = repository.IsReached || !fault.IsUnreached;
            ImageLog.PlaceFailed(_logger, reference.ToString(), place.ToString(), fault.Message);
            if (place.IsFallback && fault.Kind == RegistryFaultKind.NotFound)
            {
                // It is the registry and has spoken: what it made of https says nothing. Else that is the reason, a certificate mostly.
                faults.RemoveAt(faults.Count - 1);
            }

            faults.Add(fault);
        }

        string reasons = string.Join("; ", faults.Select(fault => fault.Message));
        string publicMessage = PublicReason.Tell($"The image {reference} could not be pulled", faults);
        throw faults.All(fault => fault.Kind == RegistryFaultKind.NotFound)
            ? new ImageNotFoundException($"The image {reference} was not found: {reasons}.", faults[^1]) { PublicMessage = faults.All(fault => PublicReason.Of(fault) is null) ? $"The image {reference} was not found." : publicMessage }
            : new ImagePullException($"The image {reference} could not be pulled: {reasons}.", faults[^1]) { PublicMessage = publicMessage };
    }

    private RegistryRepository Open(RegistryEndpoint place, ImageReference reference) => new(this, _places, place, reference, _credentials, _time);

    /// <summary>Does something again that failed for now.</summary>
    /// <param name="action">What is done.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public ValueTask<T> RetryAsync<T>(Func<CancellationToken, ValueTask<T>> action, CancellationToken cancellationToken) =>
        _retry.ExecuteAsync(action, cancellationToken);

    /// <summary>Sends a request; does not follow redirects.</summary>
    /// <param name="place">The place that led to it.</param>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RegistryException">There was no answer.</exception>
    public async Task<HttpResponseMessage> SendAsync(RegistryEndpoint place, HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var silent = new CancellationTokenSource(Silence, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silent.Token, cancellationToken);
        Uri target = request.RequestUri!;
        try
        {
            if (!_proxy.IsBypassed(target) && !MayBePrivate(place.IsConfigured, target.IdnHost, target.Port))
            {
                await RefuseUnlessPublicAsync(target, either.Token).ConfigureAwait(false);
            }

            return await ClientFor(place.IsConfigured, target).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
        }
        catch (HttpRequestException fault)
        {
            for (Exception? inner = fault; inner is not null; inner = inner.InnerException)
            {
                if (inner is RegistryException refused)
                {
                    throw new RegistryException(refused.Message, refused.Kind, fault);
                }
            }

            throw fault.HttpRequestError is HttpRequestError.SecureConnectionError
                ? new RegistryException($"no secure connection to {target.Authority}: {(fault.InnerException ?? fault).Message}", RegistryFaultKind.Failed, fault) { IsUnreached = place.Has(target) }
                : new RegistryException($"no answer from {target.Authority}: {fault.Message}", RegistryFaultKind.Transient, fault)
                {
                    IsUnreached = fault.HttpRequestError is HttpRequestError.ConnectionError && place.Has(target),
                };
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            // A connection that was not made in time has a cause of its own.
            throw new RegistryException($"no answer from {target.Authority} in time", RegistryFaultKind.Transient, fault)
            {
                IsUnreached = fault.InnerException is TimeoutException && place.Has(target),
            };
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            foreach (HttpClient client in _clients.Values)
            {
                client.Dispose();
            }
        }

        _certificates.Dispose();
    }

    private bool MayBePrivate(bool isConfigured, string host, int port) => isConfigured && _places.MayBePrivate(host, port);

    private HttpClient ClientFor(bool isConfigured, Uri target)
    {
        RemoteCertificateValidationCallback? validation = _certificates.ValidationFor(target);
        (bool, string) key = (isConfigured, validation is null ? "" : target.Authority);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (!_clients.TryGetValue(key, out HttpClient? client))
            {
                _clients[key] = client = MakeClient(isConfigured, validation);
            }

            return client;
        }
    }

    private HttpClient MakeClient(bool isConfigured, RemoteCertificateValidationCallback? validation)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = true,
            Proxy = _proxy,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = TimeSpan.FromSeconds(15),
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            MaxResponseHeadersLength = 64,
            ConnectCallback = (context, token) => ConnectAsync(context, isConfigured, token),
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = validation },
        };
        var client = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("boxer", null));
        return client;
    }

    private static async Task RefuseUnlessPublicAsync(Uri target, CancellationToken cancellationToken)
    {
        IPAddress[] addresses;
        try
        {
            addresses = await Dns.GetHostAddressesAsync(target.IdnHost.Trim('[', ']'), cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException)
        {
            // Behind many a proxy no foreign name is known.
            return;
        }
        catch (ArgumentException)
        {
            // 0.0.0.0 and its like are no address of a host.
            throw NotPublic(target.IdnHost, target.Port);
        }

        if (!addresses.All(SpecialRanges.IsPublic))
        {
            throw NotPublic(target.IdnHost, target.Port);
        }
    }

    private static RegistryException NotPublic(string host, int port) =>
        new($"{host}:{port} has no public address; list it in AllowedRegistries if it may be used");

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, bool isConfigured, CancellationToken cancellationToken)
    {
        DnsEndPoint target = context.DnsEndPoint;
        IPAddress[] addresses;
        try
        {
            addresses = await Dns.GetHostAddressesAsync(target.Host, cancellationToken).ConfigureAwait(false);
        }
        catch (ArgumentException)
        {
            throw NotPublic(target.Host, target.Port);
        }

        // A proxy is the operator's own choice, and where it leads was looked at before.
        bool isProxy = _proxy.GetProxy(context.InitialRequestMessage.RequestUri!) is not null;
        if (!isProxy && !MayBePrivate(isConfigured, target.Host, target.Port))
        {
            IPAddress[] allowed = [.. addresses.Where(SpecialRanges.IsPublic)];
            if (allowed.Length == 0 && addresses.Length > 0)
            {
                throw NotPublic(target.Host, target.Port);
            }

            addresses = allowed;
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, target.Port, cancellationToken).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
