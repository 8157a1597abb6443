using System.Security.Cryptography;
using Boxer.Diagnostics;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;
using Microsoft.Extensions.Logging;

namespace Boxer.Machine;

/// <summary>
/// What one runner has on this host while it lives: a name, a locked file that says that it lives, and a directory for everything
/// that must not outlive it. The lock goes with the process, however that ends; whoever starts next takes away what is left.
/// </summary>
internal sealed class InstanceDirectory : IAsyncDisposable
{
    private const string CgroupsFile = "cgroups";
    private readonly ClaimedDirectory _claimed;

    private InstanceDirectory(ClaimedDirectory claimed) => _claimed = claimed;

    /// <summary>Eight hexadecimal digits, also in the names of links, tables and cgroups.</summary>
    internal string Id => _claimed.Name;

    /// <summary>The directory of this instance.</summary>
    internal string Directory => _claimed.Path;

    /// <summary>Where instances live: /run/boxer for root, else $XDG_RUNTIME_DIR/boxer, else /tmp/boxer-UID.</summary>
    internal static string DefaultBase()
    {
        if (Unistd.geteuid() == 0)
        {
            return "/run/boxer";
        }

        string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        return string.IsNullOrEmpty(runtime) ? $"/tmp/boxer-{Unistd.geteuid()}" : Path.Join(runtime, "boxer");
    }

    /// <summary>Makes a new instance.</summary>
    /// <exception cref="SandboxPrivilegeException">Its directory cannot be made.</exception>
    /// <exception cref="SandboxRuntimeException">There is no room for it.</exception>
    internal static InstanceDirectory Create(string baseDirectory)
    {
        PrivateDirectory.Ensure(baseDirectory);
        try
        {
            return new InstanceDirectory(ClaimedDirectory.Create(baseDirectory, () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HostFault.ToException($"Nothing can be made in {baseDirectory}: {exception.Message}", exception);
        }
    }

    /// <summary>Takes away what dead instances left: processes, cgroups, mounts, directories. Live ones are not touched.</summary>
    internal static async Task ReconcileAsync(string baseDirectory, TimeProvider time, ILogger logger)
    {
        if (!System.IO.Directory.Exists(baseDirectory))
        {
            return;
        }

        PrivateDirectory.Ensure(baseDirectory);
        foreach (string id in ClaimedDirectory.FindNames(baseDirectory))
        {
            try
            {
                using ClaimedDirectory? dead = ClaimedDirectory.TryClaim(baseDirectory, id);
                if (dead is null)
                {
                    continue;
                }

                await RemoveAsync(dead.Path, time).ConfigureAwait(false);
                dead.Forget();
                Log.InstanceReconciled(logger, id);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                Log.ReconcileFailed(logger, id, exception);
            }
        }
    }

    /// <summary>Whether the process that made an instance lives.</summary>
    internal static bool IsAlive(string baseDirectory, string id) => ClaimedDirectory.IsAlive(baseDirectory, id);

    /// <summary>Writes down where this instance's cgroups are, before they are made.</summary>
    internal void RecordCgroups(CgroupHierarchy cgroups) => File.WriteAllLines(Path.Join(Directory, CgroupsFile), [.. cgroups.Directories, .. cgroups.MissingParents()]);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await RemoveAsync(Directory, TimeProvider.System).ConfigureAwait(false);
            _claimed.Forget();
        }
        finally
        {
            _claimed.Dispose();
        }
    }

    private static async Task RemoveAsync(string directory, TimeProvider time)
    {
        string cgroups = Path.Join(directory, CgroupsFile);
        if (File.Exists(cgroups))
        {
            // Only names that an instance gives: a damaged file must not make us kill strangers.
            string name = "boxer-" + Path.GetFileName(directory);
            string[] lines = File.ReadAllLines(cgroups);
            string[] recorded = [.. lines.Where(line => Path.GetFileName(line) == name)];
            await CgroupHierarchy.RemoveAsync(recorded, time).ConfigureAwait(false);
            CgroupHierarchy.RemoveEmpty(lines.Where(line => recorded.Any(child => child.StartsWith(line + "/", StringComparison.Ordinal))));
        }

        // Without cgroups, the runtime's processes are known by their executable and the directory in their arguments.
        await ProcessTable.EndRuntimeAsync(directory, RuntimePrograms.Read(directory), time).ConfigureAwait(false);
        foreach (string mountPoint in MountTable.Below(directory))
        {
            _ = SysMount.umount2(mountPoint, SysMount.MNT_DETACH);
        }

        if (System.IO.Directory.Exists(directory))
        {
            System.IO.Directory.Delete(directory, recursive: true);
        }
    }
}
