using System.Text.Json;
using System.Text.Json.Serialization;

namespace Boxer.Images.Manifests;

/// <summary>An image manifest or index of Docker or OCI.</summary>
internal sealed record ManifestJson
{
    public int SchemaVersion { get; init; }

    public string? MediaType { get; init; }

    public DescriptorJson? Config { get; init; }

    public List<DescriptorJson?>? Layers { get; init; }

    public List<DescriptorJson?>? Manifests { get; init; }

    public JsonElement? FsLayers { get; init; }
}

/// <summary>A descriptor (OCI image spec, descriptor.md).</summary>
internal sealed record DescriptorJson
{
    public string? MediaType { get; init; }

    public string? Digest { get; init; }

    public long Size { get; init; }

    public PlatformJson? Platform { get; init; }

    public Dictionary<string, string?>? Annotations { get; init; }
}

/// <summary>The platform of an image in an index (OCI image spec, image-index.md).</summary>
internal sealed record PlatformJson
{
    public string? Os { get; init; }

    public string? Architecture { get; init; }

    public string? Variant { get; init; }
}

/// <summary>The config of an image (OCI image spec, config.md).</summary>
internal sealed record ConfigJson
{
    public string? Os { get; init; }

    public string? Architecture { get; init; }

    public ProcessJson? Config { get; init; }

    [JsonPropertyName("rootfs")]
    public RootFilesJson? RootFiles { get; init; }
}

/// <summary>The part of a config about processes.</summary>
internal sealed record ProcessJson
{
    [JsonPropertyName("Env")]
    public List<string?>? Env { get; init; }

    [JsonPropertyName("WorkingDir")]
    public string? WorkingDir { get; init; }

    [JsonPropertyName("User")]
    public string? User { get; init; }

    [JsonPropertyName("Entrypoint")]
    public List<string?>? Entrypoint { get; init; }

    [JsonPropertyName("Cmd")]
    public List<string?>? Cmd { get; init; }

    [JsonPropertyName("StopSignal")]
    public string? StopSignal { get; init; }
}

/// <summary>The part of a config with the digests of the uncompressed layers.</summary>
internal sealed record RootFilesJson
{
    public string? Type { get; init; }

    [JsonPropertyName("diff_ids")]
    public List<string?>? DiffIds { get; init; }
}

/// <summary>An image in the manifest.json of an archive of <c>docker save</c>.</summary>
internal sealed record DockerArchiveJson
{
    [JsonPropertyName("Config")]
    public string? Config { get; init; }

    [JsonPropertyName("RepoTags")]
    public List<string?>? RepoTags { get; init; }

    [JsonPropertyName("Layers")]
    public List<string?>? Layers { get; init; }
}

/// <summary>The response of a token service.</summary>
internal sealed record TokenJson
{
    public string? Token { get; init; }

    [JsonPropertyName("access_token")]
    public string? AccessToken { get; init; }
}

/// <summary>The body of a registry's error response (OCI distribution spec, error codes).</summary>
internal sealed record ErrorsJson
{
    public List<ErrorJson?>? Errors { get; init; }
}

/// <summary>An error in <see cref="ErrorsJson"/>.</summary>
internal sealed record ErrorJson
{
    public string? Code { get; init; }
}

/// <summary>The image that a reference was resolved to, as a store keeps it.</summary>
internal sealed record StoredReferenceJson
{
    public string? Reference { get; init; }

    public string? Digest { get; init; }
}

/// <summary>
/// Readers and writers of JSON. Duplicate properties, also in another case, are rejected: two readers could see different images.
/// </summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, PropertyNameCaseInsensitive = true, AllowDuplicateProperties = false, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ManifestJson))]
[JsonSerializable(typeof(ConfigJson))]
[JsonSerializable(typeof(List<DockerArchiveJson>))]
[JsonSerializable(typeof(TokenJson))]
[JsonSerializable(typeof(ErrorsJson))]
[JsonSerializable(typeof(StoredReferenceJson))]
internal sealed partial class RegistryJson : JsonSerializerContext
{
    /// <summary>Gets the position of a fault in a document, for messages. The reader's own message is not used: it quotes the document at any length.</summary>
    /// <param name="fault">The fault.</param>
    public static string Position(JsonException fault) => $"line {fault.LineNumber + 1}, byte {fault.BytePositionInLine + 1}";
}
