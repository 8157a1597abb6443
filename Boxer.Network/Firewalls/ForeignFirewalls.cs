using System.Text.Json;
using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network.Firewalls;

/// <summary>
/// Rules in the tables of other firewalls on this host. A verdict of Boxer's table cannot override a drop in another table, so the rules
/// that accept packets of Boxer's links are added to the chains that drop. Each rule has a comment with the instance. Where Docker runs,
/// they go into its chain for users.
/// </summary>
internal static class ForeignFirewalls
{
    internal const string CommentPrefix = "boxer ";
    internal const string DockerUser = "DOCKER-USER";
    private const int MaxAttempts = 3;
    private static readonly string[] NeutralStatements = ["counter", "log", "comment"];

    /// <summary>Adds the missing rules of an instance.</summary>
    /// <exception cref="SandboxRuntimeException">The rules cannot be added; the message has the remedy.</exception>
    internal static async Task AllowLinksAsync(NetworkTools tools, string instanceId, bool ipv6, CancellationToken cancellationToken)
    {
        using JsonDocument ruleset = await ReadRulesetAsync(tools, cancellationToken).ConfigureAwait(false);
        string script = ToolOutput.Parse("nft", () => MissingRules(ruleset, instanceId, ipv6));
        try
        {
            if (script.Length > 0)
            {
                await tools.NftAsync(script, cancellationToken).ConfigureAwait(false);
            }

            await LegacyIptables.AllowLinksAsync(tools, instanceId, cancellationToken).ConfigureAwait(false);
        }
        catch (SandboxException exception)
        {
            throw new SandboxRuntimeException(
                $"Another firewall of this host may drop forwarded packets, and its chains cannot be read or changed. Accept links named {LinkNames.CommonPrefix}* in it; for firewalld, set NftablesTableOwner=no. {exception.Message}", exception);
        }
    }

    /// <summary>Removes the rules of instances.</summary>
    /// <param name="tools">Runs nft and iptables-legacy.</param>
    /// <param name="ofInstance">Whether to remove the rules of an instance.</param>
    internal static async Task RemoveAsync(NetworkTools tools, Func<string, bool> ofInstance)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                await RemoveOnceAsync(tools, ofInstance).ConfigureAwait(false);
                await LegacyIptables.RemoveAsync(tools, ofInstance).ConfigureAwait(false);
                return;
            }
            catch (SandboxRuntimeException) when (attempt < MaxAttempts)
            {
                // Another instance, or the other firewall, removed a rule between the listing and the removal.
            }
        }
    }

    private static async Task RemoveOnceAsync(NetworkTools tools, Func<string, bool> ofInstance)
    {
        using JsonDocument ruleset = await ReadRulesetAsync(tools, CancellationToken.None).ConfigureAwait(false);
        string script = ToolOutput.Parse("nft", () => string.Concat(ToolOutput.NftObjects(ruleset, "rule")
            .Where(rule => InstanceOf(rule) is { } id && ofInstance(id))
            .Select(rule => $"delete rule {ChainPath(rule)} handle {rule.GetProperty("handle").GetInt64()}\n")));
        if (script.Length > 0)
        {
            await tools.NftAsync(script, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>The nft script that adds the rules that an instance lacks in a ruleset.</summary>
    internal static string MissingRules(JsonDocument ruleset, string instanceId, bool ipv6)
    {
        ILookup<string, JsonElement> rules = ToolOutput.NftObjects(ruleset, "rule").ToLookup(ChainPath);
        string links = $"\"{LinkNames.Prefix(instanceId)}*\"";
        string comment = $"comment \"{CommentPrefix}{instanceId}\"";
        IEnumerable<IGrouping<string, JsonElement>> tables = ToolOutput.NftObjects(ruleset, "chain")
            .Where(chain => (Text(chain, "family") is "ip" or "inet" || (ipv6 && Text(chain, "family") == "ip6")) && !Text(chain, "table").StartsWith("boxer_", StringComparison.Ordinal))
            .GroupBy(chain => $"{Text(chain, "family")} {Text(chain, "table")}");
        return string.Concat(tables.SelectMany(chains =>
        {
            JsonElement[] docker = [.. chains.Where(chain => Text(chain, "name") == DockerUser)];
            IEnumerable<string> forward = WithoutRules(docker.Length > 0 ? docker : chains.Where(chain => DropsByDefault(chain, "forward")))
                .Select(path => $"insert rule {path} iifname {links} accept {comment}\ninsert rule {path} oifname {links} ct state {{ established, related }} accept {comment}\n");
            IEnumerable<string> input = WithoutRules(chains.Where(chain => DropsByDefault(chain, "input")))
                .Select(path => $"insert rule {path} iifname {links} ct status dnat accept {comment}\ninsert rule {path} iifname {links} meta l4proto {{ tcp, udp }} th dport 53 accept {comment}\n");
            return forward.Concat(input);
        }));

        IEnumerable<string> WithoutRules(IEnumerable<JsonElement> chains) =>
            chains.Select(ChainPath).Where(path => !rules[path].Any(rule => InstanceOf(rule) == instanceId));

        // By the policy of the chain, or by a last rule that matches every packet.
        bool DropsByDefault(JsonElement chain, string hook) =>
            Text(chain, "hook") == hook && (Text(chain, "policy") == "drop" || (rules[ChainPath(chain)].Select(rule => (JsonElement?)rule).LastOrDefault() is { } last && DropsAll(last)));
    }

    private static bool DropsAll(JsonElement rule)
    {
        string[] statements = [.. rule.GetProperty("expr").EnumerateArray().Select(statement => statement.EnumerateObject().First().Name).Except(NeutralStatements, StringComparer.Ordinal)];
        return statements is ["drop"] or ["reject"];
    }

    // Family, table and name of a chain, or of the chain that has a rule.
    private static string ChainPath(JsonElement item) => $"{Text(item, "family")} {Text(item, "table")} {(item.TryGetProperty("chain", out JsonElement chain) ? chain.GetString() : Text(item, "name"))}";

    private static string? InstanceOf(JsonElement rule)
    {
        string comment = Text(rule, "comment");
        return comment.StartsWith(CommentPrefix, StringComparison.Ordinal) && LinkNames.IsId(comment[CommentPrefix.Length..]) ? comment[CommentPrefix.Length..] : null;
    }

    private static async Task<JsonDocument> ReadRulesetAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        string output = await tools.NftJsonAsync(["-a", "-t", "list", "ruleset"], cancellationToken).ConfigureAwait(false);
        return ToolOutput.Parse("nft", () => JsonDocument.Parse(output));
    }

    private static string Text(JsonElement item, string name) => item.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";
}
