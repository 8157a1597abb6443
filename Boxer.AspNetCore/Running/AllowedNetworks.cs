using Boxer.Network;
using Boxer.Networking;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Network modes that requests may name: those of the options, as far as the runner has and allows them.</summary>
internal sealed class AllowedNetworks(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes, IEnumerable<INetworkMode> modes)
{
    private static readonly string[] ByDefault = ["none", "sandbox"];

    public string[] Names { get; } = Find(options.Value.AllowedNetworks, sandboxes.Value.AllowedNetworks, [.. modes.Select(mode => mode.Name)]);

    private static string[] Find(IList<string> wanted, IList<string> allowed, string[] registered)
    {
        IEnumerable<string> names = wanted.Count > 0 ? wanted : ByDefault;
        return [.. names.Where(name => allowed.Count > 0 ? allowed.Contains(name) : registered.Length == 0 || registered.Contains(name))];
    }
}
