using Boxer.Images;

namespace Boxer.Tests.Core.Images;

/// <summary>What docs/images.md shows, run. Its C# block stands in this file, word for word.</summary>
public sealed class ImagePageTests
{
    [Fact]
    public async Task A_store_alone()
    {
        using var scratch = new ScratchDirectory();
        using var registry = new ScriptedRegistry();
        registry.AddImage("library/python", "3.12-slim", [new Archive().File("file", "content").ToBytes()]);
        string home = scratch["home"];
        var mirrors = new Dictionary<string, IReadOnlyList<string>> { ["docker.io"] = [registry.Url] };
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;

        await using var store = new ImageStore(new ImageStoreOptions { Home = home, RegistryMirrors = mirrors });
        await using IImageLease image = await store.AcquireAsync(ImageReference.Parse("python:3.12-slim"), cancellationToken);
        Console.WriteLine($"{image.Digest} {image.RootPath} {string.Join(' ', image.Config.Cmd)}");

        Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(image.RootPath, "file"), cancellationToken));
    }

    [Fact]
    public void The_page_shows_what_is_run()
    {
        string source = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "ImagePageTests.cs"));
        string page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "images.md"));
        string[] lines = page.Split("```csharp\n")[1].Split("```")[0].Split('\n', StringSplitOptions.RemoveEmptyEntries);

        Assert.Equal(3, lines.Length);
        Assert.All(lines, line => Assert.Contains("        " + line + "\n", source, StringComparison.Ordinal));
    }
}
