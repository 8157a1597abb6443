using System.Text;
using System.Threading.Channels;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Sessions;

/// <summary>A started process.</summary>
internal sealed class FakeGuestProcess(int id, ExecPlan plan) : IGuestProcess
{
    private readonly Channel<GuestOutput> _output = Channel.CreateUnbounded<GuestOutput>();
    private readonly TaskCompletionSource<ExecEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public int Id => id;

    public ExecPlan Plan => plan;

    public Stream Input { get; } = new MemoryStream();

    public Task<ExecEnd> Ended => _ended.Task;

    public List<(int Signal, bool WholeSession)> Signals { get; } = [];

    public List<SandboxTerminal> Sizes { get; } = [];

    public bool IsKilled { get; private set; }

    public IAsyncEnumerable<GuestOutput> ReadAllAsync(CancellationToken cancellationToken) => _output.Reader.ReadAllAsync(cancellationToken);

    public Task SignalAsync(int signal, bool wholeSession, CancellationToken cancellationToken)
    {
        Signals.Add((signal, wholeSession));
        return Task.CompletedTask;
    }

    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken)
    {
        Sizes.Add(size);
        return Task.CompletedTask;
    }

    public Task KillAsync(CancellationToken cancellationToken)
    {
        IsKilled = true;
        End(Termination.Signaled(9));
        return Task.CompletedTask;
    }

    public void Print(string text, SandboxStream stream = SandboxStream.StandardOutput) =>
        _output.Writer.TryWrite(new GuestOutput(stream, Encoding.UTF8.GetBytes(text)));

    public void End(Termination termination)
    {
        _output.Writer.TryComplete();
        _ended.TrySetResult(new ExecEnd(termination, new SandboxUsage(), 0));
    }
}
