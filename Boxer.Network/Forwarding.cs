using Boxer.Linux;

namespace Boxer.Network;

/// <summary>
/// IP forwarding of this host while sandboxes need it. Where it was off, the first instance switches it on, together with a table that
/// drops what could not be forwarded before and is not ours; the last one restores both. Instances share it by a lock that goes with a
/// process; who finds it free and the note of what was before still there restores it in the dead one's place. For each family apart.
/// </summary>
internal sealed class Forwarding : IAsyncDisposable
{
    internal const string IPv4 = "ipv4";
    internal const string IPv6 = "ipv6";
    private const int Attempts = 100;

    // No interface is called so.
    private const string RedirectsPrefix = "/accept_redirects=";
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);
    private readonly string _family;
    private readonly NetworkTools _tools;
    private readonly string _directory;
    private readonly TimeProvider _time;
    private FileLock? _shared;

    private Forwarding(string family, NetworkTools tools, string directory, TimeProvider time)
    {
        _family = family;
        _tools = tools;
        _directory = directory;
        _time = time;
    }

    private string Table => $"{(_family == IPv4 ? "ip" : "ip6")} boxer_forwarding";

    private string Interfaces => $"/proc/sys/net/{_family}/conf";

    private string All => Path.Join(Interfaces, "all", "forwarding");

    private string AcceptRedirects => Path.Join(Interfaces, "all", "accept_redirects");

    private string LockPath => Path.Join(_directory, $"forwarding.{_family}.lock");

    private string BeforePath => Path.Join(_directory, $"forwarding.{_family}.before");

    // The interfaces that take router advertisements, which a router does only if it is told so (ip-sysctl.rst, accept_ra).
    private string AdvertisementsPath => Path.Join(_directory, $"forwarding.{_family}.advertisements");

    /// <summary>Switches forwarding on, or joins those who did.</summary>
    internal static async Task<Forwarding> EnableAsync(string family, NetworkTools tools, string directory, TimeProvider time, CancellationToken cancellationToken)
    {
        PrivateDirectory.Ensure(directory);
        var forwarding = new Forwarding(family, tools, directory, time);
        for (int attempt = 1; ; attempt++)
        {
            using (FileLock? alone = FileLock.TryTakeOrCreate(forwarding.LockPath))
            {
                if (alone is not null)
                {
                    try
                    {
                        await forwarding.SwitchOnAsync(cancellationToken).ConfigureAwait(false);
                    }
                    catch
                    {
                        await forwarding.RestoreAsync(alone).ConfigureAwait(false);
                        throw;
                    }
                }
            }

            // Between the two another one may have restored it: then the note is gone, and it is tried again.
            forwarding._shared = FileLock.TryShare(forwarding.LockPath);
            if (forwarding._shared is not null && await File.ReadAllTextAsync(forwarding.All, cancellationToken).ConfigureAwait(false) is ['1', ..])
            {
                return forwarding;
            }

            forwarding._shared?.Dispose();
            if (attempt == Attempts)
            {
                throw new SandboxRuntimeException(
                    $"Forwarding of {family} was switched off while another instance of Boxer needs it: write 1 to {forwarding.All}.");
            }

            await Task.Delay(Pause, time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Restores what a dead instance switched on, unless a living one still needs it.</summary>
    internal static async Task ReconcileAsync(string family, NetworkTools tools, string directory, TimeProvider time)
    {
        var forwarding = new Forwarding(family, tools, directory, time);
        if (File.Exists(forwarding.BeforePath))
        {
            await forwarding.RestoreAsync().ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_shared is not null)
        {
            _shared.Dispose();
            _shared = null;
            await RestoreAsync().ConfigureAwait(false);
        }
    }

    private async Task SwitchOnAsync(CancellationToken cancellationToken)
    {
        bool noted = File.Exists(BeforePath);
        if (!noted && await File.ReadAllTextAsync(All, cancellationToken).ConfigureAwait(false) is ['1', ..])
        {
            return;
        }

        if (!noted)
        {
            // The switch for all turns this one, too (inet_forward_change() in the kernel's devinet.c).
            string redirects = RedirectsPrefix + (await File.ReadAllTextAsync(AcceptRedirects, cancellationToken).ConfigureAwait(false)).Trim();
            string[] on = [redirects, .. Directory.GetDirectories(Interfaces)
                .Where(path => File.ReadAllText(Path.Join(path, "forwarding")) is ['1', ..])
                .Select(path => Path.GetFileName(path))];
            string[] advertised = [.. Directory.GetDirectories(Interfaces)
                .Where(path => File.Exists(Path.Join(path, "accept_ra")) && File.ReadAllText(Path.Join(path, "accept_ra")) is ['1', ..] && File.ReadAllText(Path.Join(path, "forwarding")) is ['0', ..])
                .Select(path => Path.GetFileName(path))];
            await File.WriteAllLinesAsync(AdvertisementsPath, advertised, cancellationToken).ConfigureAwait(false);

            // At once: half a note would have the last one switch off what was on.
            WholeFile.WriteLines(BeforePath, on);
        }

        // The guard first: at no time is anything forwarded that was not before.
        await GuardAsync(cancellationToken).ConfigureAwait(false);
        await AcceptAdvertisementsAsync("2").ConfigureAwait(false);
        await File.WriteAllTextAsync(All, "1", cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Lays the table that drops what could not be forwarded before, anew; nothing where forwarding was on by itself.</summary>
    internal async Task GuardAsync(CancellationToken cancellationToken)
    {
        if (!File.Exists(BeforePath))
        {
            return;
        }

        string[] before = [.. (await File.ReadAllLinesAsync(BeforePath, cancellationToken).ConfigureAwait(false)).Where(IsInterface)];
        await _tools.NftAsync(
            $$"""
            add table {{Table}}
            delete table {{Table}}
            add table {{Table}}
            add chain {{Table}} forward { type filter hook forward priority -20; policy drop; }
            add rule {{Table}} forward iifname "{{LinkNames.Common}}*" accept
            add rule {{Table}} forward oifname "{{LinkNames.Common}}*" accept
            {{string.Join('\n', before.Select(name => $"add rule {Table} forward iifname \"{name}\" accept"))}}

            """,
            cancellationToken).ConfigureAwait(false);
    }

    private async Task AcceptAdvertisementsAsync(string value)
    {
        foreach (string path in (await File.ReadAllLinesAsync(AdvertisementsPath).ConfigureAwait(false)).Where(IsInterface).Select(name => Path.Join(Interfaces, name, "accept_ra")).Where(File.Exists))
        {
            await File.WriteAllTextAsync(path, value).ConfigureAwait(false);
        }
    }

    private async Task RestoreAsync()
    {
        using FileLock? alone = FileLock.TryTakeOrCreate(LockPath);
        await RestoreAsync(alone).ConfigureAwait(false);
    }

    // Nothing where another instance needs it still.
    private async Task RestoreAsync(FileLock? alone)
    {
        if (alone is null || !File.Exists(BeforePath))
        {
            return;
        }

        // The switch for all clears those of single interfaces.
        string[] note = await File.ReadAllLinesAsync(BeforePath).ConfigureAwait(false);
        string[] on = [.. note.Where(IsInterface)];
        await File.WriteAllTextAsync(All, "0").ConfigureAwait(false);
        if (note.FirstOrDefault(line => line is RedirectsPrefix + "0" or RedirectsPrefix + "1") is { } redirects)
        {
            await File.WriteAllTextAsync(AcceptRedirects, redirects[RedirectsPrefix.Length..]).ConfigureAwait(false);
        }

        foreach (string path in on.Select(name => Path.Join(Interfaces, name, "forwarding")).Where(File.Exists))
        {
            await File.WriteAllTextAsync(path, "1").ConfigureAwait(false);
        }

        await AcceptAdvertisementsAsync("1").ConfigureAwait(false);
        await Firewall.DeleteTableAsync(_tools, Table, CancellationToken.None).ConfigureAwait(false);
        File.Delete(BeforePath);
        File.Delete(AdvertisementsPath);
    }

    private static bool IsInterface(string name) =>
        name.Length is > 0 and < 16 && name is not ("all" or "default" or "." or "..") && name.All(character => character is > ' ' and <= '~' and not '/' and not '"' and not '*' and not '\\');
}
