using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The mode <c>none</c>: a sandbox has its own loopback interface and no other. Connecting to any other address fails at once with
/// ENETUNREACH or EHOSTUNREACH, depending on the gVisor release, and names other than <c>localhost</c> do not resolve. Requires no privilege.
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
