using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>The opening of a session in a booted sandbox: OPEN, the inputs and GO, within a time.</summary>
/// <param name="init">The channel to PID 1, which waits.</param>
/// <param name="plan">The plan.</param>
/// <param name="time">The clock.</param>
/// <param name="patience">Maximum time. Neither a content that does not come nor a sandbox that says nothing holds up its caller for longer.</param>
internal sealed class KeptOpening(InitChannel init, OpenPlan plan, TimeProvider time, TimeSpan patience)
{
    private readonly CommandInputs _inputs = new(init, plan.Files, plan.Workspace, time);

    /// <summary>Opens the session.</summary>
    /// <param name="cancellationToken">Cancels the operation; the sandbox is of no use afterwards.</param>
    /// <returns>The answer to GO.</returns>
    /// <exception cref="SandboxRuntimeException">The sandbox violated the protocol, or did not answer in time.</exception>
    /// <exception cref="InvalidSandboxRequestException">A file or an input of the workspace cannot be read, or did not come in time.</exception>
    internal async Task<InitEvent> RunAsync(CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await UntilAsync(ConverseAsync(either.Token), either.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (either.IsCancellationRequested && exception is OperationCanceledException or InvalidSandboxRequestException)
        {
            // A content may end with another exception when its read is cancelled.
            cancellationToken.ThrowIfCancellationRequested();
            string limit = $"{patience.TotalSeconds:0.###} s";
            throw _inputs.Field is { } field
                ? new InvalidSandboxRequestException(field, $"its content did not come within {limit}.")
                : new SandboxRuntimeException($"The sandbox did not open within {limit}.", exception);
        }
        catch (InitProtocolException exception)
        {
            throw new SandboxRuntimeException($"The sandbox did not open: {exception.Message}", exception);
        }
    }

    private async Task<InitEvent> ConverseAsync(CancellationToken cancellationToken)
    {
        await init.OpenAsync(InitEncoder.EncodeOpen(plan.Start), cancellationToken).ConfigureAwait(false);
        await _inputs.SendAsync(cancellationToken).ConfigureAwait(false);
        await init.GoAsync(cancellationToken).ConfigureAwait(false);
        return await init.ReadEventAsync(cancellationToken).ConfigureAwait(false);
    }

    // A content can ignore its cancellation token. Nobody needs the result of that read any more.
    private async Task<InitEvent> UntilAsync(Task<InitEvent> conversation, CancellationToken cancellationToken)
    {
        try
        {
            return await conversation.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!conversation.IsCompleted)
        {
            await Task.WhenAny(conversation, Task.Delay(CommandStopper.KillGrace, time, CancellationToken.None)).ConfigureAwait(false);
            _ = conversation.ContinueWith(static late => _ = late.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            throw;
        }
    }
}
