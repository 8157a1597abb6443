using System.Globalization;
using System.Text.RegularExpressions;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Processes;

namespace Boxer.Runtime;

/// <summary>The runsc program of this host: where it is, how old it is, and how it is called.</summary>
internal sealed partial class RunscCommandLine
{
    /// <summary>The first release with --overlay2 and --pass-fd.</summary>
    internal const int OldestRelease = 20230801;

    /// <summary>
    /// From this release on a network works on Linux 6.11 and newer. Before, runsc takes every network namespace for the host's when it
    /// finds /proc/sys/net/core there, which since then is in all of them (google/gvisor#10704).
    /// </summary>
    private const int KnowsNewNetworkNamespaces = 20240901;

    /// <summary>
    /// From this release on attributes of an image's files have their values. Before, runsc pads them with zeros, and answers EBADF for those
    /// of symbolic links (google/gvisor#11049).
    /// </summary>
    private const int KnowsAttributes = 20250505;
    private static readonly Version ShowsCoreSysctls = new(6, 11);

    private static readonly TimeSpan ProbeTimeout = TimeSpan.FromSeconds(20);
    private readonly string _platform;
    private readonly bool _rootless;

    private RunscCommandLine(string path, string version, string platform, bool rootless, bool hidesCoreSysctls, bool hidesAttributes)
    {
        HidesCoreSysctls = hidesCoreSysctls;
        HidesAttributes = hidesAttributes;
        Path = path;
        Version = version;
        _platform = platform;
        _rootless = rootless;
    }

    /// <summary>Its absolute path.</summary>
    internal string Path { get; }

    /// <summary>Its version as it prints it.</summary>
    internal string Version { get; }

    /// <summary>Whether it can join a network namespace only where /proc/sys/net/core is hidden from it.</summary>
    internal bool HidesCoreSysctls { get; }

    /// <summary>Whether it gives wrong answers about attributes of an image's files, unless these are hidden from it.</summary>
    internal bool HidesAttributes { get; }

    /// <summary>Finds runsc and checks that it is new enough.</summary>
    /// <exception cref="SandboxRuntimeException">It is missing, broken or too old.</exception>
    internal static async Task<RunscCommandLine> ProbeAsync(
        DescriptorPoller poller, string nameOrPath, string platform, bool rootless, TimeProvider time, CancellationToken cancellationToken, Version? kernel = null)
    {
        string path = ProgramPath.Find(nameOrPath) ?? throw new SandboxRuntimeException(
            $"The gVisor runtime '{nameOrPath}' was not found: install runsc, or name its path in RunscPath.");
        HostCommand.Result result = await HostCommand.RunAsync(poller, path, ["--version"], ProbeTimeout, time, cancellationToken).ConfigureAwait(false);
        Match match = VersionLine.Match(result.Stdout);
        if (result.ExitCode != 0 || !match.Success)
        {
            throw new SandboxRuntimeException(
                $"{path} --version exited with {result.ExitCode} and did not tell a version: is it gVisor's runsc? {result.Stderr.Trim()}".TrimEnd());
        }

        string version = match.Groups["version"].Value;
        int? release = ReleaseDate.Match(version) is { Success: true } date ? int.Parse(date.ValueSpan, CultureInfo.InvariantCulture) : null;
        if (release < OldestRelease)
        {
            throw new SandboxRuntimeException($"{path} is {version}: a release of {OldestRelease} or newer is needed.");
        }

        return new RunscCommandLine(
            path, version, platform, rootless, NeedsHiddenSysctls(release, kernel ?? Environment.OSVersion.Version), release is null or < KnowsAttributes);
    }

    /// <summary>Whether a release needs them hidden; of builds without a date it is not known, and does no harm.</summary>
    private static bool NeedsHiddenSysctls(int? release, Version kernel) =>
        kernel >= ShowsCoreSysctls && (release is null || release < KnowsNewNetworkNamespaces);

    /// <summary>The arguments that run a bundle and pass descriptor 3 on as 3.</summary>
    /// <param name="directory">The sandbox's directory: bundle and state are in it, so that it goes as a whole.</param>
    /// <param name="id">The container id.</param>
    /// <param name="network">How the sandbox joins its network.</param>
    internal IReadOnlyList<string> RunArguments(string directory, string id, NetworkConfiguration network)
    {
        List<string> arguments =
        [
            "--root=" + directory + "/state",
            "--platform=" + _platform,
            "--network=" + network.Stack.ToString().ToLowerInvariant(),
            "--ignore-cgroups",
            "--overlay2=root:memory",
        ];
        if (_rootless)
        {
            arguments.Add("--rootless");
        }

        return [.. arguments, "run", "--bundle=" + directory, "--pass-fd=3:3", id];
    }

    // "runsc version release-20240729.0", and "runsc version 0.0~20240729.0" from Debian; builds from source have other words.
    [GeneratedRegex(@"^runsc version (?<version>\S{1,100})(\s|$)", RegexOptions.Multiline | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex VersionLine { get; }

    [GeneratedRegex(@"20\d{6}", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex ReleaseDate { get; }
}
