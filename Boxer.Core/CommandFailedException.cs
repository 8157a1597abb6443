using Boxer.Common;

namespace Boxer;

/// <summary>
/// The exception that <see cref="SandboxResult.EnsureSuccess"/> throws for a command that ran and did not succeed. Boxer itself did not fail, so it
/// is not a <see cref="SandboxException"/>. The message contains up to 2,000 bytes of the command's output, which are as untrusted as the command.
/// </summary>
public sealed class CommandFailedException : Exception
{
    private const int MostShownBytes = 2_000;

    /// <summary>Creates the exception for a result.</summary>
    /// <param name="result">The result of the run.</param>
    public CommandFailedException(SandboxResult result)
        : base(Describe(result)) => Result = result;

    /// <summary>The result of the run.</summary>
    public SandboxResult Result { get; }

    private static string Describe(SandboxResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        string how = $"The command of run {result.Id} did not succeed: {result.Termination}.";
        return !result.StandardErrorBytes.IsEmpty ? $"{how} Standard error ends with:\n{TailOf(result.StandardErrorBytes)}"
            : !result.StandardOutputBytes.IsEmpty ? $"{how} Standard error is empty; standard output ends with:\n{TailOf(result.StandardOutputBytes)}"
            : $"{how} It printed nothing that was kept.";
    }

    private static string TailOf(ReadOnlyMemory<byte> printed)
    {
        ReadOnlySpan<byte> tail = printed.Span[Math.Max(0, printed.Length - MostShownBytes)..];

        // Skips the rest of a character that began before the tail.
        while (tail.Length < printed.Length && !tail.IsEmpty && (tail[0] & 0xC0) == 0x80)
        {
            tail = tail[1..];
        }

        return UntrustedText.ShowLines(UntrustedText.Decode(tail).TrimEnd());
    }
}
