using System.Text;
using System.Text.RegularExpressions;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The examples of docs/sessions-example.md print what the page says.</summary>
[Collection(Sandboxes.Name)]
public sealed partial class SessionPageTests(PythonImage image, SharedRunner shared) : IDisposable
{
    private static readonly string Page = File.ReadAllText(Path.Join(AppContext.BaseDirectory, "docs/sessions-example.md")).ReplaceLineEndings("\n");

    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-page-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task The_transcript_of_curl_is_true()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("curl") && HostProgram.Exists("jq"), "Needs curl and jq in PATH.");
        await using HostProcess host = await StartAsync();
        string[] lines = [.. BlocksOf("curl").SelectMany(block => block[..^1].Split('\n'))];

        // One shell runs all commands, and repeats each before its output.
        StringBuilder script = new();
        foreach (string line in lines.Where(line => line.StartsWith("$ ", StringComparison.Ordinal)))
        {
            script.Append("cat <<'COMMAND'\n").Append(line).Append("\nCOMMAND\n").Append(line[2..]).Append(" >out; cat out; [ -z \"$(tail -c 1 out)\" ] || echo\n");
        }

        string made = await HostProgram.RunAsync("sh", "-c", $"cd {_directory}\n{AtHost(script.ToString(), host)}");

        Assert.Equal(Comparable(string.Join('\n', lines)), Comparable(made.Replace(new Uri(host.Address).Authority, "localhost:8080", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task The_example_in_Python_is_true()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("python3"), "Needs python3 in PATH.");
        await using HostProcess host = await StartAsync();
        string[] blocks = [.. BlocksOf("Python")];
        await File.WriteAllTextAsync(Path.Join(_directory, "example.py"), AtHost(blocks[0], host), Cancel);

        string made = await HostProgram.RunAsync(
            "env", "--chdir", _directory, "-u", "BOXER_URL", $"PYTHONPATH={Path.Join(Checkout.Root, "Boxer.Samples/python")}", "PYTHONDONTWRITEBYTECODE=1", "/usr/bin/python3", "example.py");

        Assert.Equal(blocks[1], made);
    }

    [Fact]
    public async Task The_example_in_CSharp_is_true()
    {
        string[] blocks = [.. BlocksOf("C#")];
        string source = await File.ReadAllTextAsync(Path.Join(Checkout.Root, "Boxer.Tests/Linux/SessionPageTests.Example.cs"), Cancel);
        Assert.Contains(Squeezed(blocks[0]), Squeezed(source), StringComparison.Ordinal);
        StringWriter made = new() { NewLine = "\n" };

        await new Example(made).RunAsync(shared.Runner, Cancel);

        Assert.Equal(blocks[1], made.ToString());
    }

    private async Task<HostProcess> StartAsync()
    {
        await File.WriteAllTextAsync(Path.Join(_directory, "server.py"), Block().Match(Page).Groups["text"].Value, Cancel);
        return await HostProcess.StartAsync(image);
    }

    private static IEnumerable<string> BlocksOf(string heading)
    {
        int start = Page.IndexOf($"\n## {heading}\n", StringComparison.Ordinal);
        int end = Page.IndexOf("\n## ", start + 1, StringComparison.Ordinal);
        return Block().Matches(end < 0 ? Page[start..] : Page[start..end]).Select(block => block.Groups["text"].Value);
    }

    private static string AtHost(string text, HostProcess host) => text.Replace("localhost:8080", new Uri(host.Address).Authority, StringComparison.Ordinal);

    private static string Comparable(string transcript) => Usage().Replace(transcript.Replace(": waiting\n\n", "", StringComparison.Ordinal), "").TrimEnd('\n');

    // The page has another indentation.
    private static string Squeezed(string code) => string.Join('\n', code.Split('\n').Select(line => line.Trim()));

    [GeneratedRegex("```[a-z]*\n(?<text>.*?)```", RegexOptions.Singleline, 1_000)]
    private static partial Regex Block();

    [GeneratedRegex(@"""usage"":\{[^}]*\}", RegexOptions.None, 1_000)]
    private static partial Regex Usage();
}
