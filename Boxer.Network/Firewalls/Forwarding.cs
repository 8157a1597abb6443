using Boxer.Linux;
using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network.Firewalls;

/// <summary>
/// IP forwarding of this host for one address family, for as long as sandboxes need it. If forwarding is off, the first instance switches it
/// on and installs a guard table that drops packets that were not forwarded before and are not Boxer's. The last instance restores both.
/// </summary>
/// <remarks>
/// Each instance holds a shared file lock, which the kernel releases when its process dies. The earlier settings are saved in a file. An
/// instance that finds the file and gets the lock alone restores the settings for a dead one.
/// </remarks>
internal sealed class Forwarding : IAsyncDisposable
{
    internal const string IPv4 = "ipv4";
    internal const string IPv6 = "ipv6";
    private const int MaxAttempts = 100;

    // The saved settings have the names of interfaces, and one line with this prefix. An interface name has no slash.
    private const string RedirectsPrefix = "/accept_redirects=";
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(20);
    private readonly string _family;
    private readonly NetworkTools _tools;
    private readonly string _directory;
    private readonly TimeProvider _time;
    private FileLock? _sharedLock;

    private Forwarding(string family, NetworkTools tools, string directory, TimeProvider time)
    {
        _family = family;
        _tools = tools;
        _directory = directory;
        _time = time;
    }

    private string GuardTable => $"{(_family == IPv4 ? "ip" : "ip6")} boxer_forwarding";

    private string InterfacesPath => $"/proc/sys/net/{_family}/conf";

    private string AllForwardingPath => Path.Join(InterfacesPath, "all", "forwarding");

    private string AllRedirectsPath => Path.Join(InterfacesPath, "all", "accept_redirects");

    private string LockPath => Path.Join(_directory, $"forwarding.{_family}.lock");

    // The interfaces that forwarded before.
    private string SavedPath => Path.Join(_directory, $"forwarding.{_family}.before");

    // The interfaces that accept router advertisements. With forwarding, they need accept_ra=2 (ip-sysctl.rst).
    private string AdvertisementsPath => Path.Join(_directory, $"forwarding.{_family}.advertisements");

    /// <summary>Switches forwarding on, or joins the instances that did.</summary>
    /// <param name="family"><see cref="IPv4"/> or <see cref="IPv6"/>.</param>
    /// <param name="tools">Runs nft.</param>
    /// <param name="directory">Directory of the lock and the saved settings, shared by all instances on this host.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Cancels the operation; settings that were changed are restored.</param>
    /// <exception cref="SandboxRuntimeException">Forwarding was switched off by something else while an instance needs it.</exception>
    internal static async Task<Forwarding> EnableAsync(string family, NetworkTools tools, string directory, TimeProvider time, CancellationToken cancellationToken)
    {
        PrivateDirectory.Ensure(directory);
        var forwarding = new Forwarding(family, tools, directory, time);
        for (int attempt = 1; ; attempt++)
        {
            await forwarding.SwitchOnIfAloneAsync(cancellationToken).ConfigureAwait(false);

            // Between the two locks another instance may have restored the settings. Then forwarding is off, and the next attempt switches it on.
            forwarding._sharedLock = FileLock.TryShare(forwarding.LockPath);
            if (forwarding._sharedLock is not null && IsOn(await File.ReadAllTextAsync(forwarding.AllForwardingPath, cancellationToken).ConfigureAwait(false)))
            {
                return forwarding;
            }

            forwarding._sharedLock?.Dispose();
            if (attempt == MaxAttempts)
            {
                throw new SandboxRuntimeException(
                    $"Forwarding of {family} was switched off while another instance of Boxer needs it: write 1 to {forwarding.AllForwardingPath}.");
            }

            await Task.Delay(RetryDelay, time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Restores the settings that a dead instance changed, unless a living one needs forwarding.</summary>
    internal static async Task ReconcileAsync(string family, NetworkTools tools, string directory, TimeProvider time)
    {
        var forwarding = new Forwarding(family, tools, directory, time);
        if (File.Exists(forwarding.SavedPath))
        {
            await forwarding.RestoreIfAloneAsync().ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_sharedLock is not null)
        {
            _sharedLock.Dispose();
            _sharedLock = null;
            await RestoreIfAloneAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Installs the guard table again. Does nothing if forwarding was on before.</summary>
    internal async Task InstallGuardAsync(CancellationToken cancellationToken)
    {
        if (!File.Exists(SavedPath))
        {
            return;
        }

        string[] forwardedBefore = [.. (await File.ReadAllLinesAsync(SavedPath, cancellationToken).ConfigureAwait(false)).Where(IsInterfaceName)];
        await _tools.NftAsync(
            $$"""
            add table {{GuardTable}}
            delete table {{GuardTable}}
            add table {{GuardTable}}
            add chain {{GuardTable}} forward { type filter hook forward priority -20; policy drop; }
            add rule {{GuardTable}} forward iifname "{{LinkNames.CommonPrefix}}*" accept
            add rule {{GuardTable}} forward oifname "{{LinkNames.CommonPrefix}}*" accept
            {{string.Join('\n', forwardedBefore.Select(name => $"add rule {GuardTable} forward iifname \"{name}\" accept"))}}

            """,
            cancellationToken).ConfigureAwait(false);
    }

    private async Task SwitchOnIfAloneAsync(CancellationToken cancellationToken)
    {
        using FileLock? ownLock = FileLock.TryTakeOrCreate(LockPath);
        if (ownLock is null)
        {
            return;
        }

        try
        {
            await SwitchOnAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await RestoreAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task RestoreIfAloneAsync()
    {
        using FileLock? ownLock = FileLock.TryTakeOrCreate(LockPath);
        if (ownLock is not null)
        {
            await RestoreAsync().ConfigureAwait(false);
        }
    }

    private async Task SwitchOnAsync(CancellationToken cancellationToken)
    {
        bool isSaved = File.Exists(SavedPath);
        if (!isSaved && IsOn(await File.ReadAllTextAsync(AllForwardingPath, cancellationToken).ConfigureAwait(false)))
        {
            return;
        }

        if (!isSaved)
        {
            await SaveAsync(cancellationToken).ConfigureAwait(false);
        }

        // The guard first: no packet is ever forwarded that was not before.
        await InstallGuardAsync(cancellationToken).ConfigureAwait(false);
        await AcceptAdvertisementsAsync("2").ConfigureAwait(false);
        await File.WriteAllTextAsync(AllForwardingPath, "1", cancellationToken).ConfigureAwait(false);
    }

    private async Task SaveAsync(CancellationToken cancellationToken)
    {
        // Writing conf/all/forwarding also changes accept_redirects (inet_forward_change() in the kernel's devinet.c).
        string redirects = RedirectsPrefix + (await File.ReadAllTextAsync(AllRedirectsPath, cancellationToken).ConfigureAwait(false)).Trim();
        string[] interfaces = Directory.GetDirectories(InterfacesPath);
        string[] forwarding = [.. interfaces.Where(path => IsOn(Read(path, "forwarding"))).Select(path => Path.GetFileName(path))];
        string[] advertised = [.. interfaces
            .Where(path => File.Exists(Path.Join(path, "accept_ra")) && IsOn(Read(path, "accept_ra")) && Read(path, "forwarding") is ['0', ..])
            .Select(path => Path.GetFileName(path))];
        await File.WriteAllLinesAsync(AdvertisementsPath, advertised, cancellationToken).ConfigureAwait(false);

        // Written in one step: with half of it, the last instance would switch off forwarding that was on.
        WholeFile.WriteLines(SavedPath, [redirects, .. forwarding]);

        static string Read(string path, string setting) => File.ReadAllText(Path.Join(path, setting));
    }

    // The caller holds the lock alone: no other instance needs forwarding.
    private async Task RestoreAsync()
    {
        if (!File.Exists(SavedPath))
        {
            return;
        }

        // Writing conf/all/forwarding clears the setting of each interface.
        string[] saved = await File.ReadAllLinesAsync(SavedPath).ConfigureAwait(false);
        await File.WriteAllTextAsync(AllForwardingPath, "0").ConfigureAwait(false);
        if (saved.FirstOrDefault(line => line is RedirectsPrefix + "0" or RedirectsPrefix + "1") is { } redirects)
        {
            await File.WriteAllTextAsync(AllRedirectsPath, redirects[RedirectsPrefix.Length..]).ConfigureAwait(false);
        }

        await WriteAsync(saved, "forwarding", "1").ConfigureAwait(false);
        await AcceptAdvertisementsAsync("1").ConfigureAwait(false);
        await Firewall.DeleteTableAsync(_tools, GuardTable, CancellationToken.None).ConfigureAwait(false);
        File.Delete(SavedPath);
        File.Delete(AdvertisementsPath);
    }

    private async Task AcceptAdvertisementsAsync(string value) =>
        await WriteAsync(await File.ReadAllLinesAsync(AdvertisementsPath).ConfigureAwait(false), "accept_ra", value).ConfigureAwait(false);

    // Skips interfaces that are gone.
    private async Task WriteAsync(IEnumerable<string> interfaces, string setting, string value)
    {
        foreach (string path in interfaces.Where(IsInterfaceName).Select(name => Path.Join(InterfacesPath, name, setting)).Where(File.Exists))
        {
            await File.WriteAllTextAsync(path, value).ConfigureAwait(false);
        }
    }

    private static bool IsOn(string setting) => setting is ['1', ..];

    private static bool IsInterfaceName(string name) =>
        name.Length is > 0 and < 16 && name is not ("all" or "default" or "." or "..") && name.All(character => character is > ' ' and <= '~' and not '/' and not '"' and not '*' and not '\\');
}
