namespace Boxer;

/// <summary>
/// Opens sandboxes that are kept for many commands, and finds open ones. <see cref="SandboxRunner"/> implements it. Implementations are safe for
/// concurrent use. The package Boxer.Testing has a fake.
/// </summary>
public interface ISandboxSessions
{
    /// <summary>Opens a session: pulls the image if needed, waits for memory, and starts a sandbox that serves commands until the session ends.</summary>
    /// <param name="request">
    /// The image and the settings of the session. The request is copied before this method returns and is not changed; contents of files are not
    /// copied.
    /// </param>
    /// <param name="cancellationToken">Cancels the opening; the sandbox is destroyed. It has no effect on a session that is open.</param>
    /// <returns>The open session. Dispose it to close it; otherwise it ends at its idle timeout or its lifetime.</returns>
    /// <exception cref="InvalidSandboxRequestException">The request is invalid; every fault is listed.</exception>
    /// <exception cref="ImageNotFoundException">No source has the image, or it is not in the local store and pulling is disabled.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    /// <exception cref="SandboxCapacityException">
    /// The open sessions use all of <see cref="SessionOptions.MaxMemoryBytes"/> or <see cref="SessionOptions.MaxMemoryBytesPerKey"/>, the request
    /// was queued too long, or the network mode is exhausted.
    /// </exception>
    /// <exception cref="SandboxPrivilegeException">This process lacks a privilege that the session needs.</exception>
    /// <exception cref="SandboxRuntimeException">
    /// The sandbox could not be started, this host's runsc does not support sessions, or the runner was disposed.
    /// </exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default);

    /// <summary>
    /// Finds a session by its identifier, whoever opened it. A service with several tenants must compare <see cref="ISandboxSession.FairnessKey"/>
    /// or a label before it uses the session.
    /// </summary>
    /// <param name="id">The identifier, as in <see cref="ISandboxSession.Id"/>. Any text is accepted.</param>
    /// <param name="cancellationToken">Cancels the search.</param>
    /// <returns>
    /// The session if it is open or ended in the last hour (then <see cref="ISandboxSession.State"/> is <see cref="SandboxSessionState.Ended"/>);
    /// otherwise <see langword="null"/>. The last 10,000 ended sessions are remembered, also over a restart of the host.
    /// </returns>
    ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default);

    /// <summary>Lists the open sessions, oldest first. Ended ones are not listed.</summary>
    /// <param name="fairnessKey">The key of the sessions; <see langword="null"/>: sessions of all keys and those without one.</param>
    /// <param name="cancellationToken">Cancels the listing.</param>
    /// <returns>The sessions that are open now; a copy that does not change.</returns>
    ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default);
}
