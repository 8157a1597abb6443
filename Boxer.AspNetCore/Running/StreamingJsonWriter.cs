using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Writes a response body member by member. Large texts are written in pieces, no faster than the client reads: as JSON, output can be many times
/// larger than its bytes, and the serializer would hold the whole string in memory before sending any of it.
/// </summary>
internal static class StreamingJsonWriter
{
    private const int MaxPendingBytes = 64 << 10;

    /// <summary>Writes a body as one JSON object.</summary>
    /// <param name="target">Receives the JSON; flushed whenever more than 64 KiB are pending.</param>
    /// <param name="body">The body.</param>
    /// <param name="type">The members of the body.</param>
    /// <param name="cancellationToken">Cancels the operation; the JSON is incomplete then.</param>
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
        if (writer.BytesPending + target.UnflushedBytes > MaxPendingBytes)
        {
            await writer.FlushAsync(cancellationToken);
            await target.FlushAsync(cancellationToken);
        }
    }
}
