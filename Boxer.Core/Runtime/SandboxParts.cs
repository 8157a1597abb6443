using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>What one sandbox has on this host. Disposing gives all of it back, also when only a part was made.</summary>
internal sealed class SandboxParts : IAsyncDisposable
{
    private const int DiagnosticBytes = 4096;
    private readonly List<Pipe> _pipes = [];
    private readonly TimeProvider _time;

    internal SandboxParts(string directory, TimeProvider time)
    {
        Directory = directory;
        _time = time;
    }

    internal string Directory { get; }

    internal Cgroup? Cgroup { get; set; }

    internal ChildProcess? Process { get; set; }

    internal InitChannel? Init { get; set; }

    internal SafeFileHandle? Stdin { get; set; }

    internal SafeFileHandle? Stdout { get; set; }

    internal SafeFileHandle? Stderr { get; set; }

    internal Pipe Own(Pipe pipe)
    {
        _pipes.Add(pipe);
        return pipe;
    }

    /// <summary>Kills everything of the sandbox, without waiting.</summary>
    internal void Kill()
    {
        Process?.Kill();
        try
        {
            Cgroup?.Kill();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Whoever disposes this tries again, and says so.
        }
    }

    /// <summary>What the runtime wrote to standard error and nobody has read.</summary>
    internal unsafe string ReadDiagnostics()
    {
        byte* buffer = stackalloc byte[DiagnosticBytes];
        nint count = Stderr is null ? 0 : Unistd.read(Stderr, buffer, DiagnosticBytes);
        return count > 0 ? Encoding.UTF8.GetString(buffer, (int)count).Trim() : "nothing";
    }

    /// <summary>Each part is given back also where another cannot be.</summary>
    /// <exception cref="AggregateException">Some could not; all were tried.</exception>
    public ValueTask DisposeAsync() => Steps().DisposeAsync();

    /// <summary>Gives everything back while a failure is on its way up.</summary>
    internal ValueTask AbandonAsync() => Steps().AbandonAsync();

    private CleanupStack Steps()
    {
        var steps = new CleanupStack();
        steps.Push(new Step(DeleteAsync));
        steps.Push(new Step(async () =>
        {
            if (Cgroup is not null)
            {
                await Cgroup.DisposeAsync().ConfigureAwait(false);
            }
            else
            {
                ProcessTable.KillByArgument(Directory);
            }
        }));
        foreach (Pipe pipe in _pipes)
        {
            steps.Push(pipe);
        }

        if (Init is not null)
        {
            steps.Push(Init);
        }

        steps.Push(new Step(async () =>
        {
            Kill();
            if (Process is not null)
            {
                // The runtime's other processes die with the one that we started (PR_SET_PDEATHSIG).
                await Process.Exited.ConfigureAwait(false);
                Process.Dispose();
            }
        }));
        return steps;
    }

    // A process of the runtime that is about to die may still make a file.
    private async Task DeleteAsync()
    {
        const int Attempts = 20;
        if (!System.IO.Directory.Exists(Directory))
        {
            return;
        }

        for (int attempt = 1; ; attempt++)
        {
            try
            {
                System.IO.Directory.Delete(Directory, recursive: true);
                return;
            }
            catch (IOException) when (attempt < Attempts)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(10), _time).ConfigureAwait(false);
            }
        }
    }

    private sealed class Step(Func<Task> action) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync() => await action().ConfigureAwait(false);
    }
}
