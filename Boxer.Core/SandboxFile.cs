using System.Text;
using Boxer.Common;

namespace Boxer;

/// <summary>
/// An input file for the sandbox. In <see cref="SandboxRequest.Files"/> it appears at <c>/</c> + <see cref="Path"/>, belongs to root, and can be
/// written only by user 0. In <see cref="SandboxInput.FromFiles"/> it appears in the workspace, belongs to the user of the command, and can be
/// written.
/// </summary>
public sealed class SandboxFile
{
    private readonly Func<CancellationToken, ValueTask<Stream>> _open;

    private SandboxFile(string path, Func<CancellationToken, ValueTask<Stream>> open)
    {
        ArgumentNullException.ThrowIfNull(path);
        Path = path;
        _open = open;
    }

    /// <summary>
    /// Path of the file, relative to the root of the sandbox or to the workspace: clean, without <c>..</c>, at most 4,094 bytes, and 255 between
    /// slashes. A path relative to the root must not be in a reserved directory (<c>output</c>, <c>proc</c>, <c>sys</c>, <c>dev</c>,
    /// <c>.boxer</c>).
    /// </summary>
    public string Path { get; }

    /// <summary>
    /// Whether the file is executable: mode 0555 instead of 0444, and in a workspace 0755 instead of 0644.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool Executable { get; set; }

    /// <summary>Creates a file from text, encoded as UTF-8 without a byte order mark.</summary>
    /// <param name="path">Path of the file; see <see cref="Path"/>.</param>
    /// <param name="text">Content of the file.</param>
    public static SandboxFile FromText(string path, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return FromBytes(path, Encoding.UTF8.GetBytes(text));
    }

    /// <summary>Creates a file from bytes.</summary>
    /// <param name="path">Path of the file; see <see cref="Path"/>.</param>
    /// <param name="content">Content of the file; not copied.</param>
    public static SandboxFile FromBytes(string path, ReadOnlyMemory<byte> content) =>
        new(path, _ => ValueTask.FromResult<Stream>(ReadOnlyMemoryStream(content)));

    /// <summary>Creates a file whose content is read when the run starts. The stream is disposed after reading.</summary>
    /// <param name="path">Path of the file; see <see cref="Path"/>.</param>
    /// <param name="open">Opens the content, once for each run, and again if the sandbox is found dead before the command started.</param>
    public static SandboxFile FromStream(string path, Func<CancellationToken, ValueTask<Stream>> open)
    {
        ArgumentNullException.ThrowIfNull(open);
        return new(path, open);
    }

    /// <summary>Creates a copy of a file of this host, which is read when the run starts.</summary>
    /// <param name="path">Path of the file; see <see cref="Path"/>.</param>
    /// <param name="hostPath">The file on this host. Symbolic links are followed, so the path must be trusted.</param>
    public static SandboxFile FromHostFile(string path, string hostPath)
    {
        ArgumentException.ThrowIfNullOrEmpty(hostPath);
        return new(path, _ => ValueTask.FromResult<Stream>(File.OpenRead(hostPath)));
    }

    /// <summary>Opens the content, as a runner does. A file of <see cref="FromStream"/> may support this only once.</summary>
    /// <param name="cancellationToken">Passed to the delegate that opens the content.</param>
    /// <returns>A stream that the caller must dispose.</returns>
    /// <exception cref="IOException">The file of this host cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">This process may not open the file of this host.</exception>
    public ValueTask<Stream> OpenReadAsync(CancellationToken cancellationToken = default) => _open(cancellationToken);

    /// <summary>Returns the path, printable and shortened to 200 characters.</summary>
    public override string ToString() => UntrustedText.Show(Path) + (Executable ? " (executable)" : "");

    private static MemoryStream ReadOnlyMemoryStream(ReadOnlyMemory<byte> content) =>
        System.Runtime.InteropServices.MemoryMarshal.TryGetArray(content, out ArraySegment<byte> segment)
            ? new MemoryStream(segment.Array!, segment.Offset, segment.Count, writable: false)
            : new MemoryStream(content.ToArray(), writable: false);
}
