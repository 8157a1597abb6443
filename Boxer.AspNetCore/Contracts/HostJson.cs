using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Serializer of bodies: snake_case names; null members are omitted.</summary>
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
[JsonSerializable(typeof(SessionRequestBody))]
[JsonSerializable(typeof(SessionTimesBody))]
[JsonSerializable(typeof(SessionBody))]
[JsonSerializable(typeof(IReadOnlyList<SessionBody>))]
[JsonSerializable(typeof(ExecRequestBody))]
[JsonSerializable(typeof(ProcessRequestBody))]
[JsonSerializable(typeof(TerminalBody))]
[JsonSerializable(typeof(SignalBody))]
[JsonSerializable(typeof(ProcessBody))]
[JsonSerializable(typeof(IReadOnlyList<ProcessBody>))]
[JsonSerializable(typeof(ProcessEndBody))]
[JsonSerializable(typeof(ProcessOutputBody))]
[JsonSerializable(typeof(PidBody))]
[JsonSerializable(typeof(MoveBody))]
[JsonSerializable(typeof(DirectoryBody))]
[JsonSerializable(typeof(EntryBody))]
[JsonSerializable(typeof(IReadOnlyList<EntryBody>))]
[JsonSerializable(typeof(FileChangeBody))]
[JsonSerializable(typeof(SessionErrorBody))]
[JsonSerializable(typeof(FilesEndpoint.UploadForm))]
[JsonSerializable(typeof(IFormFile))]
[JsonSerializable(typeof(string))]
internal sealed partial class HostJson : JsonSerializerContext
{
    /// <summary>
    /// The context for responses. It escapes only what JSON requires: responses are application/json with nosniff, so no browser interprets them as
    /// HTML.
    /// </summary>
    public static HostJson Relaxed { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });
}
