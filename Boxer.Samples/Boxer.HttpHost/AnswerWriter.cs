using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Boxer.HttpHost.Contracts;

namespace Boxer.HttpHost;

/// <summary>
/// Writes the body of an answer member by member, what is large in pieces and no faster than it is read. What a run printed can be many
/// times as large as JSON, and the serializer makes the whole of a text before any of it is sent.
/// </summary>
internal static class AnswerWriter
{
    private const int MostPending = 64 << 10;

    /// <summary>Writes it as one JSON object.</summary>
    /// <param name="target">Where to; flushed only where much is waiting.</param>
    /// <param name="body">The body.</param>
    /// <param name="type">Its members.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task WriteAsync(PipeWriter target, object body, JsonTypeInfo type, CancellationToken cancellationToken)
    {
        await using Utf8JsonWriter writer = new(target, new JsonWriterOptions { Encoder = type.Options.Encoder });
        long flushed = 0;
        writer.WriteStartObject();
        foreach (JsonPropertyInfo property in type.Properties)
        {
            if (property.Get!(body) is not { } member)
            {
                continue;
            }

            writer.WritePropertyName(property.Name);
            if (member is LargeText text)
            {
                while (text.WriteNext(writer))
                {
                    if (writer.BytesCommitted + writer.BytesPending - flushed > MostPending)
                    {
                        await writer.FlushAsync(cancellationToken);
                        await target.FlushAsync(cancellationToken);
                        flushed = writer.BytesCommitted;
                    }
                }
            }
            else
            {
                JsonSerializer.Serialize(writer, member, type.Options.GetTypeInfo(property.PropertyType));
            }
        }

        writer.WriteEndObject();
        await writer.FlushAsync(cancellationToken);
    }
}
