using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Contracts;

/// <summary>How bodies are written: snake_case names, absent members left out.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(RunRequestBody))]
[JsonSerializable(typeof(RunResponseBody))]
[JsonSerializable(typeof(ErrorBody))]
[JsonSerializable(typeof(RunErrorBody))]
[JsonSerializable(typeof(StartedBody))]
[JsonSerializable(typeof(TextBody))]
[JsonSerializable(typeof(FileBody))]
[JsonSerializable(typeof(HealthBody))]
[JsonSerializable(typeof(ReadyBody))]
[JsonSerializable(typeof(FilesEndpoint.UploadForm))]
[JsonSerializable(typeof(IFormFile))]
[JsonSerializable(typeof(string))]
internal sealed partial class HostJson : JsonSerializerContext
{
    /// <summary>
    /// The context to write with. Text is escaped no more than JSON asks for: every answer is application/json and nosniff, so none of
    /// it is ever read as HTML.
    /// </summary>
    public static HostJson Relaxed { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });
}
