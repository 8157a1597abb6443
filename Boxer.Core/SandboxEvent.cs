using System.Text;
using Boxer.Common;
using Boxer.Images;

namespace Boxer;

/// <summary>Base class for events of a run; see <see cref="ISandboxRunner.StreamAsync"/>. Later versions may add kinds: ignore unknown ones.</summary>
public abstract class SandboxEvent
{
    private protected SandboxEvent()
    {
    }
}

/// <summary>
/// Reports that the image of the run is being pulled, by this run or by another that shares the pull. Sent before <see cref="SandboxStarted"/>, and
/// only if the image is pulled: first once without a layer, then for each layer at most every 250 ms and when it is stored. A newer event replaces
/// an unread one of the same layer.
/// </summary>
public sealed class SandboxImagePulling : SandboxEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="image">The canonical reference of the image.</param>
    /// <param name="layer">Progress of one layer; <see langword="null"/> in the first event of a pull.</param>
    public SandboxImagePulling(string image, PullProgress? layer = null)
    {
        ArgumentNullException.ThrowIfNull(image);
        Image = image;
        Layer = layer;
    }

    /// <summary>The canonical reference of the image, such as <c>docker.io/library/python:3.12-slim</c>.</summary>
    public string Image { get; }

    /// <summary>Progress of one layer; <see langword="null"/> in the first event of a pull.</summary>
    public PullProgress? Layer { get; }

    /// <summary>Returns the image and the progress.</summary>
    public override string ToString() => Layer is null ? $"pulling: {UntrustedText.Show(Image)}" : $"pulling: {UntrustedText.Show(Image)}, {Layer.Bytes} of {Layer.TotalBytes} bytes";
}

/// <summary>Reports that the command was started.</summary>
public sealed class SandboxStarted : SandboxEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="id">The identifier of the run.</param>
    public SandboxStarted(string id)
    {
        ArgumentNullException.ThrowIfNull(id);
        Id = id;
    }

    /// <summary>The identifier of the run, as in <see cref="SandboxResult.Id"/>.</summary>
    public string Id { get; }

    /// <summary>Returns the identifier of the run.</summary>
    public override string ToString() => $"started: {UntrustedText.Show(Id)}";
}

/// <summary>Reports output of the command as bytes.</summary>
public sealed class SandboxDataReceived : SandboxEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="stream">The stream that the command wrote to.</param>
    /// <param name="data">The bytes; not copied.</param>
    public SandboxDataReceived(SandboxStream stream, ReadOnlyMemory<byte> data)
    {
        Stream = stream;
        Data = data;
    }

    /// <summary>Creates the event from text.</summary>
    /// <param name="stream">The stream that the command wrote to.</param>
    /// <param name="text">The text; encoded as UTF-8.</param>
    public SandboxDataReceived(SandboxStream stream, string text)
        : this(stream, Encoding.UTF8.GetBytes(text))
    {
    }

    /// <summary>The stream that the command wrote to.</summary>
    public SandboxStream Stream { get; }

    /// <summary>
    /// The bytes. They never change. A multi-byte character may be split between two events; <see cref="SandboxEventExtensions.DecodeText"/> joins
    /// it.
    /// </summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>Returns the stream and the number of bytes.</summary>
    public override string ToString() => $"{Stream}: {Data.Length} bytes";
}

/// <summary>
/// Reports output of the command as text. <see cref="SandboxEventExtensions.DecodeText"/> creates it from <see cref="SandboxDataReceived"/>;
/// runners do not send it.
/// </summary>
public sealed class SandboxTextReceived : SandboxEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="stream">The stream that the command wrote to.</param>
    /// <param name="text">The text.</param>
    public SandboxTextReceived(SandboxStream stream, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        Stream = stream;
        Text = text;
    }

    /// <summary>The stream that the command wrote to.</summary>
    public SandboxStream Stream { get; }

    /// <summary>The text. Bytes that are not UTF-8 are U+FFFD.</summary>
    public string Text { get; }

    /// <summary>Returns the stream and the number of characters.</summary>
    public override string ToString() => $"{Stream}: {Text.Length} characters";
}

/// <summary>Reports the end of the run. Always the last event.</summary>
public sealed class SandboxEnded : SandboxEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="result">The whole result.</param>
    public SandboxEnded(SandboxResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        Result = result;
    }

    /// <summary>The whole result, including the output unless <see cref="SandboxRequest.KeepStandardOutput"/> is <see langword="false"/>.</summary>
    public SandboxResult Result { get; }

    /// <summary>Returns a description of the result.</summary>
    public override string ToString() => $"ended: {Result}";
}

/// <summary>A standard stream of a command.</summary>
public enum SandboxStream
{
    /// <summary>Standard output.</summary>
    StandardOutput,

    /// <summary>Standard error.</summary>
    StandardError,
}
