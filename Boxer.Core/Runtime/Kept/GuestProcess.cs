using System.Runtime.CompilerServices;
using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>A process of a kept sandbox whose streams PID 1 relays.</summary>
internal sealed class GuestProcess : IGuestProcess
{
    private readonly SessionProcess _process;
    private readonly bool _hasTerminal;

    /// <param name="process">The process in the channel.</param>
    /// <param name="hasTerminal">Whether it has a terminal.</param>
    /// <param name="ended">Its end; never fails.</param>
    internal GuestProcess(SessionProcess process, bool hasTerminal, Task<ExecEnd> ended)
    {
        _process = process;
        _hasTerminal = hasTerminal;
        Ended = ended;
        Input = new GuestInput(process.Input!);
    }

    /// <inheritdoc/>
    public int Id => _process.Id;

    /// <inheritdoc/>
    public Stream Input { get; }

    /// <inheritdoc/>
    public Task<ExecEnd> Ended { get; }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GuestOutput> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (true)
        {
            (SessionStream stream, ReadOnlyMemory<byte> data) = await _process.Output!.ReadAsync(cancellationToken).ConfigureAwait(false);
            if (data.IsEmpty)
            {
                yield break;
            }

            yield return new GuestOutput(stream == SessionStream.Error ? SandboxStream.StandardError : SandboxStream.StandardOutput, data);
        }
    }

    /// <inheritdoc/>
    public Task SignalAsync(int signal, bool wholeSession, CancellationToken cancellationToken) => _process.SignalAsync(signal, wholeSession, cancellationToken);

    /// <inheritdoc/>
    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken) => _hasTerminal
        ? _process.ResizeAsync(size.Columns, size.Rows, cancellationToken)
        : throw new InvalidOperationException("The process has no terminal.");

    /// <inheritdoc/>
    public Task KillAsync(CancellationToken cancellationToken) => _process.SignalAsync(Signal.SIGKILL, wholeSession: true, cancellationToken);
}
