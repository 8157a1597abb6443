using System.Runtime.CompilerServices;
using Boxer.Inputs;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>
/// A booted sandbox whose PID 1 waits for work. It serves one run, then its parts are disposed; cold and pooled ones are the same.
/// </summary>
internal sealed class Sandbox
{
    // A command that runs on is the operator's mistake, or an image that does not want it.
    private static readonly TimeSpan WarmUpTimeout = TimeSpan.FromSeconds(10);

    // Minimum time for the hand-over. The wall clock restarts when the command starts.
    private static readonly TimeSpan HandOverPatience = TimeSpan.FromSeconds(10);

    // After a kill PID 1 has only to reap and to report; a sandbox that takes longer is destroyed.
    private static readonly TimeSpan KillGrace = TimeSpan.FromSeconds(2);

    // What prints without end ends soon, though then its files go with the sandbox.
    private static readonly TimeSpan FloodGrace = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan OutputsTimeout = TimeSpan.FromSeconds(60);
    private const string Destroyed = "The sandbox was destroyed before its files were out.";
    private readonly SandboxResources _parts;
    private readonly DescriptorPoller _poller;
    private readonly TimeProvider _time;

    // The property of the request that is being sent.
    private string? _field;

    internal Sandbox(SandboxResources parts, DescriptorPoller poller, TimeProvider time)
    {
        _parts = parts;
        _poller = poller;
        _time = time;
    }

    private InitChannel Init => _parts.Init!;

    /// <summary>Whether the command was started: until then another sandbox can stand in for this one.</summary>
    internal bool HasStarted { get; private set; }

    /// <summary>Whether PID 1 was told to start the command, which may have run before anything was heard of it.</summary>
    internal bool MayHaveStarted { get; private set; }

    /// <summary>
    /// Whether it still waits: its process has not ended, PID 1 has said nothing and not hung up, and the kernel has killed nothing in it for want
    /// of memory or refused it a process or thread, which what is frozen does not show.
    /// </summary>
    internal bool IsAlive => !_parts.Process!.Exited.IsCompleted && Init.IsSilent && (_parts.Cgroup?.ReadOutOfMemory() ?? OutOfMemory.None) == OutOfMemory.None
        && _parts.Cgroup?.ReadRefusedForks() is null or 0;

    /// <summary>The most memory that it was charged with until now, page cache too; <see langword="null"/> where this host does not say.</summary>
    internal long? ReadPeakCharge() => _parts.Cgroup?.ReadPeakCharge();

    /// <summary>The memory that it has now without page cache; <see langword="null"/> where this host does not say.</summary>
    internal long? ReadMemory() => _parts.Cgroup?.ReadMemory();

    /// <summary>Makes it take no processor time until <see cref="Thaw"/>. Without a freezer it goes on waiting.</summary>
    internal void Freeze() => _parts.Cgroup?.Freeze();

    /// <summary>Ends everything in it at once.</summary>
    internal void Kill() => _parts.Kill();

    /// <summary>Makes it go on.</summary>
    internal void Thaw() => _parts.Cgroup?.Thaw();

    /// <summary>Has a command run before the wait, within the limits of the work, so that the sandbox's kernel has seen it. How it ends does not matter.</summary>
    /// <param name="work">The command; its files, input and outputs are left out.</param>
    /// <param name="cancellationToken">Gives up; the sandbox is of no use after.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke, or the command did not end in time.</exception>
    internal async Task WarmUpAsync(CommandPlan work, CancellationToken cancellationToken)
    {
        _parts.Cgroup?.Apply(work.Cgroup);
        using var deadline = new CancellationTokenSource(WarmUpTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await Init.WarmUpAsync(InitEncoder.ToWarmUp(work.Frame), either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new SandboxRuntimeException($"The warm-up did not end within {WarmUpTimeout.TotalSeconds:0} s.", exception);
        }
        catch (Exception exception) when (exception is InitProtocolException or EndOfStreamException)
        {
            throw new SandboxRuntimeException($"The warm-up failed: {exception.Message}", exception);
        }
    }

    /// <summary>Hands the work over and sees it to its end.</summary>
    /// <param name="work">The work.</param>
    /// <param name="processors">The processors that the command is promised; given back when it has ended.</param>
    /// <param name="onStarted">Is called when the command runs.</param>
    /// <param name="onOutput">Is given what the command prints.</param>
    /// <param name="killing">Destroys the sandbox at once.</param>
    /// <param name="cancellationToken">Destroys the sandbox, after the grace of the work where its command runs.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke before the command ran.</exception>
    internal async Task<CommandOutcome> RunAsync(
        CommandPlan work,
        IDisposable processors,
        Action onStarted,
        Action<SandboxStream, ReadOnlyMemory<byte>> onOutput,
        CancellationToken killing,
        CancellationToken cancellationToken)
    {
        _parts.Cgroup?.Apply(work.Cgroup);
        _parts.Cgroup?.SetCpuWeight(Cgroup.CommandWeight);
        using OutOfMemoryMonitor? memory = _parts.Cgroup is null ? null : new OutOfMemoryMonitor(_parts.Cgroup, _poller, _time);
        TimeSpan wallClock = work.Limits.WallClock!.Value;
        TimeSpan startPatience = wallClock > HandOverPatience ? wallClock : HandOverPatience;
        using var clock = new CancellationTokenSource(startPatience, _time);
        using var progress = new Progress(() =>
        {
            clock.CancelAfter(wallClock);
            HasStarted = true;
            onStarted();
        });
        using var stdin = new InputWriter(_poller, _parts.Stdin!, _time);
        using OutputReader stdout = Reader(_parts.Stdout!, SandboxStream.StandardOutput);
        using OutputReader stderr = Reader(_parts.Stderr!, SandboxStream.StandardError);
        var usage = new UsageMonitor(_parts.Cgroup, work.Limits.CpuTime, work.Cgroup.CpuCores, _time);
        await using ConfiguredAsyncDisposable watched = usage.ConfigureAwait(false);
        DateTimeOffset handedOverAt = _time.GetUtcNow();
        long start = _time.GetTimestamp();
        using var destroyed = new CancellationTokenSource();
        using CancellationTokenRegistration kill = killing.UnsafeRegister(_ => Destroy(), null);
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        bool hasGrace = work.StopGrace > TimeSpan.Zero;
        using CancellationTokenRegistration cancel = cancellationToken.UnsafeRegister(_ => CancelRun(), null);
        stdout.Start();
        stderr.Start();
        Task input = work.StdinStream is { } stream ? CopyInputAsync(stream) : stdin.WriteAsync(work.Stdin);

        Task<InitEvent> command = ConverseAsync(work, usage, progress, destroyed.Token);
        (Task?, TerminationKind)[] limits =
        [
            (memory?.Killed, TerminationKind.MemoryLimit),
            (stdout.Exceeded, TerminationKind.OutputLimit),
            (stderr.Exceeded, TerminationKind.OutputLimit),
            (usage.CpuExceeded, TerminationKind.CpuTimeLimit),
            (usage.ForkRefused, TerminationKind.PidsLimit),
            (AsTask(destroyed.Token), TerminationKind.SandboxDied),
            (FaultOf(input), TerminationKind.SandboxDied),
        ];
        TerminationKind? stopped = await WaitAsync(
            command, [.. limits, (AsTask(clock.Token), TerminationKind.WallClockLimit), (asked.Task, TerminationKind.WallClockLimit)]).ConfigureAwait(false);
        bool isAsked = stopped == TerminationKind.WallClockLimit && hasGrace && progress.Started;
        if (isAsked)
        {
            await AskToEndAsync(work, command, limits, destroyed.Token).ConfigureAwait(false);
        }

        hasGrace = false;
        InitEvent end = stopped is null || (isAsked && command.IsCompleted) ? await command.ConfigureAwait(false) : await StopAsync(command, stopped.Value, work.Cgroup.CpuCores, destroyed).ConfigureAwait(false);
        progress.Dispose();
        processors.Dispose();
        SandboxUsage used = await ReadUsageAsync(end, usage).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        if (input is { IsFaulted: true, Exception.InnerException: { } unreadable })
        {
            throw new InvalidSandboxRequestException(nameof(SandboxRequest.StandardInputStream), "it cannot be read.", unreadable.Message, unreadable);
        }

        TimeSpan runTime = _time.GetElapsedTime(start);

        var outputs = new OutputFiles(work.Outputs);
        try
        {
            using WorkspaceChanges? changes = work.Start.ChangeEntries > 0 ? new WorkspaceChanges(work.Workspace!.Path.Text, work.Start.ChangeBytes) : null;
            if (end is InitEnded)
            {
                await ReceiveFilesAsync(outputs, changes, memory, cancellationToken).ConfigureAwait(false);
            }
            else if (progress.Started)
            {
                await outputs.GiveUpAsync(Destroyed).ConfigureAwait(false);
                if (changes is not null)
                {
                    await changes.GiveUpAsync(Destroyed).ConfigureAwait(false);
                }
            }

            changes?.Complete();

            TimeSpan outputsTime = _time.GetElapsedTime(start) - runTime;
            OutOfMemory outOfMemory = _parts.Cgroup?.ReadOutOfMemory() ?? OutOfMemory.None;
            await DrainAsync().ConfigureAwait(false);
            if (outOfMemory != OutOfMemory.None)
            {
                stopped = outOfMemory == OutOfMemory.OwnLimit ? TerminationKind.MemoryLimit : TerminationKind.SandboxDied;
            }
            else if (usage.ForkRefused.IsCompleted && (stopped is not null || end is not InitEnded))
            {
                // A command that came to its end nevertheless did without. One that has not started may have another sandbox.
                stopped = usage.IsOwnPidsLimit && progress.Started ? TerminationKind.PidsLimit : TerminationKind.SandboxDied;
            }
            else if (stopped is null && (stdout.Exceeded.IsCompleted || stderr.Exceeded.IsCompleted))
            {
                stopped = TerminationKind.OutputLimit;
            }
            else if (stopped is null && end is InitEnded && used.Cpu >= work.Limits.CpuTime)
            {
                // Reached between two samples. Without cgroups: RLIMIT_CPU, or children that have ended.
                stopped = TerminationKind.CpuTimeLimit;
            }

            if (stopped == TerminationKind.WallClockLimit && !progress.Started)
            {
                string patience = $"{startPatience.TotalSeconds:0.###} s";
                throw _field is { } field
                    ? new InvalidSandboxRequestException(field, $"its content did not come within {patience}.")
                    : new SandboxRuntimeException($"The command did not start within {patience} of its hand-over.");
            }

            if (stopped is null && end is InitClosed or InitFault && !progress.Started)
            {
                throw new SandboxRuntimeException(end is InitFault fault
                    ? $"The sandbox could not be prepared: {fault.Stage} (errno {fault.Errno})."
                    : "The sandbox ended before the command ran.");
            }

            return new CommandOutcome(
                Terminations.From(stopped, end, work),
                stdout.Kept,
                stderr.Kept,
                outputs,
                changes,
                used,
                handedOverAt,
                runTime,
                outputsTime,
                _time.GetElapsedTime(start) - runTime - outputsTime);
        }
        catch
        {
            // Nobody will be told where they are.
            await outputs.DiscardAsync().ConfigureAwait(false);
            throw;
        }

        async Task DrainAsync()
        {
            // What the command printed is in the pipes, and after a report of PID 1 nobody is left to print.
            bool isReported = end is InitEnded;
            if (!isReported)
            {
                _parts.Kill();
            }

            if (end is InitClosed)
            {
                // One that does not die prints no more either; whoever disposes it waits on.
                await Task.WhenAny(_parts.Process!.Exited, Task.Delay(ExitPatience, _time, cancellationToken)).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
            }

            stdout.StopWhenDrained();
            stderr.StopWhenDrained();
            Task drained = Task.WhenAll(stdout.Completion, stderr.Completion);
            if (isReported && !drained.IsCompleted && await Task.WhenAny(drained, Task.Delay(KillGrace, _time, cancellationToken)).ConfigureAwait(false) != drained)
            {
                // Somebody prints on.
                _parts.Kill();
            }

            await drained.WaitAsync(cancellationToken).ConfigureAwait(false);
            stdin.Dispose();
            await input.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        // A sandbox that died before its command started may be replaced, and the stream is read once.
        async Task CopyInputAsync(Stream source)
        {
            await progress.Told.ConfigureAwait(false);
            if (progress.Started)
            {
                await stdin.CopyAsync(source).ConfigureAwait(false);
            }
        }

        void CancelRun()
        {
            if (hasGrace && progress.Started)
            {
                asked.TrySetResult();
            }
            else
            {
                Destroy();
            }
        }

        void Destroy()
        {
            _parts.Kill();
            destroyed.Cancel();
        }

        OutputReader Reader(SafeFileHandle pipe, SandboxStream stream) => new(
            _poller,
            pipe,
            work.Limits.StandardOutputBytes!.Value,
            data => progress.AfterStartAsync(() => onOutput(stream, data)),
            keeps: work.KeepsPrinted);
    }

    /// <summary>Start, files, go, and what comes until the command is over.</summary>
    private async Task<InitEvent> ConverseAsync(CommandPlan work, UsageMonitor usage, Progress progress, CancellationToken cancellationToken)
    {
        try
        {
            await Init.StartAsync(work.Start, work.Frame, cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < work.Files.Count; i++)
            {
                SandboxFile file = work.Files[i];
                _field = $"Files[{i}]";
                Stream content = await OpenAsync(file, i, cancellationToken).ConfigureAwait(false);
                await using (content.ConfigureAwait(false))
                {
                    await SendAsync(file, i, content, cancellationToken).ConfigureAwait(false);
                }
            }

            await FillWorkspaceAsync(work.Workspace, cancellationToken).ConfigureAwait(false);
            _field = null;
            usage.StartCount();
            MayHaveStarted = true;
            await Init.GoAsync(cancellationToken).ConfigureAwait(false);
            while (true)
            {
                InitEvent message = await Init.ReadEventAsync(cancellationToken).ConfigureAwait(false);
                if (message is not InitStarted)
                {
                    return message;
                }

                progress.Start();
            }
        }
        catch (InitProtocolException) when (progress.Started)
        {
            // Before the command ran nobody but our own program spoke; after, it is the guest's doing.
            return new InitClosed();
        }
        catch (OperationCanceledException)
        {
            return new InitClosed();
        }
    }

    private async Task FillWorkspaceAsync(CheckedWorkspace? workspace, CancellationToken cancellationToken)
    {
        if (workspace is null)
        {
            return;
        }

        using var sender = new WorkspaceSender(workspace, Init, _time.GetUtcNow(), field => _field = field);
        await sender.SendAsync(cancellationToken).ConfigureAwait(false);
    }

    // The socket to PID 1 fails with other exceptions, so this one is of the content.
    private async Task SendAsync(SandboxFile file, int index, Stream content, CancellationToken cancellationToken)
    {
        try
        {
            await Init.SendFileAsync("/" + file.Path, file.Executable, content, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is (IOException or UnauthorizedAccessException) and not EndOfStreamException)
        {
            throw Unreadable(index, exception);
        }
    }

    private static InvalidSandboxRequestException Unreadable(int index, Exception exception) =>
        new($"Files[{index}]", "its content cannot be read.", exception.Message, exception);

    private static async ValueTask<Stream> OpenAsync(SandboxFile file, int index, CancellationToken cancellationToken)
    {
        try
        {
            return await file.OpenReadAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(index, exception);
        }
    }

    /// <returns>Why the command must be stopped, or <see langword="null"/> when it ended first.</returns>
    private static async Task<TerminationKind?> WaitAsync(Task command, (Task? Task, TerminationKind Kind)[] reasons)
    {
        Task first = await Task.WhenAny([command, .. reasons.Select(reason => reason.Task).OfType<Task>()]).ConfigureAwait(false);
        return first == command ? null : reasons.First(reason => reason.Task == first).Kind;
    }

    /// <summary>Until the command is over, its grace is, or one of the limits is reached.</summary>
    private async Task AskToEndAsync(CommandPlan work, Task<InitEvent> command, (Task? Task, TerminationKind Kind)[] limits, CancellationToken cancellationToken)
    {
        try
        {
            await Init.SignalAsync(work.StopSignal, cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return;
        }

        using var grace = new CancellationTokenSource(work.StopGrace, _time);
        await WaitAsync(command, [.. limits, (AsTask(grace.Token), TerminationKind.WallClockLimit)]).ConfigureAwait(false);
    }

    private async Task<InitEvent> StopAsync(Task<InitEvent> command, TerminationKind reason, double cores, CancellationTokenSource destroyed)
    {
        // A sandbox that the kernel killed in, or refused a thread, has lost some part; its PID 1 may be stuck.
        if (reason is not (TerminationKind.MemoryLimit or TerminationKind.PidsLimit or TerminationKind.SandboxDied))
        {
            RaiseCpu(cores);
            using var grace = new CancellationTokenSource(reason == TerminationKind.OutputLimit ? FloodGrace : KillGrace, _time);
            try
            {
                await Init.KillAsync(grace.Token).ConfigureAwait(false);
                return await command.WaitAsync(grace.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                // Destroyed below.
            }
        }

        _parts.Kill();
        await destroyed.CancelAsync().ConfigureAwait(false);
        try
        {
            return await command.WaitAsync(KillGrace, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // The content of a file is read that does not heed its token. Whatever comes of it, nobody needs it any more.
            _ = command.ContinueWith(static late => _ = late.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            return new InitClosed();
        }
    }

    // So that PID 1 gets its turn among whatever the command has running.
    private void RaiseCpu(double cores)
    {
        try
        {
            if (cores < 1)
            {
                _parts.Cgroup?.SetCpu(1);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A cgroup above may have less.
        }
    }

    // If receiving the outputs fails, the changes are lost too: they follow on the same socket.
    private async Task ReceiveFilesAsync(OutputFiles outputs, WorkspaceChanges? changes, OutOfMemoryMonitor? memory, CancellationToken cancellationToken)
    {
        bool isWhole = await ReceiveAsync(outputs, memory, cancellationToken).ConfigureAwait(false);
        if (changes is not null && isWhole)
        {
            await ReceiveAsync(changes, memory, cancellationToken).ConfigureAwait(false);
        }
        else if (changes is not null)
        {
            await changes.GiveUpAsync("The files under /output were not all out.").ConfigureAwait(false);
        }
    }

    /// <returns>Whether all came.</returns>
    private async Task<bool> ReceiveAsync(IFileReceiver receiver, OutOfMemoryMonitor? memory, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(OutputsTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        _ = memory?.Killed.ContinueWith(_ => _parts.Kill(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        try
        {
            while (true)
            {
                InitEvent message = await Init.ReadEventAsync(either.Token).ConfigureAwait(false);
                if (message is InitOutputDone)
                {
                    return true;
                }

                if (message is InitClosed or InitFault)
                {
                    await receiver.GiveUpAsync("The sandbox ended before all files were out.").ConfigureAwait(false);
                    return false;
                }

                await receiver.AcceptAsync(message, either.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            await receiver.GiveUpAsync($"They were not all out within {OutputsTimeout.TotalSeconds:0} s.").ConfigureAwait(false);
        }
        catch (InitProtocolException exception)
        {
            await receiver.GiveUpAsync(exception.Message).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The run itself came to its end.
            await receiver.FailAsync(exception).ConfigureAwait(false);
        }

        return false;
    }

    private static async Task<SandboxUsage> ReadUsageAsync(InitEvent end, UsageMonitor usage)
    {
        (TimeSpan? cpu, long? peakMemoryBytes) = await usage.StopAsync().ConfigureAwait(false);
        var ended = end as InitEnded;
        return new SandboxUsage
        {
            CommandCpu = ended?.UserCpu + ended?.SystemCpu,
            SandboxCpu = cpu,
            PeakMemoryBytes = peakMemoryBytes,
            MaxResidentBytes = ended?.MaxResidentBytes is > 0 and { } bytes ? bytes : null,
        };
    }

    // Completes only if the task fails.
    private static Task FaultOf(Task task)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = task.ContinueWith(
            failed =>
            {
                _ = failed.Exception;
                source.TrySetResult();
            },
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted,
            TaskScheduler.Default);
        return source.Task;
    }

    private static Task AsTask(CancellationToken token)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        token.UnsafeRegister(static state => ((TaskCompletionSource)state!).TrySetResult(), source);
        return source.Task;
    }

    /// <summary>Keeps what the command prints behind the news that it started: they come by different ways.</summary>
    private sealed class Progress(Action onStarted) : IDisposable
    {
        private readonly TaskCompletionSource _told = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool Started { get; private set; }

        /// <summary>Completes when the command has started, or nothing more is to be waited for.</summary>
        public Task Told => _told.Task;

        public void Start()
        {
            Started = true;
            onStarted();
            _told.TrySetResult();
        }

        public async ValueTask AfterStartAsync(Action action)
        {
            await _told.Task.ConfigureAwait(false);
            action();
        }

        /// <summary>Nothing more is to be waited for.</summary>
        public void Dispose() => _told.TrySetResult();
    }
}
