namespace Boxer.AspNetCore.Running;

/// <summary>A run that is ready to start. Disposing it releases its uploads and everything else that it holds.</summary>
/// <param name="runner">The runner.</param>
/// <param name="request">The request to the runner.</param>
/// <param name="files">The uploads that the run uses.</param>
/// <param name="leases">Objects to dispose after the run.</param>
/// <param name="persist">Whether the uploads are kept after the run.</param>
/// <param name="keepOutputs">Whether the outputs are kept after the run.</param>
/// <param name="cancellation">Cancelled when the client disconnects or the host stops.</param>
/// <param name="logger">Logs disk failures.</param>
internal sealed class PreparedRun(
    ISandboxRunner runner, SandboxRequest request, RunFiles files, IReadOnlyList<IDisposable> leases, bool persist, bool keepOutputs, RunCancellation cancellation, ILogger logger) : IPreparedCommand
{
    private readonly PartialOutput _output = new();

    // The uploads of a run that never started stay in place, so that the request can be sent again.
    private bool _started;

    /// <inheritdoc/>
    public bool IsRunning => _output.IsRunning;

    /// <inheritdoc/>
    public async IAsyncEnumerable<SandboxEvent> StreamAsync()
    {
        await foreach (SandboxEvent item in runner.StreamAsync(request, cancellation.Token))
        {
            _output.Add(item);
            _started |= item is SandboxStarted;
            yield return item;
        }
    }

    /// <summary>Keeps or discards the outputs of the run, and creates the response.</summary>
    /// <param name="result">The result.</param>
    public ApiResponse Complete(SandboxResult result)
    {
        _started = result.Termination.Kind != TerminationKind.NotStarted;
        string? incomplete = result.OutputFilesIncomplete;
        IReadOnlyList<OutputBody> outputs = keepOutputs
            ? KeepOutputs(result, ref incomplete)
            : [.. result.OutputFiles.Select(file => Describe(file, file.Path, file.Size, new Base64Text(file.Content)))];
        return RunResponses.For(result, outputs, incomplete);
    }

    /// <inheritdoc/>
    public ApiResponse AddOutputTo(ApiResponse response) => IsRunning ? _output.AddTo(response) : response;

    public void Dispose()
    {
        if (!persist && _started)
        {
            LogDiskFailure(files.DeleteInputs);
        }

        try
        {
            LogDiskFailure(files.Dispose);
        }
        finally
        {
            foreach (IDisposable lease in leases)
            {
                lease.Dispose();
            }

            cancellation.Dispose();
        }
    }

    // A disk failure must not fail the run: the response still has its output.
    private IReadOnlyList<OutputBody> KeepOutputs(SandboxResult result, ref string? incomplete)
    {
        try
        {
            Dictionary<string, SandboxOutputFile> known = result.OutputFiles.ToDictionary(file => $"output/{result.Id}/{file.Path}", StringComparer.Ordinal);
            return [.. files.KeepOutputs(result.Id).Select(file => Describe(known.GetValueOrDefault(file.Path), file.Path, file.Size, content: null))];
        }
        catch (FileStoreFullException exception)
        {
            incomplete = $"None was kept: {exception.PublicMessage}";
            HttpLog.OutputsNotKept(logger, result.Id, exception.Message);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            incomplete = "None was kept: this host could not store them.";
            HttpLog.OutputsNotKept(logger, result.Id, exception.Message);
        }

        return [];
    }

    private static OutputBody Describe(SandboxOutputFile? file, string path, long size, Base64Text? content) =>
        new(path, size, file is null ? null : "0" + Convert.ToString((int)file.Mode, toBase: 8).PadLeft(3, '0'), file?.ModifiedAt, content);

    private void LogDiskFailure(Action action)
    {
        try
        {
            action();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            HttpLog.FilesLeft(logger, exception);
        }
    }
}
