using System.Buffers;
using System.Text.Json;
using System.Text.Unicode;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Reads the JSON body of a request strictly. Wrong types, values out of range and unknown names are all reported at once, by their names in the body.</summary>
internal static class JsonBody
{
    private const int MaxValues = 100_000;

    private const int MaxFaults = 50;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads a body.</summary>
    /// <param name="body">The body; read to its end.</param>
    /// <param name="fields">The fields.</param>
    /// <param name="empty">Receives the values.</param>
    /// <param name="check">Checks that concern several fields; <see langword="null"/> for none.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns><paramref name="empty"/>.</returns>
    /// <exception cref="HttpFaultException">The body is invalid (400). The message lists all faults.</exception>
    public static async Task<TBody> ReadAsync<TBody>(
        Stream body, Fields<TBody> fields, TBody empty, Action<StrictReader, JsonElement>? check, CancellationToken cancellationToken)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(16 << 10);
        try
        {
            int length = 0;
            int read;
            while ((read = await body.ReadAsync(buffer.AsMemory(length), cancellationToken)) > 0)
            {
                length += read;
                if (length == buffer.Length)
                {
                    // The declared length is not trusted.
                    byte[] larger = ArrayPool<byte>.Shared.Rent(2 * length);
                    buffer.CopyTo(larger, 0);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
            }

            ReadOnlyMemory<byte> text = buffer.AsMemory(0, length);
            using JsonDocument document = Parse(text.Span.StartsWith(ByteOrderMark) ? text[ByteOrderMark.Length..] : text);
            Read(document.RootElement, fields, empty, check);
            return empty;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static JsonDocument Parse(ReadOnlyMemory<byte> text)
    {
        // The parser does not validate strings: an invalid one would throw wherever it is read later.
        if (!Utf8.IsValid(text.Span))
        {
            throw HttpFaultException.BadRequest("the body is not valid UTF-8; encode it as UTF-8.");
        }

        try
        {
            CountValues(text.Span);
            return StrictJson.Parse(text, allowComments: false);
        }
        catch (JsonException exception)
        {
            throw HttpFaultException.BadRequest($"the body is not valid JSON: {StrictJson.Explain(exception)}");
        }
        catch (InvalidOperationException)
        {
            // Thrown by the check for duplicates for a name with an unpaired surrogate.
            throw HttpFaultException.BadRequest("the body has a name that is not valid Unicode; remove it.");
        }
    }

    private static void Read<TBody>(JsonElement body, Fields<TBody> fields, TBody owner, Action<StrictReader, JsonElement>? check)
    {
        StrictReader reader = new("is not a field of the request", MaxFaults, nullIsAbsent: true);
        if (body.ValueKind != JsonValueKind.Object)
        {
            throw HttpFaultException.BadRequest($"the body must be a JSON object, not {StrictReader.Show(body)}.");
        }

        reader.Read(body, "", fields, owner);
        check?.Invoke(reader, body);
        if (reader.Faults.Count > 0)
        {
            throw HttpFaultException.BadRequest(string.Join(" ", reader.Faults));
        }
    }

    /// <summary>Limits the number of values. In a parsed document a short value needs many times its bytes, so the limit is checked before parsing.</summary>
    private static void CountValues(ReadOnlySpan<byte> text)
    {
        Utf8JsonReader reader = new(text, new JsonReaderOptions { MaxDepth = StrictJson.MaxDepth });
        for (int values = 0; reader.Read(); values++)
        {
            if (values == MaxValues)
            {
                throw HttpFaultException.BadRequest($"the body has more than {MaxValues} values; put what is large into one text, or upload it with POST /files.");
            }
        }
    }
}
