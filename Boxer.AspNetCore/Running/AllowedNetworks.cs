using Boxer.Networking;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Network modes that requests may use: the modes of the HTTP options that the runner has and allows.</summary>
internal sealed class AllowedNetworks(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes, IEnumerable<INetworkMode> modes)
{
    private static readonly string[] Defaults = ["none", "sandbox"];

    public string[] Names { get; } = Find(options.Value.AllowedNetworks, sandboxes.Value.AllowedNetworks, [.. modes.Select(mode => mode.Name)]);

    private static string[] Find(IList<string> wanted, IList<string> allowed, string[] registered)
    {
        IEnumerable<string> names = wanted.Count > 0 ? wanted : Defaults;
        return [.. names.Where(name => allowed.Count > 0 ? allowed.Contains(name) : registered.Length == 0 || registered.Contains(name))];
    }
}
