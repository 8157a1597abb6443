using Boxer.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Tests.Hosting;

public sealed class OptionsWatcherTests
{
    [Fact]
    public void A_change_is_logged_with_the_names_of_the_options_once()
    {
        using Watched watched = Watch("");

        watched.Set("Boxer:MaxQueuedRuns", "5");
        watched.Set("Boxer:DefaultLimits:Pids", "7");
        watched.Reload();
        watched.Reload();
        watched.Set("Boxer:Pool:Images:0:Count", "3");
        watched.Set("Boxer:DnsServers:0", "9.9.9.9");
        watched.Reload();

        Assert.Equal(
            [
                "Options of the runner '' changed: DefaultLimits.Pids, MaxQueuedRuns. They are read once; restart the application to apply them.",
                "Options of the runner '' changed: DefaultLimits.Pids, DnsServers, MaxQueuedRuns, Pool.Images. They are read once; restart the application to apply them.",
            ],
            watched.Log);
    }

    [Fact]
    public void Changed_options_that_are_invalid_are_logged_with_their_faults()
    {
        using Watched watched = Watch("judges");

        watched.Set("Boxer:MaxQueuedRuns", "many");
        watched.Reload();

        string line = Assert.Single(watched.Log);
        Assert.StartsWith("Options of the runner 'judges' changed and are invalid now: the next start of the application would fail. MaxQueuedRuns: ", line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_reload_without_a_change_and_a_change_after_the_end_are_not_logged()
    {
        Watched watched = Watch("");

        watched.Reload();
        watched.Dispose();
        watched.Set("Boxer:MaxQueuedRuns", "5");
        watched.Reload();

        Assert.Empty(watched.Log);
    }

    private static Watched Watch(string name)
    {
        IConfigurationRoot root = new ConfigurationBuilder().AddInMemoryCollection([new("Boxer:MaxQueuedRuns", "4"), new("Boxer:Pool:Images:0:Image", "python:3.12-slim")]).Build();
        var services = new ServiceCollection();
        IBoxerBuilder builder = name.Length == 0 ? services.AddBoxer(root.GetSection("Boxer")) : services.AddBoxer(name, root.GetSection("Boxer"));
        ServiceProvider provider = builder.Services.BuildServiceProvider();
        var log = new LogLines();
        return new Watched(root, provider, new OptionsWatcher(new RunnerParts(name), provider, log), log);
    }

    private sealed class Watched(IConfigurationRoot root, ServiceProvider provider, OptionsWatcher watcher, LogLines lines) : IDisposable
    {
        public IEnumerable<string> Log => lines.All;

        public void Set(string key, string value) => root.Providers.OfType<MemoryConfigurationProvider>().Single().Set(key, value);

        public void Reload() => root.Reload();

        public void Dispose()
        {
            watcher.Dispose();
            provider.Dispose();
        }
    }
}
