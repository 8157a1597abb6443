using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Docker or Podman on this machine, with the image loaded.</summary>
internal sealed class ContainerEngine : IAsyncDisposable
{
    /// <summary>Name of the image in the archive for <see cref="FindAsync"/>.</summary>
    internal const string Image = "localhost/boxer-bench:3";

    // The default limits of the engines are higher than some hosts permit.
    private static readonly string[] Limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    private readonly string _program;
    private readonly string[] _options;

    private ContainerEngine(string program, string[] options, string runtime)
    {
        _program = program;
        _options = options;
        Name = $"{program} run with {runtime}";
    }

    /// <summary>Name in tables.</summary>
    internal string Name { get; }

    /// <summary>Finds the working engines and loads the image into them. Prints the reason for each other one.</summary>
    /// <param name="archive">The image, in the format of <c>docker save</c>.</param>
    /// <param name="directory">Directory for the state of Podman, so that the user's own state is not changed.</param>
    internal static async Task<IReadOnlyList<ContainerEngine>> FindAsync(string archive, string directory)
    {
        var found = new List<ContainerEngine>();
        string[] runtime = HostProgram.Exists("runc") ? ["--runtime=runc"] : [];
        foreach ((string program, string[] options, string format) in ((string, string[], string)[])
        [
            // The local daemon, whatever DOCKER_HOST is set to.
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
                AnsiConsole.WriteLine($"{program}: installed, but does not work on this machine: {exception.Message.Trim()}");
            }
        }

        return found;
    }

    /// <summary>Runs a command in a new container, and removes the container.</summary>
    internal async Task RunAsync(Workload workload) =>
        workload.Check(await HostProgram.RunAsync(_program, [.. _options, "run", "--network=none", "--rm", .. Limits, Image, .. workload.Command]).ConfigureAwait(false));

    /// <summary>Removes the image.</summary>
    public async ValueTask DisposeAsync() => await HostProgram.RunAsync(_program, [.. _options, "rmi", "--force", Image]).ConfigureAwait(false);
}
