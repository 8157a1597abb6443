using Boxer.Networking;

namespace Boxer.Benchmarks;

/// <summary>A command and its expected output.</summary>
/// <param name="Name">Name in tables.</param>
/// <param name="Command">The program and its arguments.</param>
/// <param name="ExpectedOutput">The expected standard output.</param>
internal sealed record Workload(string Name, IReadOnlyList<string> Command, string ExpectedOutput)
{
    internal static Workload True { get; } = new("true", ["true"], "");

    internal static Workload Python { get; } = new("python3 -c print(42)", ["python3", "-c", "print(42)"], "42\n");

    /// <summary>Runs the command in a sandbox.</summary>
    /// <exception cref="InvalidOperationException">The run failed or printed something else.</exception>
    internal async Task<SandboxResult> RunAsync(SandboxRunner runner, string image, string network = "none", EgressPolicy? egress = null)
    {
        SandboxResult result = await runner.RunAsync(new SandboxRequest(image, [.. Command]) { Network = network, Egress = egress }).ConfigureAwait(false);
        return result.ExitCode == 0 && result.StandardOutput == ExpectedOutput
            ? result
            : throw new InvalidOperationException($"A run ended as {result.Termination}: {result.StandardOutput}{result.StandardError}");
    }

    /// <summary>Checks the output of another program that ran the command.</summary>
    /// <exception cref="InvalidOperationException">The output differs from the expected one.</exception>
    internal void Check(string output)
    {
        if (output != ExpectedOutput)
        {
            throw new InvalidOperationException($"`{Name}` printed '{output}'.");
        }
    }
}
