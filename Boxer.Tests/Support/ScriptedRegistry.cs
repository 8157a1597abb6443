using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Boxer.Images;
using Boxer.Images.Manifests;

namespace Boxer.Tests.Support;

/// <summary>A request that a scripted registry received.</summary>
internal sealed record ScriptedRequest(string Path, IReadOnlyDictionary<string, string> Headers, string Body = "", string Method = "GET");

/// <summary>A response of a scripted registry.</summary>
internal sealed record ScriptedAnswer(int Status, byte[] Body, params (string Name, string Value)[] Headers)
{
    /// <summary>Value of Content-Length; null for the actual length, -1 to omit the header.</summary>
    public long? StatedLength { get; init; }

    /// <summary>Whether the body is sent repeatedly without end.</summary>
    public bool Endless { get; init; }

    /// <summary>Number of bytes that are sent at a time, each part after <see cref="Pause"/>; 0 sends the whole body at once.</summary>
    public int Drip { get; init; }

    /// <summary>Pause before each part.</summary>
    public TimeSpan Pause { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>The body is sent when this task has completed.</summary>
    public Task Gate { get; init; } = Task.CompletedTask;
}

/// <summary>A registry whose responses a test defines, including false ones.</summary>
internal sealed class ScriptedRegistry : IDisposable
{
    private readonly TcpListener _listener;
    private readonly CancellationTokenSource _stop = new();

    private readonly X509Certificate2? _certificate;

    public ScriptedRegistry(string address = "127.0.0.1", X509Certificate2? certificate = null)
    {
        _certificate = certificate;
        _listener = new TcpListener(IPAddress.Parse(address), 0);
        _listener.Start();
        Host = _listener.LocalEndpoint.ToString()!;
        _ = AcceptAsync();
    }

    public string Host { get; }

    public string Url => (_certificate is null ? "http://" : "https://") + Host;

    public ConcurrentQueue<ScriptedRequest> Requests { get; } = new();

    /// <summary>Returns the response to a request; null to use <see cref="Content"/>.</summary>
    public Func<ScriptedRequest, ScriptedAnswer?> Script { get; set; } = _ => null;

    public ConcurrentDictionary<string, ScriptedAnswer> Content { get; } = new();

    /// <summary>Adds an image to a repository. Its layers are tar archives, sent as gzip.</summary>
    /// <returns>The path of the first layer's blob.</returns>
    public string AddImage(string repository, string tag, byte[][] archives, string? architecture = null, byte[][]? blobs = null)
    {
        blobs ??= [.. archives.Select(Archive.Gzip)];
        return AddImage(repository, tag, [.. archives.Select(archive => ImageDigest.Sha256Of(archive))], blobs, architecture);
    }

    /// <summary>Adds an image with these blobs and diff ids to a repository.</summary>
    /// <returns>The path of the first layer's blob.</returns>
    public string AddImage(string repository, string tag, ImageDigest[] diffIds, byte[][] blobs, string? architecture = null)
    {
        byte[] config = Encoding.UTF8.GetBytes($$"""
            {"architecture":"{{architecture ?? ImagePlatform.Current.Architecture}}","os":"linux","config":{"Env":["A=b"],"User":"app","WorkingDir":"/w"},
             "rootfs":{"type":"layers","diff_ids":[{{string.Join(',', diffIds.Select(diffId => $"\"{diffId}\""))}}]} }
            """);
        byte[] manifest = Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"mediaType":"{{ImageMediaTypes.OciManifest}}",
             "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{ImageDigest.Sha256Of(config)}}","size":{{config.Length}} },
             "layers":[{{string.Join(',', blobs.Select(blob =>
                $$"""{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{{ImageDigest.Sha256Of(blob)}}","size":{{blob.Length}} }"""))}}] }
            """);
        AddManifest(repository, tag, manifest);
        foreach (byte[] blob in (byte[][])[config, .. blobs])
        {
            Content[$"/v2/{repository}/blobs/{ImageDigest.Sha256Of(blob)}"] = new(200, blob);
        }

        return $"/v2/{repository}/blobs/{ImageDigest.Sha256Of(blobs.FirstOrDefault() ?? config)}";
    }

    public void AddManifest(string repository, string tag, byte[] manifest, string mediaType = ImageMediaTypes.OciManifest)
    {
        var answer = new ScriptedAnswer(200, manifest, ("Content-Type", mediaType));
        Content[$"/v2/{repository}/manifests/{tag}"] = answer;
        Content[$"/v2/{repository}/manifests/{ImageDigest.Sha256Of(manifest)}"] = answer;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        CancellationToken stop = _stop.Token;
        while (!stop.IsCancellationRequested)
        {
            try
            {
                _ = ServeAsync(await _listener.AcceptTcpClientAsync(stop), stop);
            }
            catch (Exception fault) when (fault is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ServeAsync(TcpClient client, CancellationToken stop)
    {
        try
        {
            using (client)
            using (Stream stream = await OpenAsync(client.GetStream(), stop))
            using (var reader = new StreamReader(stream, Encoding.ASCII))
            {
                if (await reader.ReadLineAsync(stop) is not { } first)
                {
                    return;
                }

                var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
                while (await reader.ReadLineAsync(stop) is { Length: > 0 } line)
                {
                    int colon = line.IndexOf(':', StringComparison.Ordinal);
                    headers[line[..colon]] = line[(colon + 1)..].Trim();
                }

                var body = new char[headers.TryGetValue("Content-Length", out string? length) ? int.Parse(length, CultureInfo.InvariantCulture) : 0];
                if (body.Length > 0)
                {
                    // Reading zero characters would wait for the next ones.
                    await reader.ReadBlockAsync(body, stop);
                }

                var request = new ScriptedRequest(first.Split(' ')[1], headers, new string(body), first.Split(' ')[0]);
                Requests.Enqueue(request);
                ScriptedAnswer answer = Script(request) ?? Content.GetValueOrDefault(request.Path)
                    ?? new(404, """{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"""u8.ToArray());
                await AnswerAsync(stream, answer, stop);
            }
        }
        catch (Exception fault) when (fault is IOException or AuthenticationException or OperationCanceledException or ObjectDisposedException)
        {
            // The client closed the connection, or the test is over.
        }
    }

    private async Task<Stream> OpenAsync(NetworkStream stream, CancellationToken stop)
    {
        if (_certificate is null)
        {
            return stream;
        }

        var secure = new SslStream(stream);
        await secure.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = _certificate }, stop);
        return secure;
    }

    private static async Task AnswerAsync(Stream stream, ScriptedAnswer answer, CancellationToken stop)
    {
        var head = new StringBuilder().Append(CultureInfo.InvariantCulture, $"HTTP/1.1 {answer.Status} X\r\nConnection: close\r\n");
        long length = answer.StatedLength ?? (answer.Endless ? -1 : answer.Body.Length);
        if (length >= 0)
        {
            head.Append(CultureInfo.InvariantCulture, $"Content-Length: {length}\r\n");
        }

        foreach ((string name, string value) in answer.Headers)
        {
            head.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
        }

        await stream.WriteAsync(Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), stop);
        await answer.Gate.WaitAsync(stop);
        for (int at = 0; answer.Drip > 0; at = (at + answer.Drip) % answer.Body.Length)
        {
            await stream.WriteAsync(answer.Body.AsMemory(at, Math.Min(answer.Drip, answer.Body.Length - at)), stop);
            await Task.Delay(answer.Pause, stop);
        }

        do
        {
            await stream.WriteAsync(answer.Body, stop);
        }
        while (answer.Endless);
    }
}
