using Boxer.Common;

namespace Boxer.Processes;

/// <summary>Runs a program of this host until it ends or a deadline passes. Both output pipes are drained; the first bytes are kept.</summary>
internal static class HostCommand
{
    private const int KeptBytes = 4 << 20;

    // Errors are quoted in messages.
    private const int KeptErrorBytes = 4096;

    /// <summary>Result of a program.</summary>
    /// <param name="ExitCode">Exit code, or 128 + the signal.</param>
    /// <param name="Stdout">First part of the standard output.</param>
    /// <param name="Stderr">First 4,096 bytes of the standard error.</param>
    /// <param name="IsCut">Whether the standard output was longer than <paramref name="Stdout"/>.</param>
    internal sealed record Result(int ExitCode, string Stdout, string Stderr, bool IsCut = false);

    /// <summary>Runs a program.</summary>
    /// <param name="poller">Poller for its pipes and its end.</param>
    /// <param name="path">Absolute path of the program.</param>
    /// <param name="arguments">Arguments, without argv[0].</param>
    /// <param name="timeout">Time after which the program is killed.</param>
    /// <param name="time">Clock of the timeout.</param>
    /// <param name="cancellationToken">Kills the program.</param>
    /// <param name="input">Standard input.</param>
    /// <param name="environment">Whole environment, as <c>NAME=value</c>; <see langword="null"/> for <see cref="ChildEnvironment"/>.</param>
    /// <param name="keptBytes">Maximum number of bytes to keep of the standard output.</param>
    /// <exception cref="SandboxRuntimeException">The program cannot be started, or did not end in time.</exception>
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

    /// <summary>Environment of programs of this host. They do not get this process's environment, which may contain secrets.</summary>
    internal static IReadOnlyList<string> ChildEnvironment { get; } =
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"];
}
