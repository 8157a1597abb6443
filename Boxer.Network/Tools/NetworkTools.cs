using System.Text;
using Boxer.Processes;

namespace Boxer.Network.Tools;

/// <summary>Runs ip(8), tc(8), nft(8) and iptables-legacy(8). Each call runs one batch, so that a setup costs few processes.</summary>
internal sealed class NetworkTools : IDisposable
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(20);

    // A host with many services has about 10,000 rules of about 500 bytes each.
    private const int MaxOutputBytes = 64 << 20;
    private static readonly string[] DefaultDirectories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    private readonly DescriptorPoller _poller = new();
    private readonly TimeProvider _time;
    private readonly IReadOnlyList<string> _directories;

    /// <param name="time">The clock.</param>
    /// <param name="directories">Directories of the programs, in search order; <see langword="null"/>: those that distributions use.</param>
    internal NetworkTools(TimeProvider time, IReadOnlyList<string>? directories = null)
    {
        _time = time;
        _directories = directories ?? DefaultDirectories;
    }

    /// <summary>Required programs that this host lacks.</summary>
    internal IEnumerable<string> MissingPrograms => ((string[])["ip", "nft", "tc"]).Where(name => Find(name) is null);

    /// <summary>Whether the programs for iptables-legacy rules are installed.</summary>
    internal bool HasLegacyIptables => Find("iptables-legacy") is not null && Find("iptables-legacy-restore") is not null;

    /// <summary>Runs lines of ip(8). If a line fails, the lines before it stay in effect.</summary>
    /// <param name="networkNamespace">The named namespace to work in; <see langword="null"/>: that of this process.</param>
    /// <param name="lines">Commands without the word <c>ip</c>.</param>
    /// <param name="cancellationToken">Kills the program.</param>
    internal Task IpAsync(string? networkNamespace, string lines, CancellationToken cancellationToken) =>
        RunAsync("ip", Batch(networkNamespace), lines, cancellationToken);

    /// <summary>Runs one command of ip(8).</summary>
    /// <returns>Its output, as JSON.</returns>
    internal Task<string> IpJsonAsync(IEnumerable<string> arguments, CancellationToken cancellationToken) =>
        RunAsync("ip", ["-j", .. arguments], "", cancellationToken);

    /// <summary>Runs lines of tc(8). If a line fails, the lines before it stay in effect.</summary>
    /// <inheritdoc cref="IpAsync"/>
    internal Task TcAsync(string? networkNamespace, string lines, CancellationToken cancellationToken) =>
        RunAsync("tc", Batch(networkNamespace), lines, cancellationToken);

    /// <summary>Runs a script of nft(8) as one transaction.</summary>
    internal Task NftAsync(string script, CancellationToken cancellationToken) => RunAsync("nft", ["-f", "-"], script, cancellationToken);

    /// <summary>Runs one command of nft(8).</summary>
    /// <returns>Its output, as JSON.</returns>
    internal Task<string> NftJsonAsync(IEnumerable<string> arguments, CancellationToken cancellationToken) =>
        RunAsync("nft", ["-j", .. arguments], "", cancellationToken);

    /// <summary>Lists the rules of the <c>filter</c> table of iptables-legacy(8), in the form of its commands.</summary>
    internal Task<string> ListLegacyRulesAsync(CancellationToken cancellationToken) =>
        RunAsync("iptables-legacy", ["-w", "5", "-S"], "", cancellationToken);

    /// <summary>Runs commands in the form of iptables-restore(8) as one transaction.</summary>
    internal Task RestoreLegacyRulesAsync(string script, CancellationToken cancellationToken) =>
        RunAsync("iptables-legacy-restore", ["-w", "5", "-n"], script, cancellationToken);

    public void Dispose() => _poller.Dispose();

    private static string[] Batch(string? networkNamespace) => [.. networkNamespace is null ? (string[])[] : ["-n", networkNamespace], "-batch", "-"];

    private async Task<string> RunAsync(string name, IReadOnlyList<string> arguments, string input, CancellationToken cancellationToken)
    {
        string path = Find(name) ?? throw new SandboxPrivilegeException($"The program '{name}' is missing: install iproute2, nftables and, where this host has rules of iptables-legacy, iptables.");
        HostCommand.Result result = await HostCommand.RunAsync(
            _poller, path, arguments, Timeout, _time, cancellationToken, Encoding.ASCII.GetBytes(input), keptBytes: MaxOutputBytes).ConfigureAwait(false);
        return result.ExitCode != 0
            ? throw new SandboxRuntimeException($"{name} {string.Join(' ', arguments)} exited with {result.ExitCode}: {result.Stderr.Trim()}")
            : result.IsCut
            ? throw new SandboxRuntimeException($"{name} {string.Join(' ', arguments)} printed more than {MaxOutputBytes >> 20} MiB.")
            : result.Stdout;
    }

    private string? Find(string name) =>
        _directories
            .Select(directory => Path.Join(directory, name))
            .FirstOrDefault(File.Exists);
}
