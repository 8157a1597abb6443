using Boxer.Hosting;
using Boxer.Images;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Events of a pull during a run, with a real registry and real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class PullEventTests(PythonImage image) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-pulls-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_run_reports_a_pull_only_while_there_is_one()
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.Home = Path.Join(_directory, "home");
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await Assert.ThrowsAsync<ImageNotFoundException>(() => EventsAsync(runner, PullPolicy.Never));

        List<SandboxEvent> pulled = await EventsAsync(runner, PullPolicy.Missing);
        SandboxImagePulling[] pulls = [.. pulled.OfType<SandboxImagePulling>()];
        Assert.Equal(pulls, pulled.Take(pulls.Length));
        Assert.IsType<SandboxStarted>(pulled[pulls.Length]);
        Assert.All(pulls, pull => Assert.Equal(ImageReference.Parse(PythonImage.Name).ToString(), pull.Image));
        Assert.Null(pulls[0].Layer);
        Assert.NotEmpty(pulls[1..]);
        Assert.All(pulls[1..].GroupBy(pull => pull.Layer!.Digest), layer =>
        {
            Assert.True(layer.Last().Layer!.IsStored);
            Assert.Equal(layer.Select(pull => pull.Layer!.Bytes).Order(), layer.Select(pull => pull.Layer!.Bytes));
        });

        Assert.IsType<SandboxStarted>((await EventsAsync(runner, PullPolicy.Missing))[0]);
        Assert.IsType<SandboxStarted>((await EventsAsync(runner, PullPolicy.Always))[0]);
        Assert.IsType<SandboxStarted>((await EventsAsync(runner, PullPolicy.Never))[0]);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static async Task<List<SandboxEvent>> EventsAsync(SandboxRunner runner, PullPolicy policy)
    {
        var events = new List<SandboxEvent>();
        await foreach (SandboxEvent item in runner.StreamAsync(new SandboxRequest(PythonImage.Name, "true") { PullPolicy = policy }, Cancel))
        {
            events.Add(item);
        }

        Assert.Equal(0, Assert.IsType<SandboxEnded>(events[^1]).Result.ExitCode);
        return events;
    }
}
