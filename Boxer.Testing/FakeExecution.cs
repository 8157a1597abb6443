using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>Runs the commands of a fake session: finds their answers and converts them to results and events.</summary>
internal static class FakeExecution
{
    internal static async Task<SandboxResult> RunAsync(
        FakeSandboxSessions owner, FakeSandboxSession session, SandboxCommand command, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        session.Record(command);
        FakeSandboxSessions.Rule rule = owner.Find(command, isProcess: false) ?? throw new InvalidOperationException(owner.DescribeMismatch(command));
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, session.Ended);
        try
        {
            return await rule.Answer!(session, new SandboxCommand(command), linked.Token).WaitAsync(linked.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (session.Ended.IsCancellationRequested)
        {
            throw session.EndedException();
        }
        catch (SandboxException exception)
        {
            exception.Image ??= session.Request.Image;
            throw;
        }
    }

    internal static async IAsyncEnumerable<SandboxEvent> StreamAsync(
        FakeSandboxSessions owner, FakeSandboxSession session, SandboxCommand command, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using IDisposable call = session.Enter();
        SandboxResult result = await RunAsync(owner, session, command, cancellationToken).ConfigureAwait(false);
        yield return new SandboxStarted(result.Id);
        if (!result.StandardOutputBytes.IsEmpty)
        {
            yield return new SandboxDataReceived(SandboxStream.StandardOutput, result.StandardOutputBytes);
        }

        if (!result.StandardErrorBytes.IsEmpty)
        {
            yield return new SandboxDataReceived(SandboxStream.StandardError, result.StandardErrorBytes);
        }

        yield return new SandboxEnded(ForCaller(command, result));
    }

    internal static void Start(FakeSandboxSessions owner, FakeSandboxSession session, FakeSandboxProcess process)
    {
        try
        {
            owner.Find(process.Request, isProcess: true)?.Start!(process);
        }
        catch (SandboxException exception)
        {
            exception.Image ??= session.Request.Image;
            throw;
        }
    }

    /// <summary>Returns the result as the command asked for it: with or without the output.</summary>
    internal static SandboxResult ForCaller(SandboxCommand command, SandboxResult result) =>
        command.KeepStandardOutput ? result : new SandboxResult(result) { StandardOutput = "", StandardError = "" };
}
