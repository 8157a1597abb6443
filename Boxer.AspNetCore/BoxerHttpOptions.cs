namespace Boxer.AspNetCore;

/// <summary>Options of the HTTP facade. They are read once, when the application starts; later changes require a restart.</summary>
public sealed class BoxerHttpOptions
{
    /// <summary>
    /// API keys of clients. If any is set, every endpoint except <c>GET /healthz</c> requires a key, sent as <c>Authorization: Bearer KEY</c> or
    /// <c>X-API-Key: KEY</c>. Each key has its own file space and its own share of the queue.
    /// <value>Default empty: everyone who can reach the endpoints can use them, unless the application's own authorization forbids it.</value>
    /// </summary>
    public IList<BoxerApiKey> ApiKeys { get; } = [];

    /// <summary>
    /// Network modes that requests may use. <see cref="BoxerOptions.AllowedNetworks"/> must allow them too.
    /// <value>Default empty: <c>none</c> and <c>sandbox</c>.</value>
    /// </summary>
    public IList<string> AllowedNetworks { get; } = [];

    /// <summary>
    /// Whether clients may keep sandboxes: with <see langword="false"/>, the endpoints of sessions do not exist.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool AllowSessions { get; set; } = true;

    /// <summary>
    /// Further names that the Host header may contain if <see cref="ApiKeys"/> is empty, with or without a port. IP addresses, <c>localhost</c> and this
    /// machine's name are always allowed.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<string> HostNames { get; } = [];

    /// <summary>
    /// Directory of uploads and kept outputs: an absolute path. It is created with mode 0700 if it is missing. Only one process at a time can use it.
    /// <value>Default <see langword="null"/>: the directory <c>files</c> in <see cref="BoxerOptions.Home"/>.</value>
    /// </summary>
    public string? FilesDirectory { get; set; }

    /// <summary>
    /// Maximum size of one upload, in bytes; 1 to 64 GiB. A larger upload is rejected with 413.
    /// <value>Default 10 MiB.</value>
    /// </summary>
    public long MaxUploadBytes { get; set; } = 10L << 20;

    /// <summary>
    /// Maximum total size of one client's uploads and kept outputs, in bytes; at least 1. A file that exceeds it is rejected with 413.
    /// <value>Default 4 GiB.</value>
    /// </summary>
    public long MaxStoredBytes { get; set; } = 4L << 30;

    /// <summary>
    /// Maximum number of files and directories of one client; at least 1. A file that exceeds it is rejected with 413.
    /// <value>Default 100,000.</value>
    /// </summary>
    public int MaxStoredFiles { get; set; } = 100_000;

    /// <summary>
    /// Maximum size of the body of a run request, in bytes; 1,024 to 1 GiB. A larger body is rejected with 413.
    /// <value>Default 16 MiB.</value>
    /// </summary>
    public long MaxRequestBytes { get; set; } = 16L << 20;

    /// <summary>
    /// Maximum size of output files in one response, and of a returned workspace, in bytes; 0 to 64 MiB.
    /// <value>Default 4 MiB.</value>
    /// </summary>
    public long MaxInlineOutputBytes { get; set; } = 4L << 20;

    /// <summary>
    /// Maximum number of output files in one response; 0 to 10,000.
    /// <value>Default 100.</value>
    /// </summary>
    public int MaxInlineOutputFiles { get; set; } = 100;

    /// <summary>
    /// Maximum memory of all requests from their body until their response, in bytes; at least eight times <see cref="MaxRequestBytes"/>, at most 1 TiB.
    /// Each byte of a body counts four times. One client can use half of the memory. A request that exceeds it is rejected with 429.
    /// <value>Default <see langword="null"/>: 256 MiB, or 16 times <see cref="MaxRequestBytes"/> if that is more.</value>
    /// </summary>
    public long? MaxBufferedRequestBytes { get; set; }

    /// <summary>
    /// Maximum memory of all responses that clients have not read yet, in bytes; 1 MiB to 1 TiB. If it is exceeded, the client with the most unread bytes
    /// loses its oldest response.
    /// <value>Default <see langword="null"/>: 256 MiB, or four responses of the maximum size if that is more.</value>
    /// </summary>
    public long? MaxBufferedAnswerBytes { get; set; }

    /// <summary>
    /// Maximum time for the body of a run request to arrive; 1 s to 1 hour. Uploads have one more second for each 32 KiB of
    /// <see cref="MaxUploadBytes"/>. A body that takes longer is rejected with 400.
    /// <value>Default 120 s.</value>
    /// </summary>
    public TimeSpan RequestBodyTimeout { get; set; } = TimeSpan.FromSeconds(120);

    /// <summary>
    /// Time that running commands have to end when the application stops; 0 to 1 hour. Commands that still run then are killed, and their requests get
    /// 503. The application's <c>HostOptions.ShutdownTimeout</c> is raised if it is too short for this.
    /// <value>Default 10 s.</value>
    /// </summary>
    public TimeSpan StopGrace { get; set; } = TimeSpan.FromSeconds(10);
}

/// <summary>An API key of a client.</summary>
public sealed class BoxerApiKey
{
    /// <summary>Maximum length of a key.</summary>
    internal const int MaxLength = 4_096;

    /// <summary>Creates a key.</summary>
    /// <param name="key">The secret: 1 to 4,096 visible ASCII characters without spaces.</param>
    public BoxerApiKey(string key)
    {
        ArgumentNullException.ThrowIfNull(key);
        Key = key;
    }

    /// <summary>The secret that clients send.</summary>
    public string Key { get; }

    /// <summary>
    /// Network modes that requests with this key may use. <see cref="BoxerHttpOptions.AllowedNetworks"/> must allow them too.
    /// <value>Default <see langword="null"/>: all modes that <see cref="BoxerHttpOptions.AllowedNetworks"/> allows.</value>
    /// </summary>
    public IReadOnlyList<string>? AllowedNetworks { get; init; }

    internal static bool IsValid(string key) => key.Length is > 0 and <= MaxLength && !key.Any(c => c is <= ' ' or > '~');

    /// <summary>Describes the key without its secret.</summary>
    public override string ToString() => AllowedNetworks is null ? "API key" : $"API key with the networks {string.Join(", ", AllowedNetworks)}";
}
