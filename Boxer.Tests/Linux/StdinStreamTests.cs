using System.IO.Pipelines;
using System.Text;
using Boxer.Hosting;
using Boxer.Network;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Standard input that arrives while the command runs.</summary>
[Collection(Sandboxes.Name)]
public sealed class StdinStreamTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("65534", true)]
    public async Task A_stdin_stream_lets_a_program_and_its_caller_converse(string user, bool pooled)
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = pooled;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        if (pooled)
        {
            await runner.WarmAsync(Command("true"));
        }

        var pipe = new Pipe();
        SandboxRequest request = Python("print('ready', flush=True)\nfor line in open('/dev/stdin'): print(int(line) ** 2, flush=True)").WithStandardInput(pipe.Reader);
        request.User = user;
        List<string> said = [];
        await foreach (SandboxEvent item in runner.StreamAsync(request, Cancel))
        {
            if (item is SandboxDataReceived output)
            {
                said.Add(Encoding.UTF8.GetString(output.Data.Span));
                if (said.Count < 4)
                {
                    await pipe.Writer.WriteAsync(Encoding.UTF8.GetBytes($"{said.Count}\n"), Cancel);
                }
                else
                {
                    await pipe.Writer.CompleteAsync();
                }
            }
        }

        Assert.Equal(["ready\n", "1\n", "4\n", "9\n"], said);
    }

    [Fact]
    public async Task A_stdin_stream_is_read_at_the_pace_of_the_command_and_not_after_its_end()
    {
        await using var zeros = new Source(_ => ValueTask.CompletedTask);
        SandboxRequest request = Shell("head -c 100000 | wc -c; sleep 1");
        request.StandardInputStream = zeros;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);
        long read = zeros.Given;
        await Task.Delay(TimeSpan.FromSeconds(0.2), TimeProvider.System, Cancel);

        Assert.Equal("100000\n", result.StandardOutput);

        // At most the bytes that head read, the content of the pipe and the read-ahead buffer were consumed.
        Assert.InRange(read, 100_000, 100_000 + (4 * 65_536));
        Assert.Equal((read, false), (zeros.Given, zeros.IsDisposed));
    }

    [Theory]
    [InlineData("heeds its token")]
    [InlineData("does not")]
    [InlineData("blocks")]
    public async Task A_stdin_stream_without_data_does_not_delay_the_run(string kind)
    {
        var never = new TaskCompletionSource();
        using var blocked = new ManualResetEventSlim();
        await using var silent = new Source(token =>
        {
            if (kind == "blocks")
            {
                blocked.Wait(CancellationToken.None);
            }

            return new ValueTask(kind == "heeds its token" ? never.Task.WaitAsync(token) : never.Task);
        });
        SandboxRequest request = Shell("echo done");
        request.StandardInputStream = silent;

        Assert.Equal("done\n", (await shared.Runner.RunAsync(request, Cancel)).StandardOutput);
        Assert.False(silent.IsDisposed);
        never.SetException(new IOException("late"));
        blocked.Set();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_stdin_stream_that_throws_ends_the_run(bool isCancelled)
    {
        await using var broken = new Source(_ => throw (isCancelled ? new TaskCanceledException("secret") : new IOException("secret")));
        SandboxRequest request = Shell("sleep 1000");
        request.StandardInputStream = broken;
        request.Limits.WallClock = TimeSpan.FromMinutes(10);

        InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Equal("StandardInputStream", Assert.Single(exception.Faults).Field);
        Assert.DoesNotContain("secret", exception.PublicMessage, StringComparison.Ordinal);
        Assert.IsType<IOException>(exception.InnerException);
    }

    [Fact]
    public async Task A_stdin_stream_is_not_read_after_a_cancelled_run()
    {
        // By this clock, the time for which the runner waits for the stream never ends.
        var time = new FakeTimeProvider();
        var runner = new SandboxRunner(shared.Options, [new NoneNetworkMode()], time: time);
        await using var disposal = new DisposedByClock(runner, time);
        using var cancellation = new CancellationTokenSource();
        int reads = 0;
        await using var slow = new Source(async token =>
        {
            Interlocked.Increment(ref reads);
            await cancellation.CancelAsync();
            try
            {
                await Task.Delay(Timeout.Infinite, token);
            }
            finally
            {
                // A stream takes a moment to end a read that is cancelled.
                await Task.Delay(TimeSpan.FromMilliseconds(20), CancellationToken.None);
                Interlocked.Decrement(ref reads);
            }
        });
        SandboxRequest request = Shell("cat");
        request.StandardInputStream = slow;

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => runner.RunAsync(request, cancellation.Token));

        Assert.Equal(0, Volatile.Read(ref reads));
    }

    [Fact]
    public async Task StandardInput_and_StandardInputStream_exclude_each_other()
    {
        SandboxRequest request = Shell("cat").WithStandardInput("text");
        request.StandardInputStream = Stream.Null;

        InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Equal("StandardInputStream", Assert.Single(exception.Faults).Field);
    }

    /// <summary>Returns zeros, each read after a delay.</summary>
    private sealed class Source(Func<CancellationToken, ValueTask> wait) : Stream
    {
        private long _given;

        public long Given => Interlocked.Read(ref _given);

        public bool IsDisposed { get; private set; }

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await wait(cancellationToken);
            buffer.Span.Clear();
            Interlocked.Add(ref _given, buffer.Length);
            return buffer.Length;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            IsDisposed = true;
            base.Dispose(disposing);
        }
    }
}
