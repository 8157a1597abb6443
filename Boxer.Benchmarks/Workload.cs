using Boxer.Networking;

namespace Boxer.Benchmarks;

/// <summary>A command, and what it prints where it ran rightly.</summary>
/// <param name="Name">What tables call it.</param>
/// <param name="Command">The program and its arguments.</param>
/// <param name="Answer">What it prints.</param>
internal sealed record Workload(string Name, IReadOnlyList<string> Command, string Answer)
{
    internal static Workload True { get; } = new("true", ["true"], "");

    internal static Workload Python { get; } = new("python3 -c print(42)", ["python3", "-c", "print(42)"], "42\n");

    /// <summary>Runs it in a sandbox.</summary>
    /// <exception cref="InvalidOperationException">The answer is wrong.</exception>
    internal async Task<SandboxResult> RunAsync(SandboxRunner runner, string image, string network = "none", EgressPolicy? egress = null)
    {
        SandboxResult result = await runner.RunAsync(new SandboxRequest(image, [.. Command]) { Network = network, Egress = egress }).ConfigureAwait(false);
        return result.ExitCode == 0 && result.StandardOutput == Answer
            ? result
            : throw new InvalidOperationException($"A run ended as {result.Termination}: {result.StandardOutput}{result.StandardError}");
    }

    /// <summary>Checks what a peer printed.</summary>
    /// <exception cref="InvalidOperationException">The answer is wrong.</exception>
    internal void Check(string printed)
    {
        if (printed != Answer)
        {
            throw new InvalidOperationException($"`{Name}` printed '{printed}'.");
        }
    }
}
