using Microsoft.Extensions.Logging;

namespace Boxer.Diagnostics;

/// <summary>The log messages of Boxer.Core. Event ids are part of the product: they are never reused.</summary>
internal static partial class Log
{
    [LoggerMessage(1000, LogLevel.Information, "Boxer instance {InstanceId} is ready: runsc {RunscVersion}, platform {Platform}, {Cgroups}.")]
    public static partial void InstanceReady(ILogger logger, string instanceId, string runscVersion, string platform, string cgroups);

    [LoggerMessage(1001, LogLevel.Information, "Removed leftovers of dead instance {InstanceId}.")]
    public static partial void InstanceReconciled(ILogger logger, string instanceId);

    [LoggerMessage(1002, LogLevel.Warning, "Could not remove all leftovers of dead instance {InstanceId}; the next start tries again.")]
    public static partial void ReconcileFailed(ILogger logger, string instanceId, Exception exception);

    [LoggerMessage(1003, LogLevel.Warning, "Cgroups are ignored: cpu and memory limits are not enforced.")]
    public static partial void CgroupsIgnored(ILogger logger);

    [LoggerMessage(1004, LogLevel.Warning, "Could not remove leftovers of dead instances of the network mode '{Mode}'; the next start tries again.")]
    public static partial void NetworkReconcileFailed(ILogger logger, string mode, Exception exception);

    [LoggerMessage(1005, LogLevel.Warning, "The pool could not boot a sandbox. It tries again in {Seconds:0} s; runs boot their own meanwhile.")]
    public static partial void PoolBootFailed(ILogger logger, double seconds, Exception exception);

    [LoggerMessage(1006, LogLevel.Error, "A sandbox of the pool could not be removed; the next start tries again.")]
    public static partial void PoolCleanupFailed(ILogger logger, Exception exception);

    [LoggerMessage(1007, LogLevel.Warning, "The image {Image} could not be made ready for the pool.")]
    public static partial void PoolImageFailed(ILogger logger, string image, Exception exception);

    [LoggerMessage(1008, LogLevel.Warning, "A sandbox of the pool is lost. The pool removes and replaces it.")]
    public static partial void PoolSandboxLost(ILogger logger, Exception exception);

    [LoggerMessage(1009, LogLevel.Warning, "Run {RunId}: its sandbox died while it waited; the run gets another one.")]
    public static partial void WaitingSandboxDied(ILogger logger, string runId, Exception? exception);

    [LoggerMessage(1010, LogLevel.Error, "The sandbox in {Directory} does not end. Its slot, memory and processors are not released before it is gone.")]
    public static partial void SandboxStuck(ILogger logger, string directory, Exception exception);

    [LoggerMessage(1015, LogLevel.Error, "The runner could not remove everything that it created on this host. The next start removes the rest.")]
    public static partial void RunnerLeft(ILogger logger, Exception exception);

    [LoggerMessage(1016, LogLevel.Warning, "A cancellation callback of the application's network mode, image store or stream failed. Everything else was cancelled.")]
    public static partial void CancellationCallbackFailed(ILogger logger, Exception exception);

    [LoggerMessage(1017, LogLevel.Error, "The output files of a run without a result could not be removed from {Directory}.")]
    public static partial void OutputsNotRemoved(ILogger logger, string directory, Exception exception);

    [LoggerMessage(1018, LogLevel.Warning, "{Path} ({Version}) does not deliver descriptors to a booted sandbox. They are passed at boot instead: sandboxes are not warmed up, and sessions are refused.")]
    internal static partial void DescriptorsNotTaken(ILogger logger, string path, string version);

    [LoggerMessage(1200, LogLevel.Information, "Session {SessionId} of {ImageDigest} is open.")]
    public static partial void SessionOpened(ILogger logger, string sessionId, string imageDigest);

    [LoggerMessage(1201, LogLevel.Information, "Session {SessionId} of {ImageDigest} ended after {Seconds} s: {End}.")]
    public static partial void SessionEnded(ILogger logger, string sessionId, string imageDigest, SandboxSessionEnd end, long seconds);

    [LoggerMessage(1202, LogLevel.Error, "Session {SessionId}: clean-up failed; the next start tries again.")]
    public static partial void SessionCleanupFailed(ILogger logger, string sessionId, Exception exception);

    [LoggerMessage(1203, LogLevel.Information, "Session {SessionId} is over its disk limit; its running commands are ended.")]
    public static partial void SessionDiskFull(ILogger logger, string sessionId);

    [LoggerMessage(1204, LogLevel.Warning, "Session {SessionId} could not be frozen; it stays awake.")]
    public static partial void SessionNotFrozen(ILogger logger, string sessionId, Exception exception);

    [LoggerMessage(1205, LogLevel.Warning, "The log of sessions in {Path} could not be read or written. After a restart, nobody learns how some sessions ended.")]
    public static partial void SessionLogFailed(ILogger logger, string path, Exception exception);

    [LoggerMessage(1206, LogLevel.Warning, "Session {SessionId} goes on to write over its disk limit although its commands are ended; its sandbox is killed.")]
    public static partial void SessionDiskExceeded(ILogger logger, string sessionId);

    [LoggerMessage(1100, LogLevel.Debug, "Run {RunId} of {ImageDigest} ended: {Termination}, in {TotalMilliseconds} ms.")]
    public static partial void RunEnded(ILogger logger, string runId, string imageDigest, TerminationKind termination, long totalMilliseconds);

    [LoggerMessage(1105, LogLevel.Warning, "Run {RunId} of {ImageDigest}: its sandbox died after {TotalMilliseconds} ms.")]
    public static partial void RunDied(ILogger logger, string runId, string imageDigest, long totalMilliseconds);

    [LoggerMessage(1103, LogLevel.Warning, "Run {RunId}: its output files could not be written.")]
    public static partial void OutputsNotWritten(ILogger logger, string runId, Exception exception);

    [LoggerMessage(1104, LogLevel.Warning, "Run {RunId}: its network report could not be read.")]
    public static partial void NetworkNotReported(ILogger logger, string runId, Exception exception);

    [LoggerMessage(1102, LogLevel.Error, "Run {RunId}: clean-up failed; the next start tries again.")]
    public static partial void CleanupFailed(ILogger logger, string runId, Exception exception);

    [LoggerMessage(1190, LogLevel.Debug, "The sandbox of a session in {Directory} ended: {Reason}")]
    public static partial void KeptSandboxEnded(ILogger logger, string directory, string reason);
}
