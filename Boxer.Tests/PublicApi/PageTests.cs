using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace Boxer.PublicApi.Tests;

/// <summary>The pages for users: their C# compiles against the public API, and the members that they name exist.</summary>
public sealed partial class PageTests
{
    private static readonly string Pages = Path.Combine(AppContext.BaseDirectory, "pages");

    // Variables that are defined before the first line of an example.
    private const string Preamble = """
        public static class Given
        {
            public static Microsoft.AspNetCore.Builder.WebApplicationBuilder builder;
            public static Microsoft.AspNetCore.Builder.WebApplication app;
            public static Microsoft.Extensions.DependencyInjection.IServiceCollection services;
            public static Microsoft.Extensions.Configuration.IConfiguration configuration;
            public static System.IServiceProvider provider;
            public static Boxer.ISandboxRunner runner;
            public static Boxer.ISandboxSessions sessions;
            public static Boxer.ISandboxSession session;
            public static Boxer.BoxerOptions options;
            public static Boxer.SandboxRequest request;
            public static Boxer.SandboxResult result;
            public static string home, directory, program;
            public static Boxer.RegistryOptions mirror;
            public static System.Net.IPAddress address;
            public static System.Threading.CancellationToken cancel, cancellationToken;
        }
        """;

    // Names of other programs and libraries.
    private static readonly string[] NotOurs = ["Add", "BoxerSessionEndedError", "BoxerSessionPausedError", "HostOptions", "MemAvailable", "MemFree", "MemTotal", "MemoryError", "ShutdownTimeout", "TimeSpan"];

    private static readonly Assembly[] Product = [.. Directory.EnumerateFiles(AppContext.BaseDirectory, "Boxer.*.dll").Where(path => !path.EndsWith(".Tests.dll", StringComparison.Ordinal)).Select(Assembly.LoadFrom)];

    public static TheoryData<string> Names => [.. Directory.EnumerateFiles(Pages, "*.md", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(Pages, path)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Examples_in_CSharp_compile(string page)
    {
        string[] blocks = [.. Block().Matches(File.ReadAllText(Path.Combine(Pages, page))).Select(block => block.Groups[1].Value)];
        MetadataReference[] references =
            [.. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator).Select(path => MetadataReference.CreateFromFile(path))];

        Assert.All(blocks, block =>
        {
            // Adds a statement, because a program needs one and a block may declare only types.
            string[] lines = block.Split('\n');
            string usings = string.Join('\n', lines.TakeWhile(line => line.Length == 0 || line.StartsWith("using ", StringComparison.Ordinal) && !line.Contains('=', StringComparison.Ordinal) && !line.Contains('(', StringComparison.Ordinal)));
            string program = $"{usings}\nawait Task.CompletedTask;\n{block[Math.Min(block.Length, usings.Length)..]}";
            var compilation = CSharpCompilation.Create(
                "Example",
                [CSharpSyntaxTree.ParseText(program, cancellationToken: TestContext.Current.CancellationToken), CSharpSyntaxTree.ParseText(Usings() + Preamble, cancellationToken: TestContext.Current.CancellationToken)],
                references,
                new CSharpCompilationOptions(OutputKind.ConsoleApplication));
            string[] errors = [.. compilation.GetDiagnostics(TestContext.Current.CancellationToken).Where(found => found.Severity == DiagnosticSeverity.Error).Select(found => found.ToString())];
            Assert.True(errors.Length == 0, $"{string.Join('\n', errors)}\n{block}");
        });
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Members_in_code_marks_exist(string page)
    {
        // CONTRIBUTING.md names types that are not public.
        if (page == "CONTRIBUTING.md")
        {
            return;
        }

        HashSet<string> known = [.. Product.SelectMany(assembly => assembly.ExportedTypes).SelectMany(type => type.GetMembers().Select(member => member.Name).Append(Plain(type.Name)).Concat(type.Namespace!.Split('.'))), .. Product.SelectMany(assembly => assembly.GetName().Name!.Split('.')), .. NotOurs];
        IEnumerable<string> named = CodeMark().Matches(Block().Replace(File.ReadAllText(Path.Combine(Pages, page)), "")).Select(mark => mark.Groups[1].Value)
            .Where(code => Member().IsMatch(code)).SelectMany(code => code.Split('(')[0].Split('.'));

        Assert.Empty(named.Where(name => !known.Contains(name)).Distinct(StringComparer.Ordinal));

        static string Plain(string name) => name.Split('`')[0];
    }

    [Fact]
    public void Members_in_code_marks_of_the_documentation_exist()
    {
        const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;
        HashSet<string> known = [.. Product.SelectMany(assembly => assembly.GetTypes()).SelectMany(type => type.GetMembers(All).Select(member => member.Name).Append(type.Name.Split('`')[0])), .. NotOurs];
        IEnumerable<string> named = Product.Select(assembly => Path.Combine(AppContext.BaseDirectory, assembly.GetName().Name + ".xml")).SelectMany(path => XDocument.Load(path).Descendants("c"))
            .Select(code => code.Value).Where(code => Member().IsMatch(code)).SelectMany(code => code.Split('(')[0].Split('.'));

        Assert.Empty(named.Where(name => !known.Contains(name)).Distinct(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Links_lead_to_files_and_headings(string page)
    {
        string root = Checkout();
        string folder = Path.GetDirectoryName(Path.Combine(root, page))!;
        IEnumerable<string> links = Link().Matches(Fenced().Replace(File.ReadAllText(Path.Combine(Pages, page)), "")).Select(link => link.Groups["target"].Value)
            .Where(link => !link.StartsWith("https://", StringComparison.Ordinal));

        Assert.All(links, link =>
        {
            string[] parts = link.Split('#');
            string target = parts[0].Length == 0 ? Path.Combine(root, page) : Path.Combine(folder, parts[0]);
            Assert.True(Path.Exists(target), $"{link} does not exist.");
            Assert.True(parts.Length == 1 || Anchors(File.ReadAllText(target)).Contains(parts[1], StringComparer.Ordinal), $"{link} names no heading.");
        });

        // The anchor of a heading is its text in lower case: spaces become hyphens, and punctuation is left out.
        static IEnumerable<string> Anchors(string text) => Heading().Matches(Fenced().Replace(text, ""))
            .Select(heading => string.Concat(heading.Groups["text"].Value.ToLowerInvariant().Where(letter => char.IsLetterOrDigit(letter) || letter is ' ' or '-' or '_')).Replace(' ', '-'));
    }

    [Fact]
    public void The_map_of_CONTRIBUTING_has_every_folder()
    {
        string root = Checkout();
        string map = File.ReadAllText(Path.Combine(Pages, "CONTRIBUTING.md"));
        string[] rows = [.. MapRow().Matches(map).Select(row => row.Groups[1].Value)];
        string[] product = ["Boxer.Core", "Boxer.Network", "Boxer.Hosting", "Boxer.AspNetCore", "Boxer.Testing"];
        IEnumerable<string> folders = product.Concat(["Boxer.Samples", "Boxer.Benchmarks", "Boxer.Tests", "docs", "nuget", "scripts"])
            .Concat(product.SelectMany(project => Directory.EnumerateDirectories(Path.Combine(root, project)).Where(HasCode).Select(folder => Path.GetRelativePath(root, folder))))
            .Concat(Directory.EnumerateDirectories(Path.Combine(root, "Boxer.Samples")).Where(HasCode).Select(folder => Path.GetRelativePath(root, folder)));

        Assert.All(rows, row => Assert.True(Directory.Exists(Path.Combine(root, row)), row));

        // The folder has its own row, or the row of its parent names it.
        Assert.All(folders, folder => Assert.True(
            rows.Contains(folder + "/", StringComparer.Ordinal) || RowOf(Path.GetDirectoryName(folder)!).Contains($"`{Path.GetFileName(folder)}/`", StringComparison.Ordinal), folder));

        static bool HasCode(string folder) => Path.GetFileName(folder) is not ("bin" or "obj") && Directory.EnumerateFiles(folder, "*.*", SearchOption.AllDirectories).Any(file => file.EndsWith(".cs", StringComparison.Ordinal) || file.EndsWith(".py", StringComparison.Ordinal));

        string RowOf(string folder) => map.Split('\n').FirstOrDefault(line => line.StartsWith($"| `{folder}/` |", StringComparison.Ordinal)) ?? "";
    }

    private static string Checkout()
    {
        string root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "Boxer.Core.sln")))
        {
            root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException("These tests run in a checkout.");
        }

        return root;
    }

    private static string Usings() => string.Concat(
        Product.SelectMany(assembly => assembly.ExportedTypes).Select(type => type.Namespace!)
            .Concat(["System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net", "System.Net.Http", "System.Threading", "System.Threading.Tasks"])
            .Concat(["Microsoft.AspNetCore.Builder", "Microsoft.Extensions.Configuration", "Microsoft.Extensions.DependencyInjection", "Microsoft.Extensions.Hosting", "Microsoft.Extensions.Logging"])
            .Distinct(StringComparer.Ordinal).Select(space => $"global using {space};\n").Append("global using static Given;\n"));

    [GeneratedRegex("```csharp\n(?<code>.*?)```", RegexOptions.Singleline, 1000)]
    private static partial Regex Block();

    [GeneratedRegex("```.*?```", RegexOptions.Singleline, 1000)]
    private static partial Regex Fenced();

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)", RegexOptions.None, 1000)]
    private static partial Regex Link();

    [GeneratedRegex("^#+ (?<text>.+)$", RegexOptions.Multiline, 1000)]
    private static partial Regex Heading();

    [GeneratedRegex("`(?<name>[^`\n]+)`", RegexOptions.None, 1000)]
    private static partial Regex CodeMark();

    [GeneratedRegex(@"^\| `(?<folder>[^`]+/)` \|", RegexOptions.Multiline, 1000)]
    private static partial Regex MapRow();

    // Requires two words or a dot, because single words may name other things.
    [GeneratedRegex(@"^(?:[A-Z][a-z0-9]+){2,}(?:\.[A-Z][A-Za-z0-9]*)*(?:\(.*\))?$|^(?:[A-Z][a-z0-9]+)+(?:\.[A-Z][A-Za-z0-9]*)+(?:\(.*\))?$", RegexOptions.None, 1000)]
    private static partial Regex Member();
}
