using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network.Firewalls;

/// <summary>
/// The same as <see cref="ForeignFirewalls"/> for rules of iptables-legacy(8), which nft does not show. It acts only where the kernel has such
/// a table.
/// </summary>
internal static class LegacyIptables
{
    private const string TableNames = "/proc/net/ip_tables_names";
    private static readonly string[] DroppingTargets = ["-j DROP", "-j REJECT"];

    /// <summary>Adds the missing rules of an instance.</summary>
    internal static async Task AllowLinksAsync(NetworkTools tools, string instanceId, CancellationToken cancellationToken)
    {
        if (IsInUse())
        {
            await ApplyAsync(tools, MissingRules(await tools.ListLegacyRulesAsync(cancellationToken).ConfigureAwait(false), instanceId), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Removes the rules of instances.</summary>
    /// <param name="tools">Runs iptables-legacy.</param>
    /// <param name="ofInstance">Whether to remove the rules of an instance.</param>
    internal static async Task RemoveAsync(NetworkTools tools, Func<string, bool> ofInstance)
    {
        if (IsInUse() && tools.HasLegacyIptables)
        {
            string[] rules = Lines(await tools.ListLegacyRulesAsync(CancellationToken.None).ConfigureAwait(false));
            await ApplyAsync(
                tools,
                rules.Where(rule => InstanceOf(rule) is { } id && ofInstance(id)).Select(rule => "-D" + rule["-A".Length..]),
                CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>The commands that add the rules that an instance lacks.</summary>
    /// <param name="rules">The output of <c>iptables-legacy -S</c>.</param>
    /// <param name="instanceId">The instance.</param>
    internal static IReadOnlyList<string> MissingRules(string rules, string instanceId)
    {
        string[] lines = Lines(rules);
        string links = LinkNames.Prefix(instanceId) + "+";
        string comment = $"-m comment --comment \"{ForeignFirewalls.CommentPrefix}{instanceId}\"";
        string forward = lines.Contains("-N " + ForeignFirewalls.DockerUser, StringComparer.Ordinal) ? ForeignFirewalls.DockerUser : "FORWARD";
        List<string> missing = [];
        if ((forward == ForeignFirewalls.DockerUser || DropsByDefault(forward)) && !HasRules(forward))
        {
            missing.Add($"-I {forward} -i {links} {comment} -j ACCEPT");
            missing.Add($"-I {forward} -o {links} -m conntrack --ctstate RELATED,ESTABLISHED {comment} -j ACCEPT");
        }

        if (DropsByDefault("INPUT") && !HasRules("INPUT"))
        {
            missing.Add($"-I INPUT -i {links} -m conntrack --ctstate DNAT {comment} -j ACCEPT");
            missing.Add($"-I INPUT -i {links} -p udp --dport 53 {comment} -j ACCEPT");
            missing.Add($"-I INPUT -i {links} -p tcp --dport 53 {comment} -j ACCEPT");
        }

        return missing;

        // By the policy of the chain, or by a last rule that matches every packet.
        bool DropsByDefault(string chain) =>
            lines.Contains($"-P {chain} DROP", StringComparer.Ordinal)
            || (lines.LastOrDefault(line => line.StartsWith($"-A {chain} ", StringComparison.Ordinal)) is { } last
                && DroppingTargets.Any(target => last.StartsWith($"-A {chain} {target}", StringComparison.Ordinal)));

        bool HasRules(string chain) => lines.Any(line => line.StartsWith($"-A {chain} ", StringComparison.Ordinal) && InstanceOf(line) == instanceId);
    }

    private static bool IsInUse() => File.Exists(TableNames) && File.ReadLines(TableNames).Contains("filter", StringComparer.Ordinal);

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static Task ApplyAsync(NetworkTools tools, IEnumerable<string> commands, CancellationToken cancellationToken)
    {
        string lines = string.Concat(commands.Select(command => command + "\n"));
        return lines.Length == 0 ? Task.CompletedTask : tools.RestoreLegacyRulesAsync($"*filter\n{lines}COMMIT\n", cancellationToken);
    }

    private static string? InstanceOf(string rule)
    {
        const string Start = "--comment \"" + ForeignFirewalls.CommentPrefix;
        int at = rule.IndexOf(Start, StringComparison.Ordinal);
        return at >= 0 && rule.AsSpan(at + Start.Length).IndexOf('"') == LinkNames.IdLength && LinkNames.IsId(rule.Substring(at + Start.Length, LinkNames.IdLength))
            ? rule.Substring(at + Start.Length, LinkNames.IdLength)
            : null;
    }
}
