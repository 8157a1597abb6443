using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;

namespace Boxer.Images;

/// <summary>
/// The HTTP side of the OCI distribution protocol. It connects only where <see cref="RegistryPlaces"/> lets it, whatever name led
/// there: names are resolved here and the address that is connected to is the one that was checked. Proxies of the environment are not
/// used, because behind one the address could not be checked. Safe for concurrent use.
/// </summary>
internal sealed class RegistryClient : IDisposable
{
    private readonly RegistryPlaces _places;
    private readonly HttpClient _http;

    /// <summary>Makes a client.</summary>
    /// <param name="places">Where it may connect.</param>
    public RegistryClient(RegistryPlaces places)
    {
        _places = places;
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = false,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = TimeSpan.FromSeconds(15),
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            MaxResponseHeadersLength = 64,
            ConnectCallback = ConnectAsync,
        };
        _http = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        _http.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("boxer", null));
    }

    // A place that says nothing for so long is given up, so that the next one is asked.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);

    /// <summary>Opens one image's repository at one place. Tokens are kept for as long as it is open.</summary>
    /// <param name="place">The place.</param>
    /// <param name="reference">The image.</param>
    public RegistryRepository Open(RegistryPlace place, ImageReference reference) => new(this, _places, place, reference);

    /// <summary>Sends a request; does not follow redirects.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RegistryException">There was no answer.</exception>
    public async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var silent = new CancellationTokenSource(Silence, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silent.Token, cancellationToken);
        try
        {
            return await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
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

            string host = request.RequestUri!.Authority;
            throw fault.HttpRequestError is HttpRequestError.SecureConnectionError
                ? new RegistryException($"no secure connection to {host}: {(fault.InnerException ?? fault).Message}", RegistryFaultKind.Failed, fault)
                : new RegistryException($"no answer from {host}: {fault.Message}", RegistryFaultKind.Transient, fault);
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RegistryException($"no answer from {request.RequestUri!.Authority} in time", RegistryFaultKind.Transient, fault);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        DnsEndPoint target = context.DnsEndPoint;
        IPAddress[] addresses = await Dns.GetHostAddressesAsync(target.Host, cancellationToken).ConfigureAwait(false);
        if (!_places.MayBePrivate(target.Host, target.Port))
        {
            IPAddress[] allowed = [.. addresses.Where(PublicAddress.IsPublic)];
            if (allowed.Length == 0 && addresses.Length > 0)
            {
                throw new RegistryException(
                    $"{target.Host}:{target.Port} has no public address; list it in AllowedRegistries if it may be used");
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
