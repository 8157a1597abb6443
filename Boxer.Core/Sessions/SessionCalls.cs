using Boxer.Linux;
using Boxer.Networking;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>Runs operations on the sandbox of a session, so that each ends with the session, and says how the session ended.</summary>
/// <param name="parts">The session.</param>
internal sealed class SessionCalls(SessionParts parts)
{
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(1);
    private int _execs;

    /// <summary>Counts a foreground command until the disposal of the result.</summary>
    /// <exception cref="SandboxCapacityException">Too many run.</exception>
    internal IDisposable EnterExec()
    {
        if (Interlocked.Increment(ref _execs) > parts.Options.MaxParallelExecs)
        {
            Interlocked.Decrement(ref _execs);
            throw new SandboxCapacityException($"{parts.Options.MaxParallelExecs} commands run in this session: wait for one to end, or try again later.");
        }

        return new Place(this);
    }

    /// <summary>Runs one operation within a call: counted, on a sandbox that is awake.</summary>
    /// <param name="operation">The operation. Its token is the caller's, and is cancelled at the end of the session.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox failed.</exception>
    internal async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> operation, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using IDisposable call = parts.Life.Begin();
        return await WithinAsync(operation, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Runs an operation of a call that has begun.</summary>
    /// <inheritdoc cref="RunAsync"/>
    internal async Task<T> WithinAsync<T>(Func<CancellationToken, Task<T>> operation, CancellationToken cancellationToken)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, parts.Life.Ending);
        return await TranslateAsync(() => UntilAbandonedAsync(operation(either.Token)), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads the network of the session, which is no call: it needs no sandbox that is awake.</summary>
    /// <inheritdoc cref="ISandboxSession.ReadNetworkAsync"/>
    internal async Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (parts.Life.End is not null)
        {
            throw parts.Life.EndedException(isRetrySafe: true);
        }

        try
        {
            return (await parts.Network.ReadAsync(cancellationToken).ConfigureAwait(false)).Bound();
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            // The network of a session that ended meanwhile is gone.
            throw parts.Life.End is not null
                ? parts.Life.EndedException(isRetrySafe: true, exception)
                : new SandboxRuntimeException($"The network of session {parts.Id} could not be read: {exception.Message}", exception);
        }
    }

    /// <summary>Runs an operation, and translates its failure for the caller.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="cancellationToken">The token of the caller.</param>
    internal async Task<T> TranslateAsync<T>(Func<Task<T>> operation, CancellationToken cancellationToken)
    {
        try
        {
            return await operation().ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(exception.Message, exception, cancellationToken);
        }
        catch (Exception exception) when (IsEnd(exception))
        {
            throw parts.Life.EndedException(exception is KeptSandboxEndedException, exception);
        }
        catch (Exception exception) when (HostFault.Is(exception) || exception is InitProtocolException)
        {
            // A file worker is seen to end a moment before its sandbox.
            await ((Task)parts.Sandbox.Ended.WaitAsync(EndPatience, parts.Time, cancellationToken)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (IsEnd(exception))
            {
                throw parts.Life.EndedException(isRetrySafe: false, exception);
            }

            throw new SandboxRuntimeException($"The sandbox of session {parts.Id} failed: {exception.Message}", exception);
        }
    }

    private async Task<T> UntilAbandonedAsync<T>(Task<T> running)
    {
        if (await Task.WhenAny(running, parts.Abandoned.Task).ConfigureAwait(false) != running)
        {
            _ = running.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            throw parts.Life.EndedException(isRetrySafe: false);
        }

        return await running.ConfigureAwait(false);
    }

    /// <summary>Whether an exception comes from the end of the session.</summary>
    private bool IsEnd(Exception exception)
    {
        KeptSandboxEnd? end = exception is KeptSandboxEndedException ended ? ended.End
            : exception is IOException && parts.Sandbox.Ended is { IsCompletedSuccessfully: true, Result: var known } ? known
            : null;
        if (end is { } found)
        {
            // The call may see it before the session does.
            parts.Life.TryEnd(SessionEnds.From(found));
            return true;
        }

        return parts.Life.End is not null && exception is IOException or OperationCanceledException or ObjectDisposedException;
    }

    private sealed class Place(SessionCalls calls) : IDisposable
    {
        private int _isOver;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                Interlocked.Decrement(ref calls._execs);
            }
        }
    }
}
