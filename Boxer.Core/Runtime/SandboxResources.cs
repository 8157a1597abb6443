using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Linux;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Microsoft.Extensions.Logging;

namespace Boxer.Runtime;

/// <summary>Everything that one sandbox has on this host. Disposing removes all of it, also if only a part was created.</summary>
internal sealed class SandboxResources : IAsyncDisposable
{
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private readonly RuntimePrograms _programs;
    private readonly TimeProvider _time;
    private readonly CancellationToken _stopping;

    /// <param name="directory">The directory of the sandbox.</param>
    /// <param name="programs">The executables that its processes run.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">The log.</param>
    /// <param name="stopping">Cancelled when the runner is disposed: a sandbox that does not end is then no longer waited for.</param>
    internal SandboxResources(string directory, RuntimePrograms programs, TimeProvider time, ILogger logger, CancellationToken stopping)
    {
        Directory = directory;
        _programs = programs;
        _time = time;
        Logger = logger;
        _stopping = stopping;
    }

    /// <summary>The directory: bundle, and state of the runtime.</summary>
    internal string Directory { get; }

    /// <summary>The log.</summary>
    internal ILogger Logger { get; }

    /// <summary>The cgroup; <see langword="null"/> if cgroups are ignored.</summary>
    internal Cgroup? Cgroup { get; set; }

    /// <summary>The process of the runtime.</summary>
    internal ChildProcess? Process { get; set; }

    /// <summary>The channel to PID 1.</summary>
    internal InitChannel? Init { get; set; }

    /// <summary>Standard input, output and error of the command, if they were passed at boot; otherwise empty.</summary>
    internal IReadOnlyList<Pipe> Passed { get; set; } = [];

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
            // The disposal tries again, and reports a failure.
        }
    }

    /// <summary>
    /// Removes each part, also if another part cannot be removed. Returns when no process of the sandbox is left, so that its memory and processors are
    /// not promised to others before.
    /// </summary>
    /// <exception cref="AggregateException">Some parts could not be removed; all were tried.</exception>
    public ValueTask DisposeAsync()
    {
        var steps = new CleanupStack();
        steps.Defer(DeleteAsync);
        steps.Defer(() => UntilGoneAsync(() => Cgroup is not null ? Cgroup.DisposeAsync().AsTask() : ProcessTable.EndRuntimeAsync(Directory, _programs.Known(), _time)));
        foreach (Pipe pipe in Passed)
        {
            steps.Push(pipe);
        }

        if (Init is not null)
        {
            steps.Push(Init);
        }

        steps.Defer(async () =>
        {
            if (Process is null)
            {
                Kill();
                return;
            }

            // The runtime's other processes die with the one that we started (PR_SET_PDEATHSIG).
            await UntilGoneAsync(ExitAsync).ConfigureAwait(false);
            Process.Dispose();
        });
        return steps.DisposeAsync();
    }

    private async Task ExitAsync()
    {
        // Each attempt kills: an earlier one may have lacked a free descriptor.
        Task<int> exited = Process!.Exited;
        Kill();
        try
        {
            await exited.WaitAsync(ExitPatience, _time).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            throw new IOException($"The process {Process.Id} of the runtime runs {ExitPatience.TotalSeconds:0} s after it was killed.", exception);
        }
    }

    // A process that waits in the kernel (a disk that does not answer) does not die. Its slot is not released before it is gone. Only a runner that is
    // disposed stops waiting.
    private async Task UntilGoneAsync(Func<Task> end)
    {
        for (bool isLogged = false; ; isLogged = true)
        {
            try
            {
                await end().ConfigureAwait(false);
                return;
            }
            catch (IOException exception) when (!_stopping.IsCancellationRequested)
            {
                if (!isLogged)
                {
                    Log.SandboxStuck(Logger, Directory, exception);
                }
            }

            await Task.Delay(Pause, _time, _stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // A process of the runtime that is about to die may still create a file.
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
}
