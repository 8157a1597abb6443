using System.Text.Json;

namespace Boxer.Network;

/// <summary>
/// Other tables of this host that drop what they do not know. No rule of ours can overrule them: only rules in their own chains let our
/// links through, each with a comment that names the instance. Where Docker is, they go into the chain that it keeps for users.
/// </summary>
internal static class ForeignFirewalls
{
    private const string CommentPrefix = "boxer ";
    private const string DockerUser = "DOCKER-USER";

    /// <summary>Adds the rules that are missing.</summary>
    /// <exception cref="SandboxRuntimeException">They cannot be added; the message says where.</exception>
    internal static async Task LetThroughAsync(NetworkTools tools, string instanceId, CancellationToken cancellationToken)
    {
        using JsonDocument ruleset = await ReadAsync(tools, cancellationToken).ConfigureAwait(false);
        string script = Missing(ruleset, instanceId);
        if (script.Length > 0)
        {
            try
            {
                await tools.NftAsync(script, cancellationToken).ConfigureAwait(false);
            }
            catch (SandboxRuntimeException exception)
            {
                throw new SandboxRuntimeException(
                    $"Another firewall of this host drops forwarded packets and its chain cannot be added to: let links named {LinkNames.Common}* through in it. {exception.Message}", exception);
            }
        }
    }

    /// <summary>Removes the rules of instances.</summary>
    /// <param name="tools">Runs nft.</param>
    /// <param name="isTheirs">Whether the rules of an instance are to go.</param>
    internal static async Task RemoveAsync(NetworkTools tools, Func<string, bool> isTheirs)
    {
        using JsonDocument ruleset = await ReadAsync(tools, CancellationToken.None).ConfigureAwait(false);
        string script = string.Concat(Items(ruleset, "rule")
            .Where(rule => InstanceOf(rule) is { } id && isTheirs(id))
            .Select(rule => $"delete rule {Text(rule, "family")} {Text(rule, "table")} {Text(rule, "chain")} handle {rule.GetProperty("handle").GetInt64()}\n"));
        if (script.Length > 0)
        {
            await tools.NftAsync(script, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>The rules that an instance lacks in a ruleset, as a script.</summary>
    internal static string Missing(JsonDocument ruleset, string instanceId)
    {
        JsonElement[] chains = [.. Items(ruleset, "chain").Where(chain => Text(chain, "family") is "ip" or "inet" && !Text(chain, "table").StartsWith("boxer_", StringComparison.Ordinal))];
        JsonElement[] docker = [.. chains.Where(chain => Text(chain, "name") == DockerUser)];
        HashSet<string> have = [.. Items(ruleset, "rule").Where(rule => InstanceOf(rule) == instanceId).Select(Place)];
        string links = $"\"{LinkNames.Prefix(instanceId)}*\"";
        string comment = $"comment \"{CommentPrefix}{instanceId}\"";
        IEnumerable<string> forward = (docker.Length > 0 ? docker : chains.Where(chain => Drops(chain, "forward")))
            .Select(Place).Where(place => !have.Contains(place))
            .Select(place => $"insert rule {place} iifname {links} accept {comment}\ninsert rule {place} oifname {links} ct state {{ established, related }} accept {comment}\n");
        IEnumerable<string> input = chains.Where(chain => Drops(chain, "input"))
            .Select(Place).Where(place => !have.Contains(place))
            .Select(place => $"insert rule {place} iifname {links} ct status dnat accept {comment}\n");
        return string.Concat(forward.Concat(input));

        static string Place(JsonElement item) => $"{Text(item, "family")} {Text(item, "table")} {(item.TryGetProperty("name", out JsonElement name) ? name.GetString() : Text(item, "chain"))}";
    }

    private static bool Drops(JsonElement chain, string hook) => Text(chain, "hook") == hook && Text(chain, "policy") == "drop";

    private static string? InstanceOf(JsonElement rule)
    {
        string comment = Text(rule, "comment");
        return comment.StartsWith(CommentPrefix, StringComparison.Ordinal) && LinkNames.IsId(comment[CommentPrefix.Length..]) ? comment[CommentPrefix.Length..] : null;
    }

    private static async Task<JsonDocument> ReadAsync(NetworkTools tools, CancellationToken cancellationToken) =>
        JsonDocument.Parse(await tools.NftJsonAsync(["-a", "list", "ruleset"], cancellationToken).ConfigureAwait(false));

    private static IEnumerable<JsonElement> Items(JsonDocument ruleset, string kind) =>
        ruleset.RootElement.GetProperty("nftables").EnumerateArray().Where(item => item.TryGetProperty(kind, out _)).Select(item => item.GetProperty(kind));

    private static string Text(JsonElement item, string name) => item.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";
}
