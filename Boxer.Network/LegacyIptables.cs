namespace Boxer.Network;

/// <summary>
/// Rules of the old kind (iptables-legacy(8)), which nft does not show. They are looked at where the kernel has such a table, and treated
/// as those of <see cref="ForeignFirewalls"/>.
/// </summary>
internal static class LegacyIptables
{
    private const string Tables = "/proc/net/ip_tables_names";
    private static readonly string[] Ends = ["-j DROP", "-j REJECT"];

    /// <summary>Adds the rules that are missing.</summary>
    internal static async Task LetThroughAsync(NetworkTools tools, string instanceId, CancellationToken cancellationToken)
    {
        if (IsInUse())
        {
            await ApplyAsync(tools, Missing(await tools.ListLegacyAsync(cancellationToken).ConfigureAwait(false), instanceId), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Removes the rules of instances.</summary>
    /// <param name="tools">Runs iptables.</param>
    /// <param name="isTheirs">Whether the rules of an instance are to go.</param>
    internal static async Task RemoveAsync(NetworkTools tools, Func<string, bool> isTheirs)
    {
        if (IsInUse() && tools.HasLegacy)
        {
            string[] rules = Lines(await tools.ListLegacyAsync(CancellationToken.None).ConfigureAwait(false));
            await ApplyAsync(
                tools,
                rules.Where(rule => InstanceOf(rule) is { } id && isTheirs(id)).Select(rule => "-D" + rule["-A".Length..]),
                CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>The rules that an instance lacks.</summary>
    /// <param name="rules">What <c>iptables-legacy -S</c> prints.</param>
    /// <param name="instanceId">The instance.</param>
    internal static IReadOnlyList<string> Missing(string rules, string instanceId)
    {
        string[] lines = Lines(rules);
        string links = LinkNames.Prefix(instanceId) + "+";
        string comment = $"-m comment --comment \"{ForeignFirewalls.CommentPrefix}{instanceId}\"";
        string forward = lines.Contains("-N " + ForeignFirewalls.DockerUser, StringComparer.Ordinal) ? ForeignFirewalls.DockerUser : "FORWARD";
        List<string> missing = [];
        if ((forward == ForeignFirewalls.DockerUser || Drops(forward)) && !Has(forward))
        {
            missing.Add($"-I {forward} -i {links} {comment} -j ACCEPT");
            missing.Add($"-I {forward} -o {links} -m conntrack --ctstate RELATED,ESTABLISHED {comment} -j ACCEPT");
        }

        if (Drops("INPUT") && !Has("INPUT"))
        {
            missing.Add($"-I INPUT -i {links} -m conntrack --ctstate DNAT {comment} -j ACCEPT");
            missing.Add($"-I INPUT -i {links} -p udp --dport 53 {comment} -j ACCEPT");
            missing.Add($"-I INPUT -i {links} -p tcp --dport 53 {comment} -j ACCEPT");
        }

        return missing;

        bool Drops(string chain) =>
            lines.Contains($"-P {chain} DROP", StringComparer.Ordinal)
            || (lines.LastOrDefault(line => line.StartsWith($"-A {chain} ", StringComparison.Ordinal)) is { } last
                && Ends.Any(end => last.StartsWith($"-A {chain} {end}", StringComparison.Ordinal)));

        bool Has(string chain) => lines.Any(line => line.StartsWith($"-A {chain} ", StringComparison.Ordinal) && InstanceOf(line) == instanceId);
    }

    private static bool IsInUse() => File.Exists(Tables) && File.ReadLines(Tables).Contains("filter", StringComparer.Ordinal);

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    // All of them or none (iptables-restore(8)).
    private static Task ApplyAsync(NetworkTools tools, IEnumerable<string> rules, CancellationToken cancellationToken)
    {
        string lines = string.Concat(rules.Select(rule => rule + "\n"));
        return lines.Length == 0 ? Task.CompletedTask : tools.RestoreLegacyAsync($"*filter\n{lines}COMMIT\n", cancellationToken);
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
