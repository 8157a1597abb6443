using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;

namespace Boxer.Testing;

/// <summary>
/// A process of a <see cref="FakeSandboxSession"/>. It lives until the test or a signal ends it. All its output is kept, without a bound.
/// </summary>
public sealed class FakeSandboxProcess : ISandboxProcess
{
    private const int Kill = 9;

    // SIGHUP, SIGINT, SIGKILL and SIGTERM.
    private static readonly int[] EndingSignals = [1, 2, Kill, 15];
    private readonly Lock _lock = new();
    private readonly List<SandboxProcessOutput> _output = [];
    private readonly List<int> _signals = [];
    private readonly Pipe _input = new(new PipeOptions(pauseWriterThreshold: 0, useSynchronizationContext: false));
    private readonly TaskCompletionSource<SandboxProcessEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private SandboxTerminal? _terminal;
    private long _offset;

    internal FakeSandboxProcess(int id, SandboxCommand request, DateTimeOffset startedAt)
    {
        Id = id;
        Request = request;
        Command = [.. request.Command];
        StartedAt = startedAt;
        _terminal = request.Terminal;
        Input = _input.Writer.AsStream();
        ReceivedInput = _input.Reader.AsStream();
    }

    /// <summary>A copy of the command that started the process.</summary>
    public SandboxCommand Request { get; }

    /// <inheritdoc/>
    public int Id { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Command { get; }

    /// <inheritdoc/>
    public bool IsTerminal => Request.Terminal is not null;

    /// <inheritdoc/>
    public DateTimeOffset StartedAt { get; }

    /// <inheritdoc/>
    public SandboxProcessEnd? End => _end.Task.IsCompletedSuccessfully ? _end.Task.Result : null;

    /// <inheritdoc/>
    public Stream Input { get; }

    /// <summary>The bytes that were written to <see cref="Input"/>, for the test to read. It ends when <see cref="Input"/> is disposed.</summary>
    public Stream ReceivedInput { get; }

    /// <summary>The size of the terminal; <see langword="null"/> if the process has none.</summary>
    public SandboxTerminal? Terminal
    {
        get
        {
            lock (_lock)
            {
                return _terminal;
            }
        }
    }

    /// <summary>The signals so far, in their order.</summary>
    public IReadOnlyList<int> Signals
    {
        get
        {
            lock (_lock)
            {
                return [.. _signals];
            }
        }
    }

    /// <summary>
    /// The reaction of the process to a signal.
    /// <value>Default <see langword="null"/>: SIGHUP, SIGINT, SIGTERM and SIGKILL end it as <see cref="TerminationKind.Signaled"/>, others do nothing.</value>
    /// SIGKILL ends it in any case.
    /// </summary>
    public Action<FakeSandboxProcess, int>? OnSignal { get; set; }

    /// <summary>Prints text to standard output, as UTF-8. Does nothing after the end.</summary>
    /// <param name="text">The text.</param>
    public void Print(string text) => Print(SandboxStream.StandardOutput, text);

    /// <summary>Prints text, as UTF-8. Does nothing after the end.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="text">The text.</param>
    public void Print(SandboxStream stream, string text) => Print(stream, Encoding.UTF8.GetBytes(text));

    /// <summary>Prints bytes. Does nothing after the end.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="data">The bytes; not copied.</param>
    public void Print(SandboxStream stream, ReadOnlyMemory<byte> data)
    {
        lock (_lock)
        {
            if (!data.IsEmpty && End is null)
            {
                _output.Add(new SandboxProcessOutput(_offset, stream, data));
                _offset += data.Length;
                Notify();
            }
        }
    }

    /// <summary>Ends the process with an exit code. Does nothing if it has ended.</summary>
    /// <param name="code">The exit code, 0 to 255.</param>
    public void Exit(int code = 0) => EndWith(new SandboxProcessEnd(Termination.Exited(code)));

    /// <summary>Ends the process. Does nothing if it has ended.</summary>
    /// <param name="end">How it ends.</param>
    public void EndWith(SandboxProcessEnd end)
    {
        ArgumentNullException.ThrowIfNull(end);
        lock (_lock)
        {
            if (_end.TrySetResult(end))
            {
                Notify();
            }
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<SandboxProcessEvent> EventsAsync(
        long fromOffset = 0, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(fromOffset);
        long next = fromOffset;
        while (true)
        {
            SandboxProcessOutput[] output;
            Task changed;
            SandboxProcessEnd? end;
            lock (_lock)
            {
                output = [.. _output.Where(item => item.EndOffset > next)];
                changed = _changed.Task;
                end = End;
            }

            foreach (SandboxProcessOutput item in output)
            {
                cancellationToken.ThrowIfCancellationRequested();
                int skipped = (int)Math.Max(0, next - item.Offset);
                yield return new SandboxProcessOutput(item.Offset + skipped, item.Stream, item.Data[skipped..]);
                next = item.EndOffset;
            }

            if (end is not null)
            {
                yield return new SandboxProcessEnded(end);
                yield break;
            }

            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Records a signal and does what <see cref="OnSignal"/> says. Does nothing if the process has ended.</summary>
    /// <param name="signal">The number of the signal, 1 to 64.</param>
    /// <param name="cancellationToken">Cancels the signal.</param>
    public Task SignalAsync(int signal, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, 64);
        cancellationToken.ThrowIfCancellationRequested();
        if (End is not null)
        {
            return Task.CompletedTask;
        }

        lock (_lock)
        {
            _signals.Add(signal);
        }

        OnSignal?.Invoke(this, signal);
        if (signal == Kill || (OnSignal is null && EndingSignals.Contains(signal)))
        {
            EndWith(new SandboxProcessEnd(Termination.Signaled(signal)));
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(size);
        cancellationToken.ThrowIfCancellationRequested();
        lock (_lock)
        {
            _terminal = _terminal is not null ? size : throw new InvalidOperationException("The process has no terminal.");
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<SandboxProcessEnd> WaitAsync(CancellationToken cancellationToken = default) => _end.Task.WaitAsync(cancellationToken);

    /// <summary>Ends the process as <see cref="TerminationKind.Signaled"/> with SIGKILL.</summary>
    public ValueTask DisposeAsync()
    {
        EndWith(new SandboxProcessEnd(Termination.Signaled(Kill)));
        return ValueTask.CompletedTask;
    }

    private void Notify()
    {
        TaskCompletionSource changed = _changed;
        _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.SetResult();
    }
}
