namespace Boxer;

/// <summary>
/// Runs commands from OCI images in gVisor sandboxes. Each run has its own sandbox, which is destroyed afterwards. Implementations are safe for
/// concurrent use.
/// </summary>
/// <remarks>
/// This interface is for one-shot runs only. Sessions have <see cref="ISandboxSessions"/>, and code runs will have their own interface, so that a
/// fake, a decorator or another runner written today keeps compiling. The package Boxer.Testing has a fake.
/// </remarks>
public interface ISandboxRunner
{
    /// <summary>Runs a command to its end and returns the result.</summary>
    /// <remarks>
    /// Each <see cref="SandboxException"/> has the image, the identifier of the run, and whether the command may have run
    /// (<see cref="SandboxException.IsRetrySafe"/>).
    /// </remarks>
    /// <param name="request">
    /// The command and its settings. The request is copied before this method returns and is not changed; contents of files and standard input are
    /// not copied.
    /// </param>
    /// <param name="cancellationToken">Ends the run at once, or after <see cref="SandboxRequest.StopGrace"/>; its sandbox is destroyed.</param>
    /// <returns>
    /// How the run ended and what it printed. Time-outs, memory limits, signals and commands that do not exist are values of
    /// <see cref="SandboxResult.Termination"/>, not exceptions.
    /// </returns>
    /// <exception cref="InvalidSandboxRequestException">The request is invalid; every fault is listed.</exception>
    /// <exception cref="ImageNotFoundException">No source has the image, or it is not in the local store and pulling is disabled.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    /// <exception cref="SandboxCapacityException">Too many runs are queued, this one was queued too long, or the network mode is exhausted.</exception>
    /// <exception cref="SandboxPrivilegeException">This process lacks a privilege that the run needs.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox could not be started or failed, or the runner was disposed during the run.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default);

    /// <summary>
    /// Runs a command and yields its events as they happen: <see cref="SandboxImagePulling"/> if the image is pulled, <see cref="SandboxStarted"/>,
    /// <see cref="SandboxDataReceived"/> for each piece of output, and last <see cref="SandboxEnded"/> with the whole result.
    /// <see cref="SandboxEventExtensions"/> copies the output to streams or decodes it.
    /// </summary>
    /// <remarks>
    /// Unread output is kept in memory, bounded by <see cref="ResourceLimits.StandardOutputBytes"/>. Leaving the enumeration early ends the run as
    /// <paramref name="cancellationToken"/> does. Enumerating throws the same exceptions as <see cref="RunAsync"/>.
    /// </remarks>
    /// <param name="request">
    /// The command and its settings. The request is copied before this method returns; contents of files and standard input are not copied.
    /// </param>
    /// <param name="cancellationToken">Ends the run at once, or after <see cref="SandboxRequest.StopGrace"/>; its sandbox is destroyed.</param>
    IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default);
}
