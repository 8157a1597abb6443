namespace Boxer.Testing;

/// <summary>Reads the contents of a request's files into memory. Some files can be read only once, and others may be deleted after the call.</summary>
internal static class RequestContents
{
    internal static async Task ReadAsync(SandboxRequest request, CancellationToken cancellationToken)
    {
        await ReadAsync(request.Files, cancellationToken).ConfigureAwait(false);
        IList<SandboxInput> inputs = request.Workspace?.Inputs ?? [];
        for (int i = 0; i < inputs.Count; i++)
        {
            if (inputs[i].IsArchive)
            {
                inputs[i] = SandboxInput.FromTar(await ReadAsync(inputs[i].OpenReadAsync, cancellationToken).ConfigureAwait(false));
            }
            else
            {
                List<SandboxFile> files = [.. inputs[i].Files];
                await ReadAsync(files, cancellationToken).ConfigureAwait(false);
                inputs[i] = SandboxInput.FromFiles(files);
            }
        }
    }

    internal static async Task<byte[]> ReadAsync(Func<CancellationToken, ValueTask<Stream>> open, CancellationToken cancellationToken)
    {
        Stream content = await open(cancellationToken).ConfigureAwait(false);
        await using (content.ConfigureAwait(false))
        {
            using MemoryStream read = new();
            await content.CopyToAsync(read, cancellationToken).ConfigureAwait(false);
            return read.ToArray();
        }
    }

    private static async Task ReadAsync(IList<SandboxFile> files, CancellationToken cancellationToken)
    {
        for (int i = 0; i < files.Count; i++)
        {
            SandboxFile read = SandboxFile.FromBytes(files[i].Path, await ReadAsync(files[i].OpenReadAsync, cancellationToken).ConfigureAwait(false));
            read.Executable = files[i].Executable;
            files[i] = read;
        }
    }
}
