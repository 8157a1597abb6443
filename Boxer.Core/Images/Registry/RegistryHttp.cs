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
/// Sends requests to registries. It connects only to addresses that <see cref="RegistryEndpoints"/> allows: it resolves each name itself, checks the
/// addresses, and connects to a checked one. A proxy resolves names by itself; then all addresses of the name must be public, if this host can resolve
/// it. Safe for concurrent use.
/// </summary>
internal sealed class RegistryHttp : IDisposable
{
    private const int MaxRetries = 3;

    /// <summary>Maximum time without any data from an endpoint. After it the next endpoint is asked.</summary>
    public static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);

    private readonly RegistryEndpoints _endpoints;
    private readonly RegistryCertificates _certificates;
    private readonly IRegistryCredentials? _credentials;
    private readonly RegistryProxy _proxy;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _retry;

    private readonly ILogger _logger;

    // Separate clients, so that endpoints that users named share no connections with endpoints that the operator configured, and so that each
    // registry's own certificates are trusted for that registry only.
    private readonly Lock _lock = new();
    private readonly Dictionary<(bool IsConfigured, string Authority), HttpClient> _clients = [];
    private bool _isDisposed;

    /// <summary>Creates a client.</summary>
    /// <param name="endpoints">Addresses that it may connect to.</param>
    /// <param name="options">Credentials, certificates, clock and logger.</param>
    /// <exception cref="ArgumentException">A certificate cannot be read.</exception>
    public RegistryHttp(RegistryEndpoints endpoints, RegistryClientOptions options)
    {
        _endpoints = endpoints;
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

    /// <summary>Asks the endpoints of an image in order, until one delivers the content.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="endpoints">The endpoints.</param>
    /// <param name="ask">Asks one endpoint, by its repository and its name for messages. It disposes the repository.</param>
    /// <returns>The result of <paramref name="ask"/>.</returns>
    /// <exception cref="ImageNotFoundException">No endpoint has the image.</exception>
    /// <exception cref="ImagePullException">The content could not be fetched.</exception>
    public async Task<T> AskAsync<T>(ImageReference reference, IReadOnlyList<RegistryEndpoint> endpoints, Func<RegistryRepository, string, Task<T>> ask)
    {
        var faults = new List<RegistryException>();
        bool isReached = false;
        foreach (RegistryEndpoint endpoint in endpoints)
        {
            if (endpoint.IsFallback && isReached)
            {
                continue;
            }

            RegistryRepository repository = Open(endpoint, reference);
            RegistryException fault;
            try
            {
                return await ask(repository, endpoint.ToString()).ConfigureAwait(false);
            }
            catch (RegistryException thrown)
            {
                fault = thrown;
            }
            catch (InvalidDataException thrown)
            {
                fault = new RegistryException($"an image from {endpoint}: {thrown.Message}", RegistryFaultKind.Failed, thrown);
            }

            isReached = repository.IsReached || !fault.IsUnreached;
            ImageLog.PlaceFailed(_logger, reference.ToString(), endpoint.ToString(), fault.Message);
            if (endpoint.IsFallback && fault.Kind == RegistryFaultKind.NotFound)
            {
                // The registry has answered over http, so its fault over https does not matter. Otherwise that fault, mostly a certificate, is the reason.
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

    private RegistryRepository Open(RegistryEndpoint endpoint, ImageReference reference) => new(this, _endpoints, endpoint, reference, _credentials, _time);

    /// <summary>Runs an action, and retries it after transient faults.</summary>
    /// <param name="action">The action.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">The action failed.</exception>
    public ValueTask<T> RetryAsync<T>(Func<CancellationToken, ValueTask<T>> action, CancellationToken cancellationToken) =>
        _retry.ExecuteAsync(action, cancellationToken);

    /// <summary>Sends a request. Redirects are not followed.</summary>
    /// <param name="endpoint">The endpoint that the request belongs to.</param>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Cancels the request.</param>
    /// <exception cref="RegistryException">There was no response.</exception>
    public async Task<HttpResponseMessage> SendAsync(RegistryEndpoint endpoint, HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var silent = new CancellationTokenSource(Silence, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silent.Token, cancellationToken);
        Uri target = request.RequestUri!;
        try
        {
            if (!_proxy.IsBypassed(target) && !MayBePrivate(endpoint.IsConfigured, target.IdnHost, target.Port))
            {
                await RequirePublicAsync(target, either.Token).ConfigureAwait(false);
            }

            return await ClientFor(endpoint.IsConfigured, target).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
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
                ? new RegistryException($"no secure connection to {target.Authority}: {(fault.InnerException ?? fault).Message}", RegistryFaultKind.Failed, fault) { IsUnreached = endpoint.Has(target) }
                : new RegistryException($"no answer from {target.Authority}: {fault.Message}", RegistryFaultKind.Transient, fault)
                {
                    IsUnreached = fault.HttpRequestError is HttpRequestError.ConnectionError && endpoint.Has(target),
                };
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            // Only a timeout of the connection has an inner TimeoutException.
            throw new RegistryException($"no answer from {target.Authority} in time", RegistryFaultKind.Transient, fault)
            {
                IsUnreached = fault.InnerException is TimeoutException && endpoint.Has(target),
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

    private bool MayBePrivate(bool isConfigured, string host, int port) => isConfigured && _endpoints.MayBePrivate(host, port);

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

    private static async Task RequirePublicAsync(Uri target, CancellationToken cancellationToken)
    {
        IPAddress[] addresses;
        try
        {
            addresses = await Dns.GetHostAddressesAsync(target.IdnHost.Trim('[', ']'), cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException)
        {
            // Hosts behind a proxy often cannot resolve public names.
            return;
        }
        catch (ArgumentException)
        {
            // 0.0.0.0 and similar addresses are not those of a host.
            throw NotPublic(target.IdnHost, target.Port);
        }

        if (!addresses.All(SpecialAddressRanges.IsPublic))
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

        // The operator chooses the proxy, and the target behind it was checked before.
        bool isProxy = _proxy.GetProxy(context.InitialRequestMessage.RequestUri!) is not null;
        if (!isProxy && !MayBePrivate(isConfigured, target.Host, target.Port))
        {
            IPAddress[] allowed = [.. addresses.Where(SpecialAddressRanges.IsPublic)];
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
