using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Boxer.Tests.HttpHost;

/// <summary>Compares the tables of docs/requests.md and docs/limits.md with docs/openapi.json, which is the description of the API.</summary>
public sealed partial class RequestFieldsPageTests
{
    private static readonly string Page = Read("requests.md");

    private static readonly JsonNode Description = JsonNode.Parse(Read("openapi.json"))!;

    [Fact]
    public void Every_field_of_a_request_has_a_row() => Assert.Equal(Fields("RunRequest"), NamesIn(Page, "| field | default | meaning |"));

    [Fact]
    public void Every_field_of_a_workspace_has_a_row() => Assert.Equal(Fields("Workspace"), NamesIn(Page, "| field of `workspace` | default | meaning |"));

    [Fact]
    public void Every_field_of_an_answer_is_named()
    {
        string[] answer = [.. Fields("RunResult").Union(Fields("RunError")).Except(["status"])];

        Assert.Empty(NamesIn(Page, "| field | meaning |").Except(answer));
        Assert.All(answer, field => Assert.Matches($@"[`""]{field}[`""]", Page));
    }

    [Fact]
    public void The_example_of_an_answer_has_the_fields_of_the_description()
    {
        string example = Page[(Page.IndexOf("```json\n", StringComparison.Ordinal) + "```json\n".Length)..];
        JsonObject answer = JsonNode.Parse(example[..example.IndexOf("```", StringComparison.Ordinal)])!.AsObject();

        Assert.Empty(answer.Select(field => field.Key).Except(Fields("RunResult")));
        Assert.Equal(Fields("Timings"), answer["timings_ms"]!.AsObject().Select(field => field.Key).Order(StringComparer.Ordinal));
        Assert.Equal(Fields("Usage"), answer["usage"]!.AsObject().Select(field => field.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_status_of_a_run_has_a_row()
    {
        string[] documented = [.. Description["paths"]!["/run"]!["post"]!["responses"]!.AsObject().Select(response => response.Key)];
        string table = Table(Page, "| status | meaning |");

        Assert.All(documented, status => Assert.Contains(status, table, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_termination_has_a_row_in_the_page_of_limits()
    {
        IEnumerable<string> terminations = new[] { "RunResult", "RunError" }
            .SelectMany(schema => Schema(schema)["termination"]!["enum"]!.AsArray()).Select(value => (string)value!).Order(StringComparer.Ordinal);
        string table = Table(Read("limits.md"), "| `Termination.Kind` | `termination` over HTTP | status | the run ended because |");

        Assert.Equal(terminations, Name().Matches(table).Select(name => name.Groups["name"].Value).Where(name => char.IsLower(name[0])).Order(StringComparer.Ordinal));
    }

    private static JsonObject Schema(string name) => Description["components"]!["schemas"]![name]!["properties"]!.AsObject();

    private static IEnumerable<string> Fields(string schema) => Schema(schema).Select(field => field.Key).Order(StringComparer.Ordinal);

    // The names in the first column.
    private static IEnumerable<string> NamesIn(string page, string header) => Table(page, header).Split('\n')
        .SelectMany(row => Name().Matches(row.Split('|')[1])).Select(name => name.Groups["name"].Value).Order(StringComparer.Ordinal);

    private static string Table(string page, string header)
    {
        int start = page.IndexOf(header, StringComparison.Ordinal);
        Assert.True(start >= 0, $"'{header}' is missing.");
        string rest = page[(start + header.Length + 1)..];
        return rest[(rest.IndexOf('\n', StringComparison.Ordinal) + 1)..rest.IndexOf("\n\n", StringComparison.Ordinal)];
    }

    private static string Read(string name) => File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", name)).ReplaceLineEndings("\n");

    [GeneratedRegex("`(?<name>[A-Za-z0-9_]+)`", RegexOptions.None, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Name();
}
