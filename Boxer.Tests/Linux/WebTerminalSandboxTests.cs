using Boxer.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using WebTerminal;

namespace Boxer.Tests.Linux;

/// <summary>The sample WebTerminal, with a real sandbox.</summary>
[Collection(Sandboxes.Name)]
public sealed class WebTerminalSandboxTests(PythonImage image)
{
    [Fact]
    public async Task Stty_prints_the_size_after_a_resize_and_a_page_that_is_loaded_again_sees_it()
    {
        image.Require();
        BoxerOptions options = image.Options();
        string[] registries = [.. options.Registries.SelectMany((registry, number) =>
            (string[])[$"--Boxer:Registries:{number}:Name={registry.Name}", .. registry.Mirrors.Select((url, index) => $"--Boxer:Registries:{number}:Mirrors:{index}={url}")])];
        await using WebApplication app = TerminalApp.Build(
            ["--Terminal:Port=0", $"--Terminal:Image={PythonImage.Name}", "--Terminal:Shell=sh", $"--Boxer:Home={options.Home}", $"--Boxer:IgnoreCgroups={options.IgnoreCgroups}", "--Boxer:Pool:Enabled=false", .. registries],
            builder => builder.Logging.ClearProviders());
        await app.StartAsync(TestContext.Current.CancellationToken);
        string session;
        using (TerminalPage page = await TerminalPage.OpenAsync(app.Urls.Single(), "cols=90&rows=20"))
        {
            await page.SendAsync("""{"cols":123,"rows":45}""");
            await page.TypeAsync("stty size\n");
            await page.ReadAsync("45 123");
            session = Assert.Single(page.Messages).Split('"')[3];
        }

        using TerminalPage again = await TerminalPage.OpenAsync(app.Urls.Single(), $"session={session}&cols=100&rows=30");
        await again.TypeAsync("stty size\n");
        Assert.Contains("45 123", await again.ReadAsync("30 100"), StringComparison.Ordinal);
        await again.TypeAsync("exit 3\n");
        await again.ReadToEndAsync();
        Assert.Contains("3", again.Messages[^1], StringComparison.Ordinal);
    }
}
