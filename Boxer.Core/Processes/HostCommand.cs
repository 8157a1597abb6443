using Boxer.Common;

namespace Boxer.Processes;

/// <summary>Runs a program of this host to its end: both pipes drained past the kept part, a deadline, the exit code in the answer.</summary>
internal static class HostCommand
{
    private const int KeptBytes = 4 << 20;

    // It goes into messages.
    private const int KeptErrorBytes = 4096;

    /// <summary>What a program left.</summary>
    /// <param name="ExitCode">Its exit code, or 128 + the signal.</param>
    /// <param name="Stdout">The first of what it printed.</param>
    /// <param name="Stderr">The first 4,096 bytes of its errors.</param>
    /// <param name="IsCut">Whether it printed more than is kept.</param>
    internal sealed record Result(int ExitCode, string Stdout, string Stderr, bool IsCut = false);

    /// <summary>Runs it, with <see cref="ChildEnvironment"/> where no other environment is given.</summary>
    /// <exception cref="SandboxRuntimeException">It could not be started, or did not end in time.</exception>
    internal static async Task<Result> RunAsync(
        DescriptorPoller poller,
        string path,
        IReadOnlyList<string> arguments,
        TimeSpan timeout,
        TimeProvider time,
        CancellationToken cancellationToken,
        ReadOnlyMemory<byte> input = default,
        IReadOnlyList<string>? environment = null,
        int keptBytes = KeptBytes)
    {
        try
        {
            return await RunCoreAsync(poller, path, arguments, timeout, time, input, environment ?? ChildEnvironment, keptBytes, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            throw new SandboxRuntimeException($"Cannot start {path}: {exception.Message}", exception);
        }
    }

    private static async Task<Result> RunCoreAsync(
        DescriptorPoller poller,
        string path,
        IReadOnlyList<string> arguments,
        TimeSpan timeout,
        TimeProvider time,
        ReadOnlyMemory<byte> input,
        IReadOnlyList<string> environment,
        int keptBytes,
        CancellationToken cancellationToken)
    {
        using var stdinPipe = Pipe.ForWriting();
        using var stdoutPipe = Pipe.ForReading();
        using var stderrPipe = Pipe.ForReading();
        using var stdout = new OutputReader(poller, stdoutPipe.Ours, keptBytes);
        using var stderr = new OutputReader(poller, stderrPipe.Ours, KeptErrorBytes);
        using var stdin = new InputWriter(poller, stdinPipe.Ours, time);
        ChildProcess process = ChildProcess.Start(poller, path, arguments, environment, [stdinPipe.Theirs, stdoutPipe.Theirs, stderrPipe.Theirs]);
        stdinPipe.Theirs.Dispose();
        stdoutPipe.Theirs.Dispose();
        stderrPipe.Theirs.Dispose();
        stdout.Start();
        stderr.Start();
        Task written = stdin.WriteAsync(input);
        try
        {
            int exitCode = await process.Exited.WaitAsync(timeout, time, cancellationToken).ConfigureAwait(false);
            stdout.StopWhenDrained();
            stderr.StopWhenDrained();
            await Task.WhenAll(stdout.Completion, stderr.Completion).ConfigureAwait(false);
            return new Result(exitCode, UntrustedText.Decode(stdout.Kept.Span), UntrustedText.Decode(stderr.Kept.Span), stdout.Exceeded.IsCompleted);
        }
        catch (TimeoutException exception)
        {
            throw new SandboxRuntimeException($"{path} {string.Join(' ', arguments)} did not end within {timeout.TotalSeconds:0.###} s.", exception);
        }
        finally
        {
            process.Kill();
            await process.Exited.ConfigureAwait(false);
            process.Dispose();
            stdin.Dispose();
            await written.ConfigureAwait(false);
        }
    }

    /// <summary>What the programs of this host get as their environment: never this process's own, which may hold secrets.</summary>
    internal static IReadOnlyList<string> ChildEnvironment { get; } =
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"];
}
