using Boxer.Native;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The mode <c>host</c>: sandboxes use the host's own network stack, with its loopback services, addresses and ports. Nothing is filtered, so
/// use it for trusted code only. Requires root.
/// </summary>
public sealed class HostNetworkMode : INetworkMode
{
    /// <inheritdoc/>
    public string Name => "host";

    /// <inheritdoc/>
    public bool SupportsPooling => true;

    /// <inheritdoc/>
    public string? GetUnavailableReason() => Unistd.geteuid() == 0 ? null : "this process lacks uid 0; run it as root, or use the mode 'none'.";

    /// <inheritdoc/>
    public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) =>
        Task.FromResult<INetworkAttachment>(new Attachment());

    private sealed class Attachment : INetworkAttachment
    {
        public NetworkConfiguration Runtime { get; } = new(NetworkStack.Host);

        public async Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) =>
            GuestNetwork.Create() with { ResolvConf = await ReadAsync("/etc/resolv.conf", cancellationToken).ConfigureAwait(false) };

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        private static async Task<string> ReadAsync(string path, CancellationToken cancellationToken) =>
            File.Exists(path) ? await File.ReadAllTextAsync(path, cancellationToken).ConfigureAwait(false) : "";
    }
}
