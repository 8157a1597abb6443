using System.Text.Json;

namespace Boxer.Network.Tools;

/// <summary>Reads the JSON that <see cref="NetworkTools"/> print. Another release of a program may print anything.</summary>
internal static class ToolOutput
{
    /// <summary>Parses output, and turns any fault in it into one exception.</summary>
    /// <param name="program">The program that printed it, for the message.</param>
    /// <param name="parse">Parses the output.</param>
    /// <exception cref="SandboxRuntimeException">The output does not have the expected form.</exception>
    internal static T Parse<T>(string program, Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or OverflowException or ArgumentException)
        {
            throw new SandboxRuntimeException($"The output of {program} cannot be parsed: {exception.Message}", exception);
        }
    }

    /// <summary>The objects of one kind in the output of nft(8) (libnftables-json(5)).</summary>
    internal static IEnumerable<JsonElement> NftObjects(JsonDocument output, string kind) =>
        output.RootElement.GetProperty("nftables").EnumerateArray().Where(item => item.TryGetProperty(kind, out _)).Select(item => item.GetProperty(kind));
}
