using Boxer.Common;
using Boxer.Images;
using Boxer.Pool;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;

namespace Boxer.Machine;

/// <summary>Everything that one runner has on this host. <see cref="HostPreparation"/> creates it; disposing it removes all of it.</summary>
internal sealed class PreparedHost : IAsyncDisposable
{
    private readonly CleanupStack _cleanup;
    private readonly bool _hasCgroups;

    /// <param name="launcher">Boots sandboxes.</param>
    /// <param name="images">The image store.</param>
    /// <param name="pool">The pool, or <see langword="null"/>.</param>
    /// <param name="cgroups">The cgroups, or <see langword="null"/> if they are ignored.</param>
    /// <param name="cleanup">Removes everything.</param>
    internal PreparedHost(SandboxLauncher launcher, IImageStore images, RunnerPool? pool, CgroupHierarchy? cgroups, CleanupStack cleanup)
    {
        Launcher = launcher;
        Images = images;
        Pool = pool;
        _hasCgroups = cgroups is not null;
        CountsCpu = cgroups?.CountsCpu ?? false;
        _cleanup = cleanup;
    }

    /// <summary>Boots sandboxes.</summary>
    internal SandboxLauncher Launcher { get; }

    /// <summary>The image store. The roots of its images have PID 1's program, or a file to mount it on.</summary>
    internal IImageStore Images { get; }

    /// <summary>Sandboxes that are booted ahead; <see langword="null"/> if none are.</summary>
    internal RunnerPool? Pool { get; }

    /// <summary>Whether the processor time of whole sandboxes is counted.</summary>
    internal bool CountsCpu { get; }

    /// <summary>Finds the limits of a run that this host does not enforce, by property name.</summary>
    /// <param name="limits">The limits, filled in.</param>
    /// <param name="uid">The user of the command. User 0 can become other users, each with a process limit of its own.</param>
    internal IReadOnlyList<string> FindUnenforced(ResourceLimits limits, uint uid)
    {
        List<string> found = [];
        if (!_hasCgroups)
        {
            found.AddRange([nameof(ResourceLimits.CpuCores), nameof(ResourceLimits.MemoryBytes)]);
            if (uid == 0)
            {
                found.Add(nameof(ResourceLimits.Pids));
            }
        }

        if (!CountsCpu && limits.CpuTime is not null)
        {
            found.Add(nameof(ResourceLimits.CpuTime));
        }

        return found;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _cleanup.DisposeAsync();
}
