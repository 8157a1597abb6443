using System.Globalization;
using System.Text.Json;
using Boxer.Network.Tools;
using Boxer.Networking;

namespace Boxer.Network.Firewalls;

/// <summary>Reads the nftables sets that count the packets that a sandbox was denied, by address, protocol and port.</summary>
internal static class DenialSet
{
    /// <summary>Parses the output of <c>nft -j list set</c>.</summary>
    /// <returns>Every destination in the set, with its counter.</returns>
    internal static IReadOnlyList<NetworkDenial> Parse(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        return
        [
            .. ToolOutput.NftObjects(document, "set")
                .SelectMany(set => set.TryGetProperty("elem", out JsonElement elements) ? elements.EnumerateArray().ToArray() : [])
                .Select(ParseElement),
        ];
    }

    // An element without a counter is the bare key.
    private static NetworkDenial ParseElement(JsonElement element)
    {
        JsonElement inner = element.TryGetProperty("elem", out JsonElement counted) ? counted : element;
        JsonElement[] key = [.. (inner.TryGetProperty("val", out JsonElement value) ? value : inner).GetProperty("concat").EnumerateArray()];
        (string address, string protocol, string port) = (Text(key[0]), Text(key[1]), Text(key[2]));
        long count = inner.TryGetProperty("counter", out JsonElement counter) ? counter.GetProperty("packets").GetInt64() : 1;
        return new NetworkDenial(address, null, int.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0, protocol, count);
    }

    private static string Text(JsonElement element) => element.ValueKind == JsonValueKind.String ? element.GetString()! : element.GetRawText();
}
