using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;

namespace Boxer.Images;

/// <summary>
/// The HTTP side of the OCI distribution protocol. It connects only where <see cref="RegistryPlaces"/> lets it, whatever name led
/// there: names are resolved here and the address that is connected to is the one that was checked. Through a proxy that is the proxy's:
/// then the name must have public addresses only, as far as this host knows it. Safe for concurrent use.
/// </summary>
internal sealed class RegistryClient : IDisposable
{
    private const int MaxRetries = 3;

    // A place that says nothing for so long is given up, so that the next one is asked.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);

    private readonly RegistryPlaces _places;
    private readonly RegistryCertificates _certificates;
    private readonly IRegistryCredentials? _credentials;
    private readonly RegistryProxy _proxy;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _retry;

    // Apart, so that a place that a user named never gets a connection to where only the operator's places may lead.
    private readonly HttpClient _configured;
    private readonly HttpClient _public;

    /// <summary>Makes a client.</summary>
    /// <param name="places">Where it may connect.</param>
    /// <param name="options">The store's options: credentials, certificates, clock and logger are read.</param>
    /// <exception cref="ArgumentException">A certificate cannot be read.</exception>
    public RegistryClient(RegistryPlaces places, ImageStoreOptions options)
    {
        _places = places;
        _certificates = new(options.RegistryCertificates, options.InsecureRegistries);
        _credentials = options.Credentials;
        _proxy = new(options.Proxy ?? HttpClient.DefaultProxy);
        _time = options.TimeProvider;
        ILogger logger = options.LoggerFactory.CreateLogger<ImageStore>();
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
                    ImageLog.Retrying(logger, arguments.RetryDelay.TotalMilliseconds, arguments.Outcome.Exception?.Message ?? "");
                    return ValueTask.CompletedTask;
                },
            })
            .Build();
        _configured = MakeClient(isConfigured: true);
        _public = MakeClient(isConfigured: false);
    }

    /// <summary>Opens one image's repository at one place. Tokens are kept for as long as it is open.</summary>
    /// <param name="place">The place.</param>
    /// <param name="reference">The image.</param>
    public RegistryRepository Open(RegistryPlace place, ImageReference reference) => new(this, _places, place, reference, _credentials, _time);

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
    public async Task<HttpResponseMessage> SendAsync(RegistryPlace place, HttpRequestMessage request, CancellationToken cancellationToken)
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

            return await (place.IsConfigured ? _configured : _public).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
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
                ? new RegistryException($"no secure connection to {target.Authority}: {(fault.InnerException ?? fault).Message}", RegistryFaultKind.Failed, fault)
                : new RegistryException($"no answer from {target.Authority}: {fault.Message}", RegistryFaultKind.Transient, fault);
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RegistryException($"no answer from {target.Authority} in time", RegistryFaultKind.Transient, fault);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _configured.Dispose();
        _public.Dispose();
        _certificates.Dispose();
    }

    private bool MayBePrivate(bool isConfigured, string host, int port) => isConfigured && _places.MayBePrivate(host, port);

    private HttpClient MakeClient(bool isConfigured)
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
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = _certificates.IsBelieved },
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

        if (!addresses.All(PublicAddress.IsPublic))
        {
            throw NotPublic(target.IdnHost, target.Port);
        }
    }

    private static RegistryException NotPublic(string host, int port) =>
        new($"{host}:{port} has no public address; list it in AllowedRegistries if it may be used");

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, bool isConfigured, CancellationToken cancellationToken)
    {
        DnsEndPoint target = context.DnsEndPoint;
        IPAddress[] addresses = await Dns.GetHostAddressesAsync(target.Host, cancellationToken).ConfigureAwait(false);

        // A proxy is the operator's own choice, and where it leads was looked at before.
        bool isProxy = _proxy.GetProxy(context.InitialRequestMessage.RequestUri!) is not null;
        if (!isProxy && !MayBePrivate(isConfigured, target.Host, target.Port))
        {
            IPAddress[] allowed = [.. addresses.Where(PublicAddress.IsPublic)];
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
