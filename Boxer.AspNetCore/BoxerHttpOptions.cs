namespace Boxer.AspNetCore;

/// <summary>Options of the HTTP facade. They are read once, when the application starts; a change later needs a restart.</summary>
public sealed class BoxerHttpOptions
{
    /// <summary>
    /// Keys of clients. With at least one, every endpoint but <c>GET /healthz</c> requires a key, sent as <c>Authorization: Bearer KEY</c> or
    /// <c>X-API-Key: KEY</c>, and each key has a file space and a place in the queue of its own.
    /// <value>Default empty: everybody who reaches the endpoints can use them, unless the application requires authorization of its own, by its fallback policy or one that it names.</value>
    /// </summary>
    public IList<BoxerApiKey> ApiKeys { get; } = [];

    /// <summary>
    /// Network modes that requests may name, as far as <see cref="BoxerOptions.AllowedNetworks"/> allows them too.
    /// <value>Default empty: <c>none</c> and <c>sandbox</c>.</value>
    /// </summary>
    public IList<string> AllowedNetworks { get; } = [];

    /// <summary>
    /// Names that the Host header may have while there are no <see cref="ApiKeys"/>, with or without a port, beside IP addresses, <c>localhost</c> and
    /// this machine's name.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<string> HostNames { get; } = [];

    /// <summary>
    /// Directory of uploads and kept outputs: an absolute path, made with mode 0700 when missing. One process at a time can use it.
    /// <value>Default <see langword="null"/>: the directory <c>files</c> in <see cref="BoxerOptions.Home"/>.</value>
    /// </summary>
    public string? FilesDirectory { get; set; }

    /// <summary>
    /// Maximum size of one upload, in bytes; 1 to 64 GiB. A larger one is 413.
    /// <value>Default 10 MiB.</value>
    /// </summary>
    public long MaxUploadBytes { get; set; } = 10L << 20;

    /// <summary>
    /// Maximum size of uploads and kept outputs of one client together, in bytes; at least 1. A file beyond it is 413.
    /// <value>Default 4 GiB.</value>
    /// </summary>
    public long MaxStoredBytes { get; set; } = 4L << 30;

    /// <summary>
    /// Maximum number of files and directories of one client; at least 1. A file beyond it is 413.
    /// <value>Default 100,000.</value>
    /// </summary>
    public int MaxStoredFiles { get; set; } = 100_000;

    /// <summary>
    /// Maximum size of the body of a run request, in bytes; 1,024 to 1 GiB. A larger one is 413.
    /// <value>Default 16 MiB.</value>
    /// </summary>
    public long MaxRequestBytes { get; set; } = 16L << 20;

    /// <summary>
    /// Maximum size of output files, and of a workspace that comes back, in one answer, in bytes; 0 to 64 MiB.
    /// <value>Default 4 MiB.</value>
    /// </summary>
    public long MaxInlineOutputBytes { get; set; } = 4L << 20;

    /// <summary>
    /// Maximum number of output files in one answer; 0 to 10,000.
    /// <value>Default 100.</value>
    /// </summary>
    public int MaxInlineOutputFiles { get; set; } = 100;

    /// <summary>
    /// Maximum memory of all requests from their body until their answer, in bytes; at least eight times <see cref="MaxRequestBytes"/>, at most 1 TiB. A byte of a body
    /// takes four. One client can have half of it. A request beyond it is 429.
    /// <value>Default <see langword="null"/>: 256 MiB, or 16 times <see cref="MaxRequestBytes"/> where that is more.</value>
    /// </summary>
    public long? MaxBufferedRequestBytes { get; set; }

    /// <summary>
    /// Maximum memory of all answers that wait for their readers, in bytes; 1 MiB to 1 TiB. Beyond it the client that holds the most loses its oldest answer.
    /// <value>Default <see langword="null"/>: 256 MiB, or four of the largest answers where that is more.</value>
    /// </summary>
    public long? MaxBufferedAnswerBytes { get; set; }

    /// <summary>
    /// Maximum time for the body of a run request to arrive; 1 s to 1 hour. An upload has it too, and one second more for each 32 KiB of
    /// <see cref="MaxUploadBytes"/>. A body that takes longer is 400.
    /// <value>Default 120 s.</value>
    /// </summary>
    public TimeSpan RequestBodyTimeout { get; set; } = TimeSpan.FromSeconds(120);

    /// <summary>
    /// Time that running work has to end when the application stops; 0 to 1 hour. What still runs then is ended and answered with 503. The
    /// application's own <c>HostOptions.ShutdownTimeout</c> is raised so that it fits.
    /// <value>Default 10 s.</value>
    /// </summary>
    public TimeSpan StopGrace { get; set; } = TimeSpan.FromSeconds(10);
}

/// <summary>A key of a client.</summary>
public sealed class BoxerApiKey
{
    /// <summary>Makes a key.</summary>
    /// <param name="key">The secret: 1 to 4,096 visible ASCII characters without spaces.</param>
    public BoxerApiKey(string key)
    {
        ArgumentNullException.ThrowIfNull(key);
        Key = key;
    }

    /// <summary>The secret that clients send.</summary>
    public string Key { get; }

    /// <summary>
    /// Network modes that this key's requests may name, as far as <see cref="BoxerHttpOptions.AllowedNetworks"/> allows them.
    /// <value>Default <see langword="null"/>: all of those.</value>
    /// </summary>
    public IReadOnlyList<string>? AllowedNetworks { get; init; }

    /// <summary>Describes the key without its secret.</summary>
    public override string ToString() => AllowedNetworks is null ? "API key" : $"API key with the networks {string.Join(", ", AllowedNetworks)}";
}
