using System.Globalization;
using System.Text.RegularExpressions;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Processes;

namespace Boxer.Runtime;

/// <summary>The runsc program of this host: its path, its version, and its arguments.</summary>
internal sealed partial class RunscCommandLine
{
    /// <summary>The first release with --overlay2 and --pass-fd.</summary>
    internal const int OldestRelease = 20230801;

    /// <summary>
    /// First release whose networks work on Linux 6.11 and newer. Older releases take every network namespace with /proc/sys/net/core for the host's,
    /// and since Linux 6.11 all namespaces have it (google/gvisor#10704).
    /// </summary>
    private const int KnowsNewNetworkNamespaces = 20240901;

    /// <summary>
    /// First release that returns the right values of extended attributes of an image's files. Older releases pad them with zeros, and answer EBADF for
    /// those of symbolic links (google/gvisor#11049).
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

    /// <summary>The absolute path of runsc.</summary>
    internal string Path { get; }

    /// <summary>The version as runsc prints it.</summary>
    internal string Version { get; }

    /// <summary>Whether runsc can join a network namespace only if /proc/sys/net/core is hidden from it.</summary>
    internal bool HidesCoreSysctls { get; }

    /// <summary>Whether runsc returns wrong extended attributes of an image's files, unless they are hidden from it.</summary>
    internal bool HidesAttributes { get; }

    /// <summary>Finds runsc and checks its version.</summary>
    /// <param name="poller">Waits for the process.</param>
    /// <param name="nameOrPath">The name in PATH, or the path.</param>
    /// <param name="platform">The gVisor platform.</param>
    /// <param name="rootless">Whether runsc runs without root.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <param name="kernel">The version of Linux; <see langword="null"/>: this host's.</param>
    /// <exception cref="SandboxRuntimeException">runsc is missing, broken or too old.</exception>
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
                $"{path} --version exited with {result.ExitCode} and printed no version: is it gVisor's runsc? {result.Stderr.Trim()}".TrimEnd());
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

    // A build without a date may need it too. Hiding them does no harm.
    private static bool NeedsHiddenSysctls(int? release, Version kernel) =>
        kernel >= ShowsCoreSysctls && (release is null || release < KnowsNewNetworkNamespaces);

    /// <summary>Creates the arguments that run a bundle.</summary>
    /// <param name="directory">The directory of the sandbox, with bundle and state, so that it is removed as a whole.</param>
    /// <param name="id">The container id.</param>
    /// <param name="network">How the sandbox joins its network.</param>
    /// <param name="passed">Number of descriptors, from 3 on, that PID 1 gets besides the standard streams.</param>
    internal IReadOnlyList<string> RunArguments(string directory, string id, NetworkConfiguration network, int passed)
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

        return [.. arguments, "run", "--bundle=" + directory, .. Enumerable.Range(3, passed).Select(descriptor => $"--pass-fd={descriptor}:{descriptor}"), id];
    }

    // "runsc version release-20240729.0", and "runsc version 0.0~20240729.0" from Debian; builds from source have other words.
    [GeneratedRegex(@"^runsc version (?<version>\S{1,100})(\s|$)", RegexOptions.Multiline | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex VersionLine { get; }

    [GeneratedRegex(@"20\d{6}", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 60_000)]
    private static partial Regex ReleaseDate { get; }
}
