namespace Boxer;

/// <summary>
/// Runs commands from OCI images in gVisor sandboxes. One sandbox serves one run and is destroyed.
/// Implementations are safe for concurrent use.
/// </summary>
/// <remarks>
/// This interface is for runs only. Sessions and code runs will have interfaces of their own beside it, so that a fake, a decorator or another runner
/// written today keeps compiling. The package Boxer.Testing has a fake.
/// </remarks>
public interface ISandboxRunner
{
    /// <summary>Runs the command to its end and returns everything it left.</summary>
    /// <remarks>
    /// Each <see cref="SandboxException"/> has the image, the identifier of the run, and whether the command may have run
    /// (<see cref="SandboxException.IsRetrySafe"/>).
    /// </remarks>
    /// <param name="request">What to run. It is copied before this returns, but for the contents of files and standard input, and not changed.</param>
    /// <param name="cancellationToken">Ends the run at once, or after <see cref="SandboxRequest.StopGrace"/>; its sandbox is destroyed.</param>
    /// <returns>
    /// How the run ended and what it printed. Time-outs, memory limits, signals and commands that do not exist are
    /// values of <see cref="SandboxResult.Termination"/>, not exceptions.
    /// </returns>
    /// <exception cref="InvalidSandboxRequestException">The request cannot be honoured; every fault is listed.</exception>
    /// <exception cref="ImageNotFoundException">No place that it may come from has the image, or it is not here and nothing is pulled.</exception>
    /// <exception cref="ImagePullException">The registry or the image is at fault.</exception>
    /// <exception cref="SandboxCapacityException">Too many runs wait, this one waited too long, or a network mode has no more room.</exception>
    /// <exception cref="SandboxPrivilegeException">This process lacks a privilege that the run needs.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox could not be started, or broke; or the runner was disposed meanwhile.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default);

    /// <summary>
    /// Runs the command and yields what happens as it happens: <see cref="SandboxImagePulling"/> where the image is pulled, <see cref="SandboxStarted"/>, then
    /// <see cref="SandboxDataReceived"/> as it is printed, then one <see cref="SandboxEnded"/> with the whole result.
    /// <see cref="SandboxEventExtensions"/> writes them to two streams, or decodes them.
    /// </summary>
    /// <remarks>
    /// What a slow reader has not read waits in memory, bounded by <see cref="ResourceLimits.StandardOutputBytes"/>. Leaving the enumeration early
    /// ends the run as <paramref name="cancellationToken"/> does.
    /// Throws what <see cref="RunAsync"/> throws.
    /// </remarks>
    /// <param name="request">What to run. It is copied before this returns, but for the contents of files and standard input.</param>
    /// <param name="cancellationToken">Ends the run at once, or after <see cref="SandboxRequest.StopGrace"/>; its sandbox is destroyed.</param>
    IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default);
}
