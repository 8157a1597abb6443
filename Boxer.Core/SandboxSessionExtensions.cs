using System.Text;

namespace Boxer;

/// <summary>Short forms of the members of <see cref="ISandboxSession"/> and <see cref="ISandboxFiles"/>.</summary>
public static class SandboxSessionExtensions
{
    private const long DefaultMaxBytes = 64 * ByteSize.MiB;
    private const int BufferBytes = 65_536;

    /// <summary>Runs a command with the session's settings, as <see cref="ISandboxSession.ExecAsync"/> does.</summary>
    /// <param name="session">The session.</param>
    /// <param name="program">The program. Without a slash it is looked up in the PATH of the session.</param>
    /// <param name="arguments">The arguments, without the program.</param>
    /// <returns>How the command ended and what it printed.</returns>
    public static Task<SandboxResult> ExecAsync(this ISandboxSession session, string program, params IEnumerable<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(session);
        return session.ExecAsync(new SandboxCommand(program, arguments));
    }

    /// <summary>Starts a process with the session's settings, as <see cref="ISandboxSession.StartAsync"/> does.</summary>
    /// <param name="session">The session.</param>
    /// <param name="program">The program. Without a slash it is looked up in the PATH of the session.</param>
    /// <param name="arguments">The arguments, without the program.</param>
    /// <returns>The process. Disposing it kills it.</returns>
    public static Task<ISandboxProcess> StartAsync(this ISandboxSession session, string program, params IEnumerable<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(session);
        return session.StartAsync(new SandboxCommand(program, arguments));
    }

    /// <summary>Reads a whole file into memory.</summary>
    /// <param name="files">The files of a session.</param>
    /// <param name="path">Path of the file.</param>
    /// <param name="maxBytes">Maximum number of bytes; 64 MiB by default, at least 0.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>The content.</returns>
    /// <exception cref="SandboxFileException">The file cannot be read, or is larger than <paramref name="maxBytes"/>.</exception>
    public static async Task<byte[]> ReadAllBytesAsync(
        this ISandboxFiles files, string path, long maxBytes = DefaultMaxBytes, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        Stream content = await files.OpenReadAsync(path, cancellationToken).ConfigureAwait(false);
        await using (content.ConfigureAwait(false))
        {
            using var bytes = new MemoryStream();
            byte[] buffer = new byte[BufferBytes];
            for (int read; (read = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0;)
            {
                // The size is the sandbox's word only, so the bytes are counted as they come.
                if (bytes.Length + read > maxBytes)
                {
                    throw new SandboxFileException(path, SandboxFileError.TooLarge, $"The file is larger than {maxBytes} bytes.");
                }

                bytes.Write(buffer, 0, read);
            }

            return bytes.ToArray();
        }
    }

    /// <summary>Reads a whole file as UTF-8 text. Bytes that are not UTF-8 become U+FFFD. A byte order mark is removed.</summary>
    /// <param name="files">The files of a session.</param>
    /// <param name="path">Path of the file.</param>
    /// <param name="maxBytes">Maximum number of bytes; 64 MiB by default, at least 0.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>The text.</returns>
    /// <exception cref="SandboxFileException">The file cannot be read, or is larger than <paramref name="maxBytes"/>.</exception>
    public static async Task<string> ReadAllTextAsync(
        this ISandboxFiles files, string path, long maxBytes = DefaultMaxBytes, CancellationToken cancellationToken = default)
    {
        byte[] content = await files.ReadAllBytesAsync(path, maxBytes, cancellationToken).ConfigureAwait(false);
        ReadOnlySpan<byte> mark = Encoding.UTF8.Preamble;
        return Encoding.UTF8.GetString(content.AsSpan().StartsWith(mark) ? content.AsSpan(mark.Length) : content);
    }

    /// <summary>Writes text to a file, as UTF-8 without a byte order mark; see <see cref="ISandboxFiles.WriteAsync"/>.</summary>
    /// <param name="files">The files of a session.</param>
    /// <param name="path">Path of the file.</param>
    /// <param name="text">The text.</param>
    /// <param name="mode">Permission bits of the file; <see langword="null"/>: 0644 for a new file, unchanged for an existing one.</param>
    /// <param name="cancellationToken">Cancels the write; the part that was written stays.</param>
    /// <exception cref="SandboxFileException">The file cannot be written, or the disk limit of the session is reached.</exception>
    public static Task WriteAsync(
        this ISandboxFiles files, string path, string text, UnixFileMode? mode = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return files.WriteAsync(path, Encoding.UTF8.GetBytes(text), mode, cancellationToken);
    }

    /// <summary>Writes bytes to a file; see <see cref="ISandboxFiles.WriteAsync"/>.</summary>
    /// <param name="files">The files of a session.</param>
    /// <param name="path">Path of the file.</param>
    /// <param name="content">The content.</param>
    /// <param name="mode">Permission bits of the file; <see langword="null"/>: 0644 for a new file, unchanged for an existing one.</param>
    /// <param name="cancellationToken">Cancels the write; the part that was written stays.</param>
    /// <exception cref="SandboxFileException">The file cannot be written, or the disk limit of the session is reached.</exception>
    public static async Task WriteAsync(
        this ISandboxFiles files, string path, ReadOnlyMemory<byte> content, UnixFileMode? mode = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        using Stream stream = System.Runtime.InteropServices.MemoryMarshal.TryGetArray(content, out ArraySegment<byte> segment)
            ? new MemoryStream(segment.Array!, segment.Offset, segment.Count, writable: false)
            : new MemoryStream(content.ToArray(), writable: false);
        await files.WriteAsync(path, stream, mode, cancellationToken).ConfigureAwait(false);
    }
}
