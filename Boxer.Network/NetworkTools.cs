using System.Text;
using System.Text.Json;
using Boxer.Processes;

namespace Boxer.Network;

/// <summary>ip(8), tc(8), nft(8) and iptables-legacy(8): each call is one batch, so that a set-up costs a few processes however long it is.</summary>
internal sealed class NetworkTools : IDisposable
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(20);

    // A host of many services has some 10,000 rules, of some 500 bytes each.
    private const int KeptBytes = 64 << 20;
    private static readonly string[] Usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    private readonly DescriptorPoller _poller = new();
    private readonly TimeProvider _time;
    private readonly IReadOnlyList<string> _directories;

    /// <param name="time">The clock.</param>
    /// <param name="directories">Where the programs are, in order; <see langword="null"/>: where distributions have them.</param>
    internal NetworkTools(TimeProvider time, IReadOnlyList<string>? directories = null)
    {
        _time = time;
        _directories = directories ?? Usual;
    }

    /// <summary>Those that are missing on this host.</summary>
    internal IEnumerable<string> Missing => ((string[])["ip", "nft", "tc"]).Where(name => Find(name) is null);

    /// <summary>Runs lines of ip(8). Those before one that fails are done.</summary>
    /// <param name="networkNamespace">The named namespace to work in, or <see langword="null"/> for this process's.</param>
    /// <param name="lines">Commands without the word <c>ip</c>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal Task IpAsync(string? networkNamespace, string lines, CancellationToken cancellationToken) =>
        RunAsync("ip", [.. networkNamespace is null ? (string[])[] : ["-n", networkNamespace], "-batch", "-"], lines, cancellationToken);

    /// <summary>Runs one line of ip(8) and gives its JSON.</summary>
    internal Task<string> IpJsonAsync(IEnumerable<string> arguments, CancellationToken cancellationToken) =>
        RunAsync("ip", ["-j", .. arguments], "", cancellationToken);

    /// <summary>Runs lines of tc(8).</summary>
    internal Task TcAsync(string? networkNamespace, string lines, CancellationToken cancellationToken) =>
        RunAsync("tc", [.. networkNamespace is null ? (string[])[] : ["-n", networkNamespace], "-batch", "-"], lines, cancellationToken);

    /// <summary>Runs a script of nft(8): all of it or nothing.</summary>
    internal Task NftAsync(string script, CancellationToken cancellationToken) => RunAsync("nft", ["-f", "-"], script, cancellationToken);

    /// <summary>Runs one command of nft(8) and gives its JSON.</summary>
    internal Task<string> NftJsonAsync(IEnumerable<string> arguments, CancellationToken cancellationToken) =>
        RunAsync("nft", ["-j", .. arguments], "", cancellationToken);

    /// <summary>The objects of one kind in what nft(8) printed (libnftables-json(5)).</summary>
    internal static IEnumerable<JsonElement> NftItems(JsonDocument printed, string kind) =>
        printed.RootElement.GetProperty("nftables").EnumerateArray().Where(item => item.TryGetProperty(kind, out _)).Select(item => item.GetProperty(kind));

    /// <summary>Reads what a program printed as JSON: another release, or what is no such program, may print anything.</summary>
    /// <exception cref="SandboxRuntimeException">It is not what was expected.</exception>
    internal static T Understand<T>(string program, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or OverflowException or ArgumentException)
        {
            throw new SandboxRuntimeException($"What {program} printed is not understood: {exception.Message}", exception);
        }
    }

    /// <summary>Whether the programs for rules of the old kind are installed.</summary>
    internal bool HasLegacy => Find("iptables-legacy") is not null && Find("iptables-legacy-restore") is not null;

    /// <summary>The rules of iptables-legacy(8) in its table filter, as its commands.</summary>
    internal Task<string> ListLegacyAsync(CancellationToken cancellationToken) =>
        RunAsync("iptables-legacy", ["-w", "5", "-S"], "", cancellationToken);

    /// <summary>Runs commands in the form of iptables-restore(8): all of them or none.</summary>
    internal Task RestoreLegacyAsync(string script, CancellationToken cancellationToken) =>
        RunAsync("iptables-legacy-restore", ["-w", "5", "-n"], script, cancellationToken);

    public void Dispose() => _poller.Dispose();

    private async Task<string> RunAsync(string name, IReadOnlyList<string> arguments, string input, CancellationToken cancellationToken)
    {
        string path = Find(name) ?? throw new SandboxPrivilegeException($"The program '{name}' is missing: install iproute2, nftables and, where this host has rules of iptables-legacy, iptables.");
        HostCommand.Result result = await HostCommand.RunAsync(
            _poller, path, arguments, Timeout, _time, cancellationToken, Encoding.ASCII.GetBytes(input), keptBytes: KeptBytes).ConfigureAwait(false);
        return result.ExitCode != 0
            ? throw new SandboxRuntimeException($"{name} {string.Join(' ', arguments)} exited with {result.ExitCode}: {result.Stderr.Trim()}")
            : result.IsCut
            ? throw new SandboxRuntimeException($"{name} {string.Join(' ', arguments)} printed more than {KeptBytes >> 20} MiB.")
            : result.Stdout;
    }

    private string? Find(string name) =>
        _directories
            .Select(directory => Path.Join(directory, name))
            .FirstOrDefault(File.Exists);
}
