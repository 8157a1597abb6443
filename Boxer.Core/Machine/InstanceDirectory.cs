using System.Security.Cryptography;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;

namespace Boxer.Machine;

/// <summary>
/// The directory of one instance on this host: it has a name, a locked file while its process lives, and everything that must not outlive it. The
/// lock ends with the process, however that ends; then <see cref="StartupReconciler"/> of the next start removes the rest.
/// </summary>
internal sealed class InstanceDirectory : IAsyncDisposable
{
    private const string CgroupsFile = "cgroups";
    private readonly ClaimedDirectory _claimed;

    private InstanceDirectory(ClaimedDirectory claimed) => _claimed = claimed;

    /// <summary>Identifier of the instance: eight hexadecimal digits, also in the names of links, tables and cgroups.</summary>
    internal string Id => _claimed.Name;

    /// <summary>The directory of this instance.</summary>
    internal string Directory => _claimed.Path;

    /// <summary>Gets the directory of all instances: /run/boxer for root, else $XDG_RUNTIME_DIR/boxer, else /tmp/boxer-UID.</summary>
    internal static string DefaultBase()
    {
        if (Unistd.geteuid() == 0)
        {
            return "/run/boxer";
        }

        string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        return string.IsNullOrEmpty(runtime) ? $"/tmp/boxer-{Unistd.geteuid()}" : Path.Join(runtime, "boxer");
    }

    /// <summary>Creates a new instance.</summary>
    /// <param name="baseDirectory">The directory of all instances.</param>
    /// <exception cref="SandboxPrivilegeException">The directory cannot be created.</exception>
    /// <exception cref="SandboxRuntimeException">The file system is full.</exception>
    internal static InstanceDirectory Create(string baseDirectory)
    {
        PrivateDirectory.Ensure(baseDirectory);
        try
        {
            return new InstanceDirectory(ClaimedDirectory.Create(baseDirectory, () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HostFault.ToException($"Nothing can be created in {baseDirectory}: {exception.Message}", exception);
        }
    }

    /// <summary>Whether the process of an instance lives.</summary>
    /// <param name="baseDirectory">The directory of all instances.</param>
    /// <param name="id">The identifier of the instance.</param>
    internal static bool IsAlive(string baseDirectory, string id) => ClaimedDirectory.IsAlive(baseDirectory, id);

    /// <summary>Removes everything of an instance: processes, cgroups, mounts and the directory itself.</summary>
    /// <param name="directory">The directory of the instance, which must be dead or the caller's own.</param>
    /// <param name="time">The clock.</param>
    internal static async Task RemoveAsync(string directory, TimeProvider time)
    {
        await RemoveCgroupsAsync(directory, time).ConfigureAwait(false);

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

    /// <summary>Records where the cgroups of this instance are. Call it before they are created, so that the next start finds them.</summary>
    /// <param name="cgroups">The cgroups.</param>
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

    private static async Task RemoveCgroupsAsync(string directory, TimeProvider time)
    {
        string file = Path.Join(directory, CgroupsFile);
        if (!File.Exists(file))
        {
            return;
        }

        // Only names that an instance gives: a damaged file must not make us kill processes of others.
        string name = "boxer-" + Path.GetFileName(directory);
        string[] lines = File.ReadAllLines(file);
        string[] recorded = [.. lines.Where(line => Path.GetFileName(line) == name)];
        await CgroupHierarchy.RemoveAsync(recorded, time).ConfigureAwait(false);
        CgroupHierarchy.RemoveEmpty(lines.Where(line => recorded.Any(child => child.StartsWith(line + "/", StringComparison.Ordinal))));
    }
}
