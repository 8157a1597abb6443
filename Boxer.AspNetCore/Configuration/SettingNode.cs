using System.Text.Json;

namespace Boxer.AspNetCore.Configuration;

/// <summary>A value of the configuration, from the file or from an environment variable.</summary>
/// <param name="Variable">The environment variable that it comes from; <see langword="null"/> for the file.</param>
internal abstract record SettingNode(string? Variable);

/// <summary>Named values. The tree is our own because registry names as keys have the colons that IConfiguration splits keys at.</summary>
internal sealed record SettingObject(string? Variable, Dictionary<string, SettingNode> Members) : SettingNode(Variable);

/// <summary>Values in order.</summary>
internal sealed record SettingList(string? Variable, IReadOnlyList<SettingNode> Items) : SettingNode(Variable);

/// <summary>A value of JSON, or the text of an environment variable.</summary>
internal sealed record SettingScalar(string? Variable, JsonElement Json, string? Text) : SettingNode(Variable);
