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
        Cgroup?.Kill();
    }

    /// <summary>What the runtime wrote to standard error and nobody has read.</summary>
    internal unsafe string ReadDiagnostics()
    {
        byte* buffer = stackalloc byte[DiagnosticBytes];
        nint count = Stderr is null ? 0 : Unistd.read(Stderr, buffer, DiagnosticBytes);
        return count > 0 ? Encoding.UTF8.GetString(buffer, (int)count).Trim() : "nothing";
    }

    public async ValueTask DisposeAsync()
    {
        Kill();
        if (Process is not null)
        {
            // The runtime's other processes die with the one that we started (PR_SET_PDEATHSIG).
            await Process.Exited.ConfigureAwait(false);
            Process.Dispose();
        }

        if (Init is not null)
        {
            await Init.DisposeAsync().ConfigureAwait(false);
        }

        foreach (Pipe pipe in _pipes)
        {
            pipe.Dispose();
        }

        if (Cgroup is not null)
        {
            await Cgroup.DisposeAsync().ConfigureAwait(false);
        }
        else
        {
            ProcessTable.KillByArgument(Directory);
        }

        if (System.IO.Directory.Exists(Directory))
        {
            await DeleteAsync().ConfigureAwait(false);
        }
    }

    // A process of the runtime that is about to die may still make a file.
    private async Task DeleteAsync()
    {
        const int Attempts = 20;
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
}
