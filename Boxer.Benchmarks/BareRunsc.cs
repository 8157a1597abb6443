using System.Diagnostics;
using System.Text.Json;

namespace Boxer.Benchmarks;

/// <summary>Runs <c>runsc</c> directly, on the same root file system as Boxer's sandboxes.</summary>
/// <param name="root">Path of the root file system.</param>
internal sealed class BareRunsc(string root) : IDisposable
{
    private const string SearchPath = "PATH=/usr/local/bin:/usr/bin:/bin";
    private readonly string _work = Directory.CreateTempSubdirectory("boxer-bench-runsc-").FullName;

    /// <summary>Runs a command with <c>runsc run</c>.</summary>
    internal async Task RunAsync(Workload workload)
    {
        string id = CreateBundle(workload.Command);
        workload.Check(await HostProgram.RunAsync("runsc", RunArguments(id)).ConfigureAwait(false));
    }

    /// <summary>Measures how many calls of <see cref="RunAsync"/> are made per second, one at a time.</summary>
    internal async Task<double> MeasureRateAsync(Workload workload, int runs)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < runs; i++)
        {
            Interruption.ThrowIfRequested();
            await RunAsync(workload).ConfigureAwait(false);
        }

        return runs / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Runs a command with <c>runsc exec</c> in a sandbox of Boxer.</summary>
    /// <param name="directory">The directory of the sandbox.</param>
    /// <param name="workload">The command.</param>
    internal static async Task ExecAsync(string directory, Workload workload) => workload.Check(await HostProgram.RunAsync(
        "runsc", [$"--root={directory}/state", "exec", "--user=65534:65534", $"--env={SearchPath}", Path.GetFileName(directory), .. workload.Command]).ConfigureAwait(false));

    /// <summary>Boots an idle container.</summary>
    internal async Task<BootedContainer> BootAsync()
    {
        string id = CreateBundle(["sleep", "86400"]);
        var container = new BootedContainer(StateArgument, id, HostProgram.Start("runsc", RunArguments(id)));
        await container.WaitAsync().ConfigureAwait(false);
        return container;
    }

    public void Dispose() => Directory.Delete(_work, recursive: true);

    private string StateArgument => $"--root={_work}/state";

    private string[] RunArguments(string id) =>
        [StateArgument, "--platform=systrap", "--network=none", "--ignore-cgroups", "--overlay2=root:memory", "run", $"--bundle={_work}/{id}", id];

    private string CreateBundle(IReadOnlyList<string> command)
    {
        string id = Guid.NewGuid().ToString("N");
        Directory.CreateDirectory(Path.Combine(_work, id));
        File.WriteAllText(Path.Combine(_work, id, "config.json"), JsonSerializer.Serialize(new
        {
            ociVersion = "1.0.2",
            process = new { user = new { uid = 65534, gid = 65534 }, args = command, env = (string[])[SearchPath], cwd = "/" },
            root = new { path = root },
            hostname = "sandbox",
            mounts = (object[])[new { destination = "/proc", type = "proc", source = "proc" }, new { destination = "/tmp", type = "tmpfs", source = "tmpfs" }],
            linux = new { namespaces = ((string[])["pid", "mount", "ipc", "uts", "network"]).Select(type => new { type }) },
        }));
        return id;
    }
}

/// <summary>A booted container of <c>runsc</c> for further commands.</summary>
/// <param name="state">The argument with the directory of its state.</param>
/// <param name="id">The identifier of the container.</param>
/// <param name="process">The process <c>runsc run</c>.</param>
internal sealed class BootedContainer(string state, string id, Process process) : IAsyncDisposable
{
    private static readonly TimeSpan BootTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Runs a command with <c>runsc exec</c>.</summary>
    internal async Task ExecAsync(Workload workload) =>
        workload.Check(await HostProgram.RunAsync("runsc", [state, "exec", "--user=65534:65534", id, .. workload.Command]).ConfigureAwait(false));

    /// <summary>Waits until the container can run commands.</summary>
    internal async Task WaitAsync()
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                await ExecAsync(Workload.True).ConfigureAwait(false);
                return;
            }
            catch (InvalidOperationException) when (!process.HasExited && Stopwatch.GetElapsedTime(start) < BootTimeout)
            {
                await Task.Delay(100).ConfigureAwait(false);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await HostProgram.RunAsync("runsc", state, "kill", id, "KILL").ConfigureAwait(false);
        await process.WaitForExitAsync().ConfigureAwait(false);
        process.Dispose();
    }
}
