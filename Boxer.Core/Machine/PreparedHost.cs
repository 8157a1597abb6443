using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Images.Roots;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Pool;
using Boxer.Processes;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Machine;

/// <summary>Everything that a runner needs on this host, made once: instance, runsc, cgroups, PID 1's program and the image store.</summary>
internal sealed class PreparedHost : IAsyncDisposable
{
    private readonly CleanupStack _cleanup;
    private readonly bool _hasCgroups;

    private PreparedHost(SandboxLauncher launcher, IImageStore images, SandboxPool<PooledSandbox>? pool, CgroupHierarchy? cgroups, CleanupStack cleanup)
    {
        Pool = pool;
        Launcher = launcher;
        Images = images;
        _hasCgroups = cgroups is not null;
        CountsCpu = cgroups?.CountsCpu ?? false;
        _cleanup = cleanup;
    }

    internal SandboxLauncher Launcher { get; }

    internal IImageStore Images { get; }

    /// <summary>Sandboxes that wait; <see langword="null"/> where none are booted ahead.</summary>
    internal SandboxPool<PooledSandbox>? Pool { get; }

    /// <summary>Whether the processor time of whole sandboxes is counted.</summary>
    internal bool CountsCpu { get; }

    /// <summary>Finds the limits of a run that this host does not hold, by property name.</summary>
    /// <param name="limits">The limits, filled in.</param>
    /// <param name="uid">The user of the command: user 0 can become others, each of which has a limit of processes of its own.</param>
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

    /// <summary>Makes it. What was made is given back when a step fails, and the next call starts afresh.</summary>
    /// <param name="checkedOptions">The options.</param>
    /// <param name="images">The application's own store, or a <see cref="RunnerImages"/>.</param>
    /// <param name="isBusy">Whether those who run need the processors; see <see cref="SandboxPool{T}"/>.</param>
    /// <param name="admission">What promises memory to what waits in the pool.</param>
    /// <param name="metrics">What the pool counts.</param>
    /// <param name="loggers">Makes loggers.</param>
    /// <param name="time">The clock.</param>
    /// <param name="stopping">Says that the runner is disposed: from then on nothing is waited for without end.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task<PreparedHost> CreateAsync(
        CheckedOptions checkedOptions,
        IImageStore images,
        Func<bool, bool> isBusy,
        AdmissionQueue admission,
        PoolMetrics metrics,
        ILoggerFactory loggers,
        TimeProvider time,
        CancellationToken stopping,
        CancellationToken cancellationToken)
    {
        BoxerOptions options = checkedOptions.Values;
        ILogger logger = loggers.CreateLogger("Boxer");
        bool privileged = Unistd.geteuid() == 0;
        var cleanup = new CleanupStack();
        try
        {
            PrivateDirectory.Ensure(options.Home);
            string baseDirectory = InstanceDirectory.DefaultBase();
            await InstanceDirectory.ReconcileAsync(baseDirectory, time, logger).ConfigureAwait(false);
            RunnerImages.Use? own = images is RunnerImages ours ? cleanup.Push(await ours.EnterAsync(cancellationToken).ConfigureAwait(false)) : null;
            InstanceDirectory instance = own?.Instance ?? cleanup.Push(InstanceDirectory.Create(baseDirectory));
            DescriptorPoller poller = cleanup.Push(new DescriptorPoller());
            RunscCommandLine runsc = await RunscCommandLine.ProbeAsync(poller, options.RunscPath, options.Platform, rootless: !privileged, time, cancellationToken).ConfigureAwait(false);
            CgroupHierarchy? cgroups = null;
            if (options.IgnoreCgroups)
            {
                Log.CgroupsIgnored(logger);
            }
            else
            {
                cgroups = CgroupHierarchy.Locate(CgroupMounts.Read(), options.CgroupParent, instance.Id, time);
                instance.RecordCgroups(cgroups);
                cleanup.Push(cgroups);
                cgroups.Create();
            }

            string initPath = own?.InitPath ?? await InstallInitAsync(options, time, cancellationToken).ConfigureAwait(false);
            var programs = new RuntimePrograms(instance.Directory);
            programs.Add(runsc.Path);
            programs.Add(initPath);
            bool bindInit = false;
            if (own is not null)
            {
                images = own.Store;
            }
            else
            {
                bindInit = OverlayMounts.GetUnavailableReason(Path.Join(instance.Directory, "probe")) is not null;
                images = bindInit
                    ? images
                    : cleanup.Push(new OverlaidImageStore(images, Path.Join(instance.Directory, "roots"), TopLayer.Create(Path.Join(instance.Directory, "top"), initPath)));
            }

            var launcher = new SandboxLauncher(
                runsc,
                initPath,
                bindInit,
                Directory.CreateDirectory(Path.Join(instance.Directory, "s")).FullName,
                programs,
                cgroups,
                poller,
                options.BootTimeout,
                time,
                logger,
                stopping);

            // Given back first: what waits needs all the rest.
            SandboxPool<PooledSandbox>? pool = (options.Pool.Enabled ?? cgroups?.CanFreeze == true)
                ? cleanup.Push(new SandboxPool<PooledSandbox>(options.Pool, checkedOptions.PoolImages, isBusy, admission, checkedOptions.DefaultLimits.MemoryBytes!.Value, metrics, time, logger))
                : null;
            Log.InstanceReady(logger, instance.Id, runsc.Version, options.Platform, cgroups?.Description ?? "no cgroups");
            return new PreparedHost(
                launcher,
                images,
                pool,
                cgroups,
                cleanup);
        }
        catch (Exception exception) when (HostFault.Is(exception))
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw HostFault.FindInDirectory(options.Home, nameof(options.Home), exception) ?? new SandboxRuntimeException($"This host could not be prepared: {exception.Message}", exception);
        }
        catch
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    public ValueTask DisposeAsync() => _cleanup.DisposeAsync();

    private static async Task<string> InstallInitAsync(BoxerOptions options, TimeProvider time, CancellationToken cancellationToken)
    {
        InitBinary.Sweep(options.Home, time);
        return await InitBinary.InstallAsync(InitBinary.Find(), options.Home, cancellationToken).ConfigureAwait(false);
    }
}
