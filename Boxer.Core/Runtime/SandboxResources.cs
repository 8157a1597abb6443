using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Linux;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>What one sandbox has on this host. Disposing gives all of it back, also when only a part was made.</summary>
internal sealed class SandboxResources : IAsyncDisposable
{
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private readonly List<Pipe> _pipes = [];
    private readonly RuntimePrograms _programs;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationToken _stopping;

    /// <param name="directory">Its directory.</param>
    /// <param name="programs">The executables that its processes run.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Is told if it cannot be ended.</param>
    /// <param name="stopping">Says that its end is not to be waited for without end any more.</param>
    internal SandboxResources(string directory, RuntimePrograms programs, TimeProvider time, ILogger logger, CancellationToken stopping)
    {
        Directory = directory;
        _programs = programs;
        _time = time;
        _logger = logger;
        _stopping = stopping;
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

    /// <summary>
    /// Each part is given back also where another cannot be. It returns when nothing of the sandbox runs any more, so that what it uses is
    /// not promised to others.
    /// </summary>
    /// <exception cref="AggregateException">Some could not; all were tried.</exception>
    public ValueTask DisposeAsync()
    {
        var steps = new CleanupStack();
        steps.Push(new Step(DeleteAsync));
        steps.Push(new Step(() => UntilGoneAsync(() => Cgroup is not null ? Cgroup.DisposeAsync().AsTask() : ProcessTable.EndRuntimeAsync(Directory, _programs.Known(), _time))));
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
                await UntilGoneAsync(ExitAsync).ConfigureAwait(false);
                Process.Dispose();
            }
        }));
        return steps.DisposeAsync();
    }

    private async Task ExitAsync()
    {
        try
        {
            await Process!.Exited.WaitAsync(ExitPatience, _time).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            Kill();
            throw new IOException($"The process {Process!.Id} of the runtime runs {ExitPatience.TotalSeconds:0} s after it was killed.", exception);
        }
    }

    // A process that the kernel holds (a disk that does not answer) does not die. Its place is not given to others before it is gone, except
    // that a runner which is disposed goes without it.
    private async Task UntilGoneAsync(Func<Task> end)
    {
        for (bool isTold = false; ; isTold = true)
        {
            try
            {
                await end().ConfigureAwait(false);
                return;
            }
            catch (IOException exception) when (!_stopping.IsCancellationRequested)
            {
                if (!isTold)
                {
                    Log.SandboxStuck(_logger, Directory, exception);
                }
            }

            await Task.Delay(Pause, _time, _stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
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
