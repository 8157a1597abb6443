using System.Text;
using Boxer.Native;
using Boxer.Processes;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Processes;

/// <summary>Children with exactly the descriptors that are passed to them, and their ends.</summary>
public sealed class ChildProcessTests : IDisposable
{
    private readonly DescriptorPoller _poller = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _poller.Dispose();

    [Fact]
    public async Task Start_passes_the_named_descriptors_and_no_others_of_this_process()
    {
        using SafeFileHandle other = File.OpenHandle("/dev/null");
        using var stdin = Pipe.ForWriting();
        using var stdout = Pipe.ForReading();
        using var reader = new OutputReader(_poller, stdout.Ours, limit: 1000);
        using ChildProcess process = ChildProcess.Start(_poller, "/bin/ls", ["/proc/self/fd"], [], [stdin.Theirs, stdout.Theirs, stdout.Theirs]);
        stdout.Theirs.Dispose();
        reader.Start();
        await reader.Completion;

        Assert.Equal(0, await process.Exited);
        string[] descriptors = Encoding.ASCII.GetString(reader.Kept.Span).Split('\n');
        Assert.All((string[])["0", "1", "2"], descriptor => Assert.Contains(descriptor, descriptors));
        Assert.DoesNotContain(other.DangerousGetHandle().ToString(), descriptors);
    }

    [Fact]
    public async Task Kill_ends_the_process_and_Exited_returns_the_signal()
    {
        using ChildProcess process = Start("exec sleep 1000");
        process.Kill();

        Assert.Equal(128 + Signal.SIGKILL, await process.Exited);
        process.Kill();
    }

    [Fact]
    public async Task Exited_returns_the_exit_code()
    {
        using ChildProcess process = Start("exit 42");

        Assert.Equal(42, await process.Exited);
    }

    [Fact]
    public void Start_throws_if_the_program_is_missing()
    {
        NativeException fault = Assert.Throws<NativeException>(() => ChildProcess.Start(_poller, "/missing/program", [], [], []));

        Assert.Equal(Errno.ENOENT, fault.Errno);
    }

    private ChildProcess Start(string script)
    {
        using SafeFileHandle nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite);
        return ChildProcess.Start(_poller, "/bin/sh", ["-c", script], HostCommand.ChildEnvironment, [nothing, nothing, nothing]);
    }

    [Fact]
    public async Task WaitForExitAsync_tries_again_while_there_are_no_free_descriptors_and_stops_waiting_in_time()
    {
        var time = new FakeTimeProvider();
        var exited = new TaskCompletionSource();
        int attempts = 0;
        Task waiting = ChildProcess.WaitForExitAsync(() => ++attempts < 3 ? throw new NativeException("pidfd_open", Errno.EMFILE, subject: null) : exited.Task, TimeSpan.FromHours(1), time, Cancel);
        await Until.IsSoAsync(
            () =>
            {
                time.Advance(TimeSpan.FromSeconds(0.1));
                return attempts == 3;
            },
            30);
        Assert.False(waiting.IsCompleted);
        exited.SetResult();
        await waiting;

        Task late = ChildProcess.WaitForExitAsync(() => throw new IOException("none"), TimeSpan.FromSeconds(1), time, Cancel);
        await Until.IsSoAsync(
            () =>
            {
                time.Advance(TimeSpan.FromSeconds(0.1));
                return late.IsCompletedSuccessfully;
            },
            30);
    }
}
