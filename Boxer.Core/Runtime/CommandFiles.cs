using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Receives the files that PID 1 sends after the end of a command: those under /output, then the changes of the workspace.</summary>
/// <param name="sandbox">The sandbox.</param>
/// <param name="outputs">Receives the files under /output.</param>
/// <param name="changes">Receives the changes of the workspace; <see langword="null"/> if they are not wanted.</param>
/// <param name="time">The clock.</param>
internal sealed class CommandFiles(SandboxResources sandbox, OutputFiles outputs, WorkspaceChanges? changes, TimeProvider time)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Receives all of them. A failure is noted in the results, because the command itself came to its end.</summary>
    /// <param name="memory">Its notice destroys the sandbox, whose PID 1 may be stuck.</param>
    /// <param name="cancellationToken">Cancels the run.</param>
    internal async Task ReceiveAsync(OutOfMemoryMonitor? memory, CancellationToken cancellationToken)
    {
        _ = memory?.Killed.ContinueWith(_ => sandbox.Kill(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        bool isWhole = await ReceiveAsync(outputs, cancellationToken).ConfigureAwait(false);
        if (changes is null)
        {
            return;
        }

        // The changes follow on the same socket. Without all outputs they cannot be read.
        if (isWhole)
        {
            await ReceiveAsync(changes, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await changes.InterruptAsync("The files under /output were not all out.").ConfigureAwait(false);
        }
    }

    /// <summary>Ends without any files.</summary>
    /// <param name="reason">The reason, as a sentence for the result.</param>
    internal async Task SkipAsync(string reason)
    {
        await outputs.InterruptAsync(reason).ConfigureAwait(false);
        if (changes is not null)
        {
            await changes.InterruptAsync(reason).ConfigureAwait(false);
        }
    }

    /// <returns>Whether all files came.</returns>
    private async Task<bool> ReceiveAsync(IFileReceiver receiver, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(Patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            while (true)
            {
                InitEvent message = await sandbox.Init!.ReadEventAsync(either.Token).ConfigureAwait(false);
                if (message is InitOutputDone)
                {
                    return true;
                }

                if (message is InitClosed or InitFault)
                {
                    await receiver.InterruptAsync("The sandbox ended before all files were out.").ConfigureAwait(false);
                    return false;
                }

                await receiver.AcceptAsync(message, either.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            await receiver.InterruptAsync($"They were not all out within {Patience.TotalSeconds:0} s.").ConfigureAwait(false);
        }
        catch (InitProtocolException exception)
        {
            await receiver.InterruptAsync(exception.Message).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            await receiver.FailAsync(exception).ConfigureAwait(false);
        }

        return false;
    }
}
