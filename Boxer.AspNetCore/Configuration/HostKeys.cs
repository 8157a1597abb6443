using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <summary>The keys of the host's configuration: those of <see cref="SettingTable"/> and its own.</summary>
internal static class HostKeys
{
    internal const string ListenAddress = "listen_addr";
    internal const string ApiKeys = "api_keys";
    internal const string HostNames = "host_names";
    internal const string Registries = "registries";
    internal const string Mirrors = "registry_mirrors";
    internal const string Certificates = "registry_certificates";
    internal const string Insecure = "insecure_registries";
    internal const string WarmUps = "warm_ups";

    /// <summary>Settings of <see cref="BoxerHttpOptions"/> with a single value.</summary>
    internal static IReadOnlyList<Setting> Http { get; } =
    [
        Setting.Of<BoxerHttpOptions, bool>("AllowSessions", options => options.AllowSessions, (options, value) => options.AllowSessions = value, "Whether clients may keep sandboxes.") with
        {
            Default = true, HostKey = "allow_sessions",
        },
        Setting.Of<BoxerHttpOptions, long>("MaxUploadBytes", options => options.MaxUploadBytes, (options, value) => options.MaxUploadBytes = value, "Size of one upload.") with
        {
            Default = 10 * ByteSize.MiB, Least = 1L, Most = 64 * ByteSize.GiB, HostKey = "upload_limit_bytes",
        },
        Setting.Of<BoxerHttpOptions, long>("MaxStoredBytes", options => options.MaxStoredBytes, (options, value) => options.MaxStoredBytes = value, "Size of uploads and kept outputs of one key.") with
        {
            Default = 4 * ByteSize.GiB, Least = 1L, HostKey = "upload_quota_bytes",
        },
        Setting.Of<BoxerHttpOptions, int>("MaxStoredFiles", options => options.MaxStoredFiles, (options, value) => options.MaxStoredFiles = value, "Files and directories of one key.") with
        {
            Default = 100_000, Least = 1, Unit = "files", HostKey = "upload_quota_files",
        },
        Setting.Of<BoxerHttpOptions, long>("MaxRequestBytes", options => options.MaxRequestBytes, (options, value) => options.MaxRequestBytes = value, "Size of the body of a run request.") with
        {
            Default = 16 * ByteSize.MiB, Least = ByteSize.KiB, Most = ByteSize.GiB, HostKey = "run_body_limit_bytes",
        },
        Setting.Of<BoxerHttpOptions, long>("MaxInlineOutputBytes", options => options.MaxInlineOutputBytes, (options, value) => options.MaxInlineOutputBytes = value, "Size of output files in one response, and of a returned workspace.") with
        {
            Default = 4 * ByteSize.MiB, Least = 0L, Most = 64 * ByteSize.MiB, HostKey = "inline_outputs_bytes",
        },
        Setting.Of<BoxerHttpOptions, int>("MaxInlineOutputFiles", options => options.MaxInlineOutputFiles, (options, value) => options.MaxInlineOutputFiles = value, "Number of output files in one response.") with
        {
            Default = 100, Least = 0, Most = 10_000, Unit = "files", HostKey = "inline_outputs_files",
        },
        Setting.Of<BoxerHttpOptions, long?>("MaxBufferedRequestBytes", options => options.MaxBufferedRequestBytes, (options, value) => options.MaxBufferedRequestBytes = value, "Memory of all requests, from their body until their response.") with
        {
            DefaultText = "256 MiB, or 16 times MaxRequestBytes if that is more", Least = 8 * ByteSize.KiB, Most = ByteSize.TiB, HostKey = "buffered_requests_bytes",
        },
        Setting.Of<BoxerHttpOptions, long?>("MaxBufferedAnswerBytes", options => options.MaxBufferedAnswerBytes, (options, value) => options.MaxBufferedAnswerBytes = value, "Memory of all responses that clients have not read yet.") with
        {
            DefaultText = "256 MiB, or four of the largest responses if that is more", Least = ByteSize.MiB, Most = ByteSize.TiB, HostKey = "buffered_answers_bytes",
        },
        Setting.Of<BoxerHttpOptions, TimeSpan>("RequestBodyTimeout", options => options.RequestBodyTimeout, (options, value) => options.RequestBodyTimeout = value, "Time for the body of a run request to arrive; uploads have more, by the maximum upload size.") with
        {
            Default = TimeSpan.FromSeconds(120), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromHours(1), HostKey = "body_timeout_secs",
        },
        Setting.Of<BoxerHttpOptions, TimeSpan>("StopGrace", options => options.StopGrace, (options, value) => options.StopGrace = value, "Time that running commands have to end when the host stops.") with
        {
            Default = TimeSpan.FromSeconds(10), Least = TimeSpan.Zero, Most = TimeSpan.FromHours(1), HostKey = "stop_grace_secs",
        },
    ];

    /// <summary>All settings at the top of the configuration: options, limits that requests cannot set, and options of the endpoints.</summary>
    internal static IReadOnlyList<Setting> Top(SettingTable table) => [.. table.Options, .. Top(table.Limits), .. Http];

    /// <summary>The limits of the whole host, which requests cannot set. Their keys are at the top.</summary>
    internal static IEnumerable<Setting> Top(IEnumerable<Setting> limits) => limits.Where(limit => limit.HttpKey is null);

    /// <summary>Names of the keys at the top of the configuration.</summary>
    internal static IEnumerable<string> Names(SettingTable table) =>
        [.. Top(table).Select(setting => setting.HostKey!), ListenAddress, ApiKeys, HostNames, Mirrors, Certificates, Insecure];
}
