using System.Text;

namespace Boxer.Testing;

/// <summary>Reads the contents of files in requests.</summary>
public static class SandboxFileExtensions
{
    /// <summary>Reads the content of a file.</summary>
    /// <param name="file">The file, for example from <see cref="FakeSandboxRunner.Requests"/>.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    public static async Task<byte[]> ReadAllBytesAsync(this SandboxFile file, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        return await RequestContents.ReadAsync(file.OpenReadAsync, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads the content of a file as UTF-8.</summary>
    /// <param name="file">The file, for example from <see cref="FakeSandboxRunner.Requests"/>.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    public static async Task<string> ReadAllTextAsync(this SandboxFile file, CancellationToken cancellationToken = default) =>
        Encoding.UTF8.GetString(await file.ReadAllBytesAsync(cancellationToken).ConfigureAwait(false));
}
