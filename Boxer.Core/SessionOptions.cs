namespace Boxer;

/// <summary>Options of sessions; see <see cref="ISandboxSessions"/>.</summary>
public sealed class SessionOptions
{
    /// <summary>
    /// Maximum memory in bytes that open sessions reserve together, by their <see cref="ResourceLimits.MemoryBytes"/>; 32 MiB to 1 PiB, and at most
    /// <see cref="BoxerOptions.MaxMemoryBytes"/>, of which it is a part. Further sessions are rejected with a <see cref="SandboxCapacityException"/>.
    /// <value>Default <see langword="null"/>: half of <see cref="BoxerOptions.MaxMemoryBytes"/> without the memory of pulls.</value>
    /// </summary>
    public long? MaxMemoryBytes { get; set; }

    /// <summary>
    /// Maximum memory in bytes that the open sessions of one <see cref="SandboxSessionRequest.FairnessKey"/> reserve together, as part of
    /// <see cref="MaxMemoryBytes"/>; 32 MiB to 1 PiB. Sessions without a key are bounded by <see cref="MaxMemoryBytes"/> only.
    /// <value>Default <see langword="null"/>: half of <see cref="MaxMemoryBytes"/>.</value>
    /// </summary>
    public long? MaxMemoryBytesPerKey { get; set; }

    /// <summary>
    /// Idle timeout of sessions that do not set their own; 1 s to 168 h (7 days), and at most <see cref="MaxLifetime"/>.
    /// <value>Default 5 min.</value>
    /// </summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Lifetime of sessions that do not set their own; 1 s to 168 h (7 days), and at most <see cref="MaxLifetime"/>.
    /// <value>Default 1 h.</value>
    /// </summary>
    public TimeSpan Lifetime { get; set; } = TimeSpan.FromHours(1);

    /// <summary>
    /// Highest idle timeout and lifetime that a request may set; 1 s to 168 h (7 days).
    /// <value>Default 168 h (7 days).</value>
    /// </summary>
    public TimeSpan MaxLifetime { get; set; } = TimeSpan.FromDays(7);

    /// <summary>
    /// Maximum number of commands of <see cref="ISandboxSession.ExecAsync"/> and <see cref="ISandboxSession.StreamAsync"/> that run in one session
    /// at the same time; 1 to 64. Further commands are rejected with a <see cref="SandboxCapacityException"/>.
    /// <value>Default 8.</value>
    /// </summary>
    public int MaxParallelExecs { get; set; } = 8;

    /// <summary>
    /// Maximum number of living processes of <see cref="ISandboxSession.StartAsync"/> in one session; 1 to 256. Children of the processes do not
    /// count; <see cref="ResourceLimits.Pids"/> bounds them.
    /// <value>Default 32.</value>
    /// </summary>
    public int MaxProcesses { get; set; } = 32;

    /// <summary>
    /// Maximum number of output bytes that are kept in memory for each process of <see cref="ISandboxSession.StartAsync"/>; 4 KiB to 64 MiB. Older
    /// output is dropped. All processes of a session together, living and ended, keep at most <see cref="MaxProcesses"/> times as much.
    /// <value>Default 1 MiB.</value>
    /// </summary>
    public long ProcessHistoryBytes { get; set; } = ByteSize.MiB;

    /// <summary>
    /// Maximum number of open connections of <see cref="ISandboxSession.ConnectAsync"/> in one session; 1 to 1,024.
    /// <value>Default 64.</value>
    /// </summary>
    public int MaxConnections { get; set; } = 64;

    /// <summary>
    /// Maximum number of entries that <see cref="ISandboxFiles.ListAsync"/> returns; 1 to 100,000.
    /// <value>Default 10,000.</value>
    /// </summary>
    public int MaxListEntries { get; set; } = 10_000;

    /// <summary>
    /// Maximum size in bytes of an archive that <see cref="ISandboxFiles.ReadArchiveAsync"/> or <see cref="ISandboxFiles.WriteArchiveAsync"/>
    /// transfers; 1 byte to 64 GiB.
    /// <value>Default 64 MiB.</value>
    /// </summary>
    public long MaxArchiveBytes { get; set; } = 64 * ByteSize.MiB;

    internal SessionOptions Copy() => (SessionOptions)MemberwiseClone();
}
