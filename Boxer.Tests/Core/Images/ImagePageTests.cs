using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images;

/// <summary>Runs the examples of docs/images.md. Its C# blocks are in this file, word for word.</summary>
public sealed class ImagePageTests
{
    [Fact]
    public async Task A_store_alone()
    {
        using var scratch = new ScratchDirectory();
        using var registry = new ScriptedRegistry();
        registry.AddImage("library/python", "3.12-slim", [new Archive().File("file", "content").ToBytes()]);
        string home = scratch["home"];
        var mirror = new RegistryOptions { Name = "docker.io", Mirrors = [registry.Url] };
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;

        await using var store = new ImageStore(new ImageStoreOptions { Home = home, Registries = [mirror] });
        await using IImageLease image = await store.AcquireAsync(ImageReference.Parse("python:3.12-slim"), cancellationToken);
        Console.WriteLine($"{image.Digest} {image.RootPath} {string.Join(' ', image.Config.Cmd)}");

        Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(image.RootPath, "file"), cancellationToken));
    }

    [Fact]
    public async Task A_registry_and_an_extractor_alone()
    {
        using var scratch = new ScratchDirectory();
        using var scripted = new ScriptedRegistry();
        scripted.AddImage("library/python", "3.12-slim", [new Archive().File("file", "one").File("gone").ToBytes(), new Archive().File("file", "two").File(".wh.gone").ToBytes()]);
        string directory = Directory.CreateDirectory(scratch["root"]).FullName;
        var mirror = new RegistryOptions { Name = "docker.io", Mirrors = [scripted.Url] };
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;

        using var registry = new RegistryClient(new RegistryClientOptions { Registries = [mirror] });
        ImageReference python = ImageReference.Parse("python:3.12-slim");
        RegistryImage found = await registry.GetImageAsync(python, cancellationToken);
        var options = new LayerExtractionOptions { Whiteouts = WhiteoutFormat.Applied, KeepOwners = false };
        foreach (RegistryLayer layer in found.Layers)
        {
            await using Stream archive = await registry.OpenLayerAsync(python, layer, cancellationToken);
            await new LayerExtractor().ExtractAsync(archive, directory, options, cancellationToken);
        }

        Assert.Equal("two", await File.ReadAllTextAsync(Path.Combine(directory, "file"), cancellationToken));
        Assert.Single(Directory.EnumerateFileSystemEntries(directory));
    }

    [Fact]
    public void The_page_shows_what_is_run()
    {
        string source = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "ImagePageTests.cs"));
        string page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "images.md"));
        string[] lines = [.. page.Split("```csharp\n")[1..].SelectMany(block => block.Split("```")[0].Split('\n', StringSplitOptions.RemoveEmptyEntries))];

        Assert.Equal(3 + 9, lines.Length);
        Assert.All(lines, line => Assert.Contains("        " + line + "\n", source, StringComparison.Ordinal));
    }
}
