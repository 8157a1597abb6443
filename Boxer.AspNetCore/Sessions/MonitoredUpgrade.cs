using Microsoft.AspNetCore.Http.Features;

namespace Boxer.AspNetCore.Sessions;

/// <summary>Upgrades a request to a <see cref="MonitoredStream"/>.</summary>
/// <param name="inner">The server's upgrade.</param>
/// <param name="time">The clock.</param>
internal sealed class MonitoredUpgrade(IHttpUpgradeFeature inner, TimeProvider time) : IHttpUpgradeFeature
{
    /// <summary>The stream; <see langword="null"/> before the upgrade, and where the request is not upgraded (HTTP/2).</summary>
    public MonitoredStream? Stream { get; private set; }

    public bool IsUpgradableRequest => inner.IsUpgradableRequest;

    public async Task<Stream> UpgradeAsync() => Stream = new MonitoredStream(await inner.UpgradeAsync(), time);
}
