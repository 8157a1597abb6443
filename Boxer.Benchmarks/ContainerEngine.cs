using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>docker or podman of this machine, with the image.</summary>
internal sealed class ContainerEngine : IAsyncDisposable
{
    /// <summary>The name that the image has in the archive that <see cref="FindAsync"/> wants.</summary>
    internal const string Image = "localhost/boxer-bench:3";

    // What they set otherwise is more than some hosts let them.
    private static readonly string[] Limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    private readonly string _program;
    private readonly string[] _options;

    private ContainerEngine(string program, string[] options, string runtime)
    {
        _program = program;
        _options = options;
        Name = $"{program} run with {runtime}";
    }

    /// <summary>What tables call it.</summary>
    internal string Name { get; }

    /// <summary>Looks for them, gives each that works the image, and says of each other why not.</summary>
    /// <param name="archive">The image, as <c>docker save</c> writes it.</param>
    /// <param name="directory">Where podman may keep things; nothing of the user's own is touched.</param>
    internal static async Task<IReadOnlyList<ContainerEngine>> FindAsync(string archive, string directory)
    {
        var found = new List<ContainerEngine>();
        string[] runtime = HostProgram.Exists("runc") ? ["--runtime=runc"] : [];
        foreach ((string program, string[] options, string format) in ((string, string[], string)[])
        [
            // The one of this machine, whatever the environment names.
            ("docker", ["--host=unix:///var/run/docker.sock"], "{{.DefaultRuntime}}"),
            ("podman", [$"--root={directory}/podman", $"--runroot={directory}/podman-run", "--cgroup-manager=cgroupfs", .. runtime], "{{.Host.OCIRuntime.Name}}"),
        ])
        {
            if (!HostProgram.Exists(program))
            {
                AnsiConsole.WriteLine($"{program}: not installed");
                continue;
            }

            try
            {
                string name = await HostProgram.RunAsync(program, [.. options, "info", "--format", format]).ConfigureAwait(false);
                var engine = new ContainerEngine(program, options, name.Trim());
                await HostProgram.RunAsync(program, [.. options, "load", "--quiet", "--input", archive]).ConfigureAwait(false);
                await engine.RunAsync(Workload.Python).ConfigureAwait(false);
                found.Add(engine);
            }
            catch (InvalidOperationException exception)
            {
                AnsiConsole.WriteLine($"{program}: installed, but it does not work here: {exception.Message.Trim()}");
            }
        }

        return found;
    }

    /// <summary>Runs a command in a container of its own, which is removed.</summary>
    internal async Task RunAsync(Workload workload) =>
        workload.Check(await HostProgram.RunAsync(_program, [.. _options, "run", "--network=none", "--rm", .. Limits, Image, .. workload.Command]).ConfigureAwait(false));

    /// <summary>Takes the image away.</summary>
    public async ValueTask DisposeAsync() => await HostProgram.RunAsync(_program, [.. _options, "rmi", "--force", Image]).ConfigureAwait(false);
}
