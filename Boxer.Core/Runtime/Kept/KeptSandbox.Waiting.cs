using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <content>The waits for PID 1 and its file workers. The guest can stop a worker, and starve PID 1: each wait has an end, on the clock of the sandbox.</content>
internal sealed partial class KeptSandbox
{
    /// <summary>
    /// Time of PID 1 to answer a question, to open a connection and to start a file worker. A command that takes all processors of a small sandbox can
    /// delay an answer by seconds.
    /// </summary>
    internal static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(30);
    private const string Silence = "PID 1 does not answer.";

    /// <summary>Waits for an answer that PID 1 gives by itself. A PID 1 that does not is broken, and its sandbox is killed.</summary>
    /// <returns><see langword="null"/> if the sandbox ended before.</returns>
    private async Task<T?> AnswerAsync<T>(Task<T?> answer, CancellationToken cancellationToken)
        where T : class
    {
        using CommandClock.Limit patience = Clock.Start(AnswerPatience);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        try
        {
            return await answer.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (patience.Token.IsCancellationRequested)
        {
            Kill(Silence);
            return await answer.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    // A program that listens and does not accept keeps PID 1 waiting. It is asked to give the attempt up, and that it must answer.
    private async Task<SessionItemEvent?> WaitForConnectionAsync(SessionConnection connection, int port, CancellationToken cancellationToken)
    {
        using CommandClock.Limit patience = Clock.Start(AnswerPatience);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        try
        {
            return await connection.Connected.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            connection.Release();
            cancellationToken.ThrowIfCancellationRequested();
            if (!connection.Frame.IsBegun)
            {
                Kill(Silence);
            }

            _ = _calls.RunAsync(() => AnswerAsync(connection.Closed, CancellationToken.None));
            throw new IOException($"The connection to port {port} of the sandbox timed out.", new SocketException((int)SocketError.TimedOut));
        }
    }

    private async Task<FileWorker> WaitForWorkerAsync(SessionProcess process, Socket socket, CancellationToken cancellationToken)
    {
        using CommandClock.Limit patience = Clock.Start(AnswerPatience);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        SessionItemEvent? start;
        try
        {
            start = await process.Started.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception)
        {
            _ = _calls.RunAsync(() => EndWorkerAsync(process, isSilent: !cancellationToken.IsCancellationRequested));
            cancellationToken.ThrowIfCancellationRequested();
            throw new IOException($"The file worker did not start within {AnswerPatience.TotalSeconds:0} s.", exception);
        }

        switch (start)
        {
            case SessionProcessStarted:
                var worker = new FileWorker(socket, CloseWithSandboxAsync(process, socket), Clock, _time);
                _ = _calls.RunAsync(() => FollowWorkerAsync(process, worker));
                return worker;
            case SessionProcessNotStarted failure:
                throw new IOException($"The file worker cannot be started ({failure.Stage}): {Terminations.Describe(failure.Errno)}.");
            default:
                throw new KeptSandboxEndedException(await Ended.ConfigureAwait(false));
        }
    }

    private async Task FollowWorkerAsync(SessionProcess process, FileWorker worker)
    {
        await worker.Ended.ConfigureAwait(false);
        await EndWorkerAsync(process, isSilent: false).ConfigureAwait(false);
    }

    // The other end of the socket stays open if a process of the sandbox cannot be killed.
    private static async Task CloseWithSandboxAsync(SessionProcess process, Socket socket)
    {
        if (await process.Ended.ConfigureAwait(false) is null)
        {
            socket.Dispose();
        }
    }

    /// <summary>Ends a file worker whose socket is closed. The guest may have stopped it, as it may stop any process of its user.</summary>
    /// <param name="process">The worker.</param>
    /// <param name="isSilent">Whether PID 1 had all its time to take the worker's frame.</param>
    private async Task EndWorkerAsync(SessionProcess process, bool isSilent)
    {
        if (process.Frame.TryWithdraw())
        {
            if (isSilent)
            {
                Kill(Silence);
            }

            return;
        }

        process.Kill();
        await AnswerAsync(process.Ended, CancellationToken.None).ConfigureAwait(false);
    }
}
