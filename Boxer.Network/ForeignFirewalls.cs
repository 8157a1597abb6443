using System.Text.Json;

namespace Boxer.Network;

/// <summary>
/// Other tables of this host that drop what they do not know. No rule of ours can overrule them: only rules in their own chains let our
/// links through, each with a comment that names the instance. Where Docker is, they go into the chain that it keeps for users.
/// </summary>
internal static class ForeignFirewalls
{
    internal const string CommentPrefix = "boxer ";
    internal const string DockerUser = "DOCKER-USER";
    private const int Attempts = 3;
    private static readonly string[] Neutral = ["counter", "log", "comment"];

    /// <summary>Adds the rules that are missing.</summary>
    /// <exception cref="SandboxRuntimeException">They cannot be added; the message says what to do.</exception>
    internal static async Task LetThroughAsync(NetworkTools tools, string instanceId, bool ipv6, CancellationToken cancellationToken)
    {
        using JsonDocument ruleset = await ReadAsync(tools, cancellationToken).ConfigureAwait(false);
        string script = NetworkTools.Understand("nft", () => Missing(ruleset, instanceId, ipv6));
        try
        {
            if (script.Length > 0)
            {
                await tools.NftAsync(script, cancellationToken).ConfigureAwait(false);
            }

            await LegacyIptables.LetThroughAsync(tools, instanceId, cancellationToken).ConfigureAwait(false);
        }
        catch (SandboxException exception)
        {
            throw new SandboxRuntimeException(
                $"Another firewall of this host may drop forwarded packets and its chains cannot be read or added to: let links named {LinkNames.Common}* through in it (firewalld: NftablesTableOwner=no, so that they can be added to). {exception.Message}", exception);
        }
    }

    /// <summary>Removes the rules of instances.</summary>
    /// <param name="tools">Runs nft.</param>
    /// <param name="isTheirs">Whether the rules of an instance are to go.</param>
    internal static async Task RemoveAsync(NetworkTools tools, Func<string, bool> isTheirs)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                await RemoveOnceAsync(tools, isTheirs).ConfigureAwait(false);
                await LegacyIptables.RemoveAsync(tools, isTheirs).ConfigureAwait(false);
                return;
            }
            catch (SandboxRuntimeException) when (attempt < Attempts)
            {
                // Between the look and the removal another one, or the firewall itself, removed a rule.
            }
        }
    }

    private static async Task RemoveOnceAsync(NetworkTools tools, Func<string, bool> isTheirs)
    {
        using JsonDocument ruleset = await ReadAsync(tools, CancellationToken.None).ConfigureAwait(false);
        string script = NetworkTools.Understand("nft", () => string.Concat(NetworkTools.NftItems(ruleset, "rule")
            .Where(rule => InstanceOf(rule) is { } id && isTheirs(id))
            .Select(rule => $"delete rule {Place(rule)} handle {rule.GetProperty("handle").GetInt64()}\n")));
        if (script.Length > 0)
        {
            await tools.NftAsync(script, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>The rules that an instance lacks in a ruleset, as a script.</summary>
    internal static string Missing(JsonDocument ruleset, string instanceId, bool ipv6)
    {
        ILookup<string, JsonElement> rules = NetworkTools.NftItems(ruleset, "rule").ToLookup(Place);
        string links = $"\"{LinkNames.Prefix(instanceId)}*\"";
        string comment = $"comment \"{CommentPrefix}{instanceId}\"";
        IEnumerable<IGrouping<string, JsonElement>> tables = NetworkTools.NftItems(ruleset, "chain")
            .Where(chain => (Text(chain, "family") is "ip" or "inet" || (ipv6 && Text(chain, "family") == "ip6")) && !Text(chain, "table").StartsWith("boxer_", StringComparison.Ordinal))
            .GroupBy(chain => $"{Text(chain, "family")} {Text(chain, "table")}");
        return string.Concat(tables.SelectMany(chains =>
        {
            JsonElement[] docker = [.. chains.Where(chain => Text(chain, "name") == DockerUser)];
            IEnumerable<string> forward = Lacking(docker.Length > 0 ? docker : chains.Where(chain => Drops(chain, "forward")))
                .Select(place => $"insert rule {place} iifname {links} accept {comment}\ninsert rule {place} oifname {links} ct state {{ established, related }} accept {comment}\n");
            IEnumerable<string> input = Lacking(chains.Where(chain => Drops(chain, "input")))
                .Select(place => $"insert rule {place} iifname {links} ct status dnat accept {comment}\ninsert rule {place} iifname {links} meta l4proto {{ tcp, udp }} th dport 53 accept {comment}\n");
            return forward.Concat(input);
        }));

        IEnumerable<string> Lacking(IEnumerable<JsonElement> chains) =>
            chains.Select(Place).Where(place => !rules[place].Any(rule => InstanceOf(rule) == instanceId));

        // By its policy, or by a last rule that leaves nothing.
        bool Drops(JsonElement chain, string hook) =>
            Text(chain, "hook") == hook && (Text(chain, "policy") == "drop" || (rules[Place(chain)].Select(rule => (JsonElement?)rule).LastOrDefault() is { } last && DropsAll(last)));
    }

    private static bool DropsAll(JsonElement rule)
    {
        string[] statements = [.. rule.GetProperty("expr").EnumerateArray().Select(statement => statement.EnumerateObject().First().Name).Except(Neutral, StringComparer.Ordinal)];
        return statements is ["drop"] or ["reject"];
    }

    // Family, table and chain, of a chain or of a rule.
    private static string Place(JsonElement item) => $"{Text(item, "family")} {Text(item, "table")} {(item.TryGetProperty("chain", out JsonElement chain) ? chain.GetString() : Text(item, "name"))}";

    private static string? InstanceOf(JsonElement rule)
    {
        string comment = Text(rule, "comment");
        return comment.StartsWith(CommentPrefix, StringComparison.Ordinal) && LinkNames.IsId(comment[CommentPrefix.Length..]) ? comment[CommentPrefix.Length..] : null;
    }

    private static async Task<JsonDocument> ReadAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        string printed = await tools.NftJsonAsync(["-a", "-t", "list", "ruleset"], cancellationToken).ConfigureAwait(false);
        return NetworkTools.Understand("nft", () => JsonDocument.Parse(printed));
    }

    private static string Text(JsonElement item, string name) => item.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";
}
