using System.Buffers;
using System.Text.Json;

namespace Boxer.Sessions;

/// <summary>Lines of the session log. Each is a JSON object: one when a session opens, another one when it ends.</summary>
internal static class SessionRecord
{
    private const int MaxKeyLength = 1_024;
    private const int MaxDigestLength = 256;

    /// <summary>Encodes the opening of a session.</summary>
    /// <param name="session">The session.</param>
    internal static byte[] EncodeOpened(RememberedSession session) => Encode(writer =>
    {
        writer.WriteString("opened"u8, session.Id);
        if (session.Key is not null)
        {
            writer.WriteString("key"u8, session.Key);
        }

        writer.WriteString("image"u8, session.ImageDigest);
        writer.WriteNumber("at"u8, session.CreatedAt.ToUnixTimeMilliseconds());
    });

    /// <summary>Encodes the end of a session.</summary>
    /// <param name="session">The session, which has ended.</param>
    internal static byte[] EncodeEnded(RememberedSession session) => Encode(writer =>
    {
        writer.WriteString("ended"u8, session.Id);
        writer.WriteString("how"u8, session.End!.Value.ToString());
        writer.WriteNumber("at"u8, session.EndedAt.ToUnixTimeMilliseconds());
    });

    /// <summary>Reads the lines of a log. Lines that are torn or make no sense are skipped.</summary>
    /// <param name="content">The log.</param>
    /// <returns>The sessions by their identifiers.</returns>
    internal static Dictionary<string, RememberedSession> Read(ReadOnlySpan<byte> content)
    {
        var found = new Dictionary<string, RememberedSession>(StringComparer.Ordinal);
        foreach (Range line in content.Split((byte)'\n'))
        {
            try
            {
                Add(content[line], found);
            }
            catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
            {
                // The writer was killed within the line, or the disk was full.
            }
        }

        return found;
    }

    private static void Add(ReadOnlySpan<byte> line, Dictionary<string, RememberedSession> found)
    {
        if (line.IsEmpty)
        {
            return;
        }

        var reader = new Utf8JsonReader(line);
        using JsonDocument document = JsonDocument.ParseValue(ref reader);
        JsonElement root = document.RootElement;
        DateTimeOffset at = DateTimeOffset.FromUnixTimeMilliseconds(root.GetProperty("at"u8).GetInt64());
        if (root.TryGetProperty("opened"u8, out JsonElement opened) && SessionIds.IsValid(opened.GetString()))
        {
            string? key = root.TryGetProperty("key"u8, out JsonElement text) ? text.GetString() : null;
            string image = root.GetProperty("image"u8).GetString() ?? "";
            if (!(key?.Length > MaxKeyLength) && image.Length <= MaxDigestLength)
            {
                found.TryAdd(opened.GetString()!, new RememberedSession(opened.GetString()!, key, image, at));
            }
        }
        else if (root.TryGetProperty("ended"u8, out JsonElement ended)
            && found.TryGetValue(ended.GetString() ?? "", out RememberedSession? session)
            && session.End is null
            && Enum.TryParse(root.GetProperty("how"u8).GetString(), out SandboxSessionEnd end)
            && Enum.IsDefined(end))
        {
            found[session.Id] = session with { End = end, EndedAt = at };
        }
    }

    // A line feed at each side, so that a torn line before this one does not take it along.
    private static byte[] Encode(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        buffer.Write("\n"u8);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            write(writer);
            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }
}
