using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Writes the body of an answer member by member, what is large in pieces and no faster than it is read. What a run printed can be many
/// times as large as JSON, and the serializer makes the whole of a text before any of it is sent.
/// </summary>
internal static class StreamingJsonWriter
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
        await WriteObjectAsync(target, writer, body, type, cancellationToken);
        await writer.FlushAsync(cancellationToken);
    }

    private static async Task WriteObjectAsync(PipeWriter target, Utf8JsonWriter writer, object body, JsonTypeInfo type, CancellationToken cancellationToken)
    {
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
                bool isMore;
                do
                {
                    isMore = text.WriteNext(writer);
                    await FlushAsync(target, writer, cancellationToken);
                }
                while (isMore);
            }
            else if (member is IReadOnlyList<OutputBody> outputs)
            {
                writer.WriteStartArray();
                foreach (OutputBody output in outputs)
                {
                    await WriteObjectAsync(target, writer, output, type.Options.GetTypeInfo(typeof(OutputBody)), cancellationToken);
                }

                writer.WriteEndArray();
            }
            else
            {
                JsonSerializer.Serialize(writer, member, type.Options.GetTypeInfo(property.PropertyType));
            }
        }

        writer.WriteEndObject();
    }

    private static async Task FlushAsync(PipeWriter target, Utf8JsonWriter writer, CancellationToken cancellationToken)
    {
        if (writer.BytesPending + target.UnflushedBytes > MostPending)
        {
            await writer.FlushAsync(cancellationToken);
            await target.FlushAsync(cancellationToken);
        }
    }
}
