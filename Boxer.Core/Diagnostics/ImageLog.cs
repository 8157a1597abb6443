using Microsoft.Extensions.Logging;

namespace Boxer.Diagnostics;

/// <summary>Log messages of images: event ids 2000 to 2099. The id 2009 belonged to an earlier version.</summary>
internal static partial class ImageLog
{
    /// <summary>The category of the loggers.</summary>
    internal const string Category = "Boxer.Images.ImageStore";

    [LoggerMessage(2000, LogLevel.Information, "Pulled {Reference} ({Digest}, {Layers} layers) from {Place} in {Milliseconds:0} ms")]
    public static partial void Pulled(ILogger logger, string reference, string digest, string place, int layers, double milliseconds);

    [LoggerMessage(2001, LogLevel.Warning, "{Place} did not deliver {Reference}: {Reason}")]
    public static partial void PlaceFailed(ILogger logger, string reference, string place, string reason);

    [LoggerMessage(2002, LogLevel.Information, "Retrying in {Milliseconds:0} ms: {Reason}")]
    public static partial void Retrying(ILogger logger, double milliseconds, string reason);

    [LoggerMessage(2003, LogLevel.Information, "Image roots are flattened trees, because overlay mounts cannot be made: {Obstacle}")]
    public static partial void Flattening(ILogger logger, string obstacle);

    [LoggerMessage(2004, LogLevel.Information, "Removed leftovers of {Count} dead processes in {Home}")]
    public static partial void RemovedAbandoned(ILogger logger, int count, string home);

    [LoggerMessage(2005, LogLevel.Warning, "The root {Path} was still in use when the store was disposed; it is unmounted when its last user ends")]
    public static partial void RootInUse(ILogger logger, string path);

    [LoggerMessage(2006, LogLevel.Warning, "The stored content of {Reference} is damaged and will be pulled again: {Reason}")]
    public static partial void StoreDamaged(ILogger logger, string reference, string reason);

    [LoggerMessage(2007, LogLevel.Information, "Removed {Images} references and {Bytes} bytes from the store")]
    public static partial void Collected(ILogger logger, int images, long bytes);

    [LoggerMessage(2008, LogLevel.Warning, "Content that no image needs could not be removed from the store; the next pull tries again")]
    public static partial void NotCollected(ILogger logger, Exception fault);
}
