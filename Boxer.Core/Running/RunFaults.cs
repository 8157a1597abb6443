using Boxer.Linux;
using Boxer.Runtime.Init;

namespace Boxer.Running;

/// <summary>Translates the failures of runs and of openings into the exceptions that callers get.</summary>
internal static class RunFaults
{
    /// <summary>Creates the exception for a failure of this host or of a sandbox.</summary>
    /// <param name="exception">The failure.</param>
    /// <returns><see langword="null"/> for other failures.</returns>
    internal static SandboxRuntimeException? OfHost(Exception exception) => HostFault.Is(exception) || exception is InitProtocolException
        ? new SandboxRuntimeException($"The sandbox failed on this host: {exception.Message}", exception)
        : null;

    /// <summary>Translates a failure for the caller.</summary>
    /// <param name="exception">The failure.</param>
    /// <param name="services">The parts of the runner.</param>
    /// <param name="image">The image, as the request names it.</param>
    /// <param name="id">The identifier of the run or session.</param>
    /// <param name="mayHaveStarted">Whether the command may have started.</param>
    /// <param name="callers">The caller's token.</param>
    internal static Exception Translate(
        Exception exception, RunServices services, string image, string id, bool mayHaveStarted, CancellationToken callers) => exception switch
        {
            OperationCanceledException when services.Disposing.IsCancellationRequested && !callers.IsCancellationRequested =>
                new SandboxRuntimeException("The runner was disposed while the command ran.").ForRun(image, id, mayHaveStarted),
            OperationCanceledException when callers.IsCancellationRequested => new OperationCanceledException(exception.Message, exception, callers),
            SandboxException own => own.ForRun(image, id, mayHaveStarted),
            _ => exception,
        };
}
