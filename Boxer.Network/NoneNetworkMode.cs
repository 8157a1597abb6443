using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The mode <c>none</c>: a sandbox has its own loopback interface and no other. Every connect to an outside address fails at once with
/// ENETUNREACH or EHOSTUNREACH (gVisor releases differ), and names other than <c>localhost</c> do not resolve. It needs no privilege.
/// </summary>
public sealed class NoneNetworkMode : INetworkMode
{
    /// <inheritdoc/>
    public string Name => "none";

    /// <inheritdoc/>
    public bool SupportsPooling => true;

    /// <inheritdoc/>
    public string? GetUnavailableReason() => null;

    /// <inheritdoc/>
    public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) =>
        Task.FromResult<INetworkAttachment>(new Attachment());

    private sealed class Attachment : INetworkAttachment
    {
        public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

        public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) => Task.FromResult(GuestNetwork.Create());

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
