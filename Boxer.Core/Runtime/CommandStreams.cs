using System.Runtime.InteropServices;
using Boxer.Common;
using Boxer.Processes;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Standard input, output and error of one command, on the host's side.</summary>
internal sealed class CommandStreams
{
    private readonly StreamPlan _plan;
    private readonly StartGate _gate;
    private readonly Pipe[] _pipes;
    private readonly InputWriter _stdin;
    private readonly OutputReader _stdout;
    private readonly OutputReader _stderr;

    /// <param name="held">Takes over the streams, also if a later one cannot be opened.</param>
    /// <param name="passed">Pipes that the runtime passed at boot; empty: new ones are made.</param>
    /// <param name="plan">The input, and the limit of the output.</param>
    /// <param name="gate">Holds back the output, and the input stream, until the command has started.</param>
    /// <param name="onOutput">Receives the output.</param>
    /// <param name="poller">Waits for the pipes.</param>
    /// <param name="time">The clock.</param>
    internal CommandStreams(
        CleanupStack held,
        IReadOnlyList<Pipe> passed,
        StreamPlan plan,
        StartGate gate,
        Action<SandboxStream, ReadOnlyMemory<byte>> onOutput,
        DescriptorPoller poller,
        TimeProvider time)
    {
        _plan = plan;
        _gate = gate;
        _pipes = passed.Count > 0 ? [.. passed] :
            [held.Push(Pipe.ForWriting(plan.Owner)), held.Push(Pipe.ForReading(plan.Owner)), held.Push(Pipe.ForReading(plan.Owner))];
        Guest = passed.Count > 0 ? [] : [.. _pipes.Select(pipe => pipe.Theirs)];
        _stdin = held.Push(new InputWriter(poller, _pipes[0].Ours, time));
        _stdout = held.Push(Reader(_pipes[1].Ours, SandboxStream.StandardOutput));
        _stderr = held.Push(Reader(_pipes[2].Ours, SandboxStream.StandardError));

        OutputReader Reader(SafeFileHandle pipe, SandboxStream stream) => new(
            poller, pipe, plan.OutputLimit, data => ForwardAsync(stream, data), keeps: plan.KeepsOutput);

        async ValueTask ForwardAsync(SandboxStream stream, ReadOnlyMemory<byte> data)
        {
            await gate.Opened.ConfigureAwait(false);
            if (gate.HasStarted)
            {
                onOutput(stream, data);
            }
        }
    }

    /// <summary>The command's ends of the pipes, to send with START; empty if the runtime passed them at boot.</summary>
    internal IReadOnlyList<SafeHandle> Guest { get; }

    /// <summary>Completes when the input was written, or the command reads no more. Fails if the caller's input stream cannot be read.</summary>
    internal Task Input { get; private set; } = Task.CompletedTask;

    /// <summary>Completes when standard output is over its limit; otherwise never.</summary>
    internal Task StdoutExceeded => _stdout.Exceeded;

    /// <summary>Completes when standard error is over its limit; otherwise never.</summary>
    internal Task StderrExceeded => _stderr.Exceeded;

    /// <summary>Standard output, if the plan keeps it and the command started; complete after <see cref="DrainAsync"/>.</summary>
    internal ReadOnlyMemory<byte> Stdout => _gate.HasStarted ? _stdout.Kept : default;

    /// <summary>Standard error, if the plan keeps it and the command started; complete after <see cref="DrainAsync"/>.</summary>
    internal ReadOnlyMemory<byte> Stderr => _gate.HasStarted ? _stderr.Kept : default;

    /// <summary>Closes this process's copies of <see cref="Guest"/>, once they are sent.</summary>
    internal void CloseGuest()
    {
        foreach (SafeHandle descriptor in Guest)
        {
            descriptor.Dispose();
        }
    }

    /// <summary>Starts to read and write.</summary>
    internal void Start()
    {
        _stdout.Start();
        _stderr.Start();
        Input = _plan.StdinStream is { } stream ? CopyInputAsync(stream) : _stdin.WriteAsync(_plan.Stdin);
    }

    /// <summary>Reads what is in the pipes to the end.</summary>
    /// <param name="most">Maximum number of bytes of each, for pipes that others may still write to.</param>
    internal Task DrainAsync(long most = long.MaxValue)
    {
        _stdout.StopWhenDrained(most);
        _stderr.StopWhenDrained(most);
        return Task.WhenAll(_stdout.Completion, _stderr.Completion);
    }

    /// <summary>Stops reading at once. What is in the pipes is lost.</summary>
    internal Task AbandonAsync()
    {
        _stdout.Abandon();
        _stderr.Abandon();
        return Task.WhenAll(_stdout.Completion, _stderr.Completion);
    }

    /// <summary>Stops writing the input.</summary>
    internal async Task CloseInputAsync()
    {
        _stdin.Dispose();
        await Input.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    // The stream can be read only once. A sandbox that died before its command started may be replaced, and must not have read from it.
    private async Task CopyInputAsync(Stream source)
    {
        await _gate.Opened.ConfigureAwait(false);
        if (_gate.HasStarted)
        {
            await _stdin.CopyAsync(source).ConfigureAwait(false);
        }
    }
}

/// <summary>The input of a command, and what becomes of its output.</summary>
/// <param name="Stdin">Standard input.</param>
/// <param name="StdinStream">Standard input that comes while the command runs; <see langword="null"/>: <paramref name="Stdin"/>.</param>
/// <param name="OutputLimit">Maximum of standard output, and of standard error, in bytes.</param>
/// <param name="KeepsOutput">Whether standard output and error are kept for the result.</param>
/// <param name="Owner">The user of the command, who may open its streams by name.</param>
internal sealed record StreamPlan(ReadOnlyMemory<byte> Stdin, Stream? StdinStream, long OutputLimit, bool KeepsOutput, uint Owner);
