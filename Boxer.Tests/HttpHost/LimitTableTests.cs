using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Xml.Linq;
using Boxer.AspNetCore;
using Boxer.AspNetCore.Configuration;
using Boxer.AspNetCore.Contracts;
using Boxer.AspNetCore.Running;
using Boxer.Validation;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests that HTTP requests have exactly the limits of the table.</summary>
public sealed class LimitTableTests
{
    [Fact]
    public async Task SettingTable_rows_are_limits_of_requests()
    {
        var values = new ConditionalWeakTable<object, object>();
        Setting added = Setting.Of<ResourceLimits, TimeSpan?>(
            "NapTime", limits => values.TryGetValue(limits, out object? value) ? (TimeSpan)value : null, (limits, value) => values.AddOrUpdate(limits, value!), "Naps.") with
        {
            Least = TimeSpan.FromMilliseconds(1),
            Most = TimeSpan.FromMinutes(1),
            HttpKey = "nap_secs",
        };
        SettingTable table = SettingTable.BuiltIn with { Limits = [.. SettingTable.BuiltIn.Limits, added] };

        RunRequestBody body = await ReadAsync("""{"image": "i", "cmd": ["c"], "limits": {"nap_secs": 1.5, "memory_mb": 64}}""", table);
        HttpFaultException fault = await Assert.ThrowsAsync<HttpFaultException>(() => ReadAsync("""{"image": "i", "cmd": ["c"], "limits": {"nap_secs": 61, "nap_sec": 1}}""", table));

        Assert.Equal((TimeSpan.FromSeconds(1.5), 64 * ByteSize.MiB), ((TimeSpan)added.Get(body.Limits!.Values)!, body.Limits.Values.MemoryBytes));
        Assert.Equal(
            "limits.nap_sec: is not a field of the request; did you mean nap_secs? limits.nap_secs: must be a number from 0.001 to 60, or 0 for the default, not 61.",
            fault.Message);
    }

    [Fact]
    public void LimitsBody_documents_every_limit_with_its_range()
    {
        Dictionary<string, Setting> limits = SettingTable.BuiltIn.Limits.Where(limit => limit.HttpKey is not null).ToDictionary(limit => limit.HttpKey!, StringComparer.Ordinal);
        Dictionary<string, string> described = typeof(LimitsBody).GetProperties().Where(property => property.Name is not (nameof(LimitsBody.Values) or "EqualityContract"))
            .ToDictionary(property => JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name), property => Document(property.Name), StringComparer.Ordinal);

        Assert.Equal(limits.Keys.Order(StringComparer.Ordinal), described.Keys.Order(StringComparer.Ordinal));
        Assert.All(limits, limit =>
        {
            (decimal least, decimal most) = limit.Value.NumberRange();
            Assert.Contains(FormattableString.Invariant($"{least} to {most}"), described[limit.Key], StringComparison.Ordinal);
        });
    }

    [Fact]
    public void BoxerHttpOptions_are_validated_by_the_table()
    {
        ValidateOptionsResult result = new BoxerHttpOptionsValidator().Validate(
            null, new BoxerHttpOptions { MaxUploadBytes = 0, MaxStoredFiles = 0, MaxRequestBytes = 2 * ByteSize.GiB, StopGrace = TimeSpan.FromDays(1) });

        Assert.Equal(
            [
                "MaxRequestBytes: is 2 GiB, but must be from 1 KiB to 1 GiB.",
                "MaxStoredFiles: is 0, but must be at least 1 file.",
                "MaxUploadBytes: is 0 bytes, but must be from 1 byte to 64 GiB.",
                "StopGrace: is 24 h, but must be from 0 s to 1 h.",
            ],
            result.Failures!.Order(StringComparer.Ordinal));
        Assert.All(HostKeys.Http, setting => Assert.Equal(setting.Default, setting.Get(new BoxerHttpOptions())));
    }

    [Theory]
    [InlineData("DefaultLimits.MemoryBytes: is 8 MiB, but must be from 32 MiB to 1 TiB.", "defaults.memory_mb: is 8 MiB, but must be from 32 MiB to 1 TiB.")]
    [InlineData("DefaultLimits.StandardOutputBytes: is 0 bytes.", "output_limit_bytes: is 0 bytes.")]
    [InlineData("MaxMemoryBytes: raise it, or lower PullMemoryBytes or DefaultLimits.MemoryBytes.", "max_memory_mb: raise it, or lower pull_memory_mb or defaults.memory_mb.")]
    [InlineData("Registries[1].Name: 'a' is listed twice; merge the entries.", "registries[1].name: 'a' is listed twice; merge the entries.")]
    [InlineData("Pool.Images: raise Pool.MaxSandboxes.", "pool.images: raise pool.max_sandboxes.")]
    [InlineData("Pool.Images[0].WarmUp: must be a program and its arguments, without NUL characters.", "pool.images[0].warm_up: must be a program and its arguments, without NUL characters.")]
    [InlineData("Egress.Allow[2]: Name it.", "egress.allow[2]: Name it.")]
    [InlineData("MaxUploadBytes: must be more.", "upload_limit_bytes: must be more.")]
    [InlineData("ApiKeys[1]: is listed twice; remove one.", "api_keys[1]: is listed twice; remove one.")]
    public void FieldNames_OfOptions_replaces_properties_by_keys(string message, string named) => Assert.Equal(named, FieldNames.OfOptions(message));

    private static Task<RunRequestBody> ReadAsync(string json, SettingTable table) =>
        RunRequestReader.ReadAsync(new MemoryStream(Encoding.UTF8.GetBytes(json)), ["none"], TestContext.Current.CancellationToken, table);

    private static string Document(string property) => XDocument.Load(Path.ChangeExtension(typeof(LimitsBody).Assembly.Location, ".xml"))
        .Descendants("member").Single(member => member.Attribute("name")!.Value == $"P:{typeof(LimitsBody).FullName}.{property}").Value;
}
