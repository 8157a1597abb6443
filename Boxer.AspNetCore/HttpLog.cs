namespace Boxer.AspNetCore;

/// <summary>Everything that the endpoints log. The ids are fixed.</summary>
internal static partial class HttpLog
{
    [LoggerMessage(7003, LogLevel.Error, "Request {RequestId} failed.")]
    public static partial void Failed(ILogger logger, Exception exception, string requestId);

    [LoggerMessage(7004, LogLevel.Information, "Request {RequestId}: the client went away; its run is ended.")]
    public static partial void ClientGone(ILogger logger, string requestId);

    [LoggerMessage(7005, LogLevel.Information, "Stopping: running work has {Seconds} s to end.")]
    public static partial void Stopping(ILogger logger, double seconds);

    [LoggerMessage(7006, LogLevel.Warning, "Stopping: the grace is over; running work is ended.")]
    public static partial void GraceOver(ILogger logger);

    [LoggerMessage(7007, LogLevel.Warning, "Run {ExecId}: its outputs were not kept: {Reason}")]
    public static partial void OutputsNotKept(ILogger logger, string execId, string reason);

    [LoggerMessage(7008, LogLevel.Warning, "Refused a request from {RemoteAddress}: {Reason}")]
    public static partial void Refused(ILogger logger, System.Net.IPAddress? remoteAddress, string reason);

    [LoggerMessage(7009, LogLevel.Error, "Files of a run could not be removed; they go when they are deleted or replaced, or at the next start.")]
    public static partial void FilesLeft(ILogger logger, Exception exception);

    [LoggerMessage(7010, LogLevel.Error, "Request {RequestId}: the disk is full.")]
    public static partial void DiskFull(ILogger logger, Exception exception, string requestId);

    [LoggerMessage(7011, LogLevel.Warning, "The answer for {Client} was given up after {Bytes} bytes waited for their reader: answers held too many bytes.")]
    public static partial void AnswerGivenUp(ILogger logger, string client, long bytes);

    [LoggerMessage(7012, LogLevel.Warning, "Request {RequestId} was answered {Status}: {Reason}")]
    public static partial void Answered(ILogger logger, string requestId, int status, string reason);
}
