using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>The pooled sandboxes of one <see cref="PoolKey"/>, and how many there should be. Used under the lock of <see cref="SandboxPool{T}"/>.</summary>
/// <typeparam name="T">Type of the sandboxes.</typeparam>
internal sealed class PoolEntry<T>
    where T : class, IPooledSandbox
{
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxBackoff = TimeSpan.FromMinutes(1);
    private TimeSpan _backoff;

    /// <summary>Sandboxes that are ready, the oldest first.</summary>
    internal Queue<ReadySandbox<T>> Ready { get; } = new();

    /// <summary>Recent demand of runs.</summary>
    internal Demand Demand { get; } = new();

    /// <summary>Boots a sandbox. The stack takes over what the boot creates, and the sandbox itself.</summary>
    internal Func<CleanupStack, CancellationToken, Task<T>> Boot { get; set; } = null!;

    /// <summary>Reference of the image.</summary>
    internal string Reference { get; set; } = "";

    /// <summary>Number of sandboxes to keep without any demand.</summary>
    internal int Minimum { get; set; }

    /// <summary>Number of sandboxes that are being booted.</summary>
    internal int Booting { get; set; }

    /// <summary>The boot under way or the last one, until a sandbox that did not become ready is destroyed.</summary>
    internal Task LastBoot { get; set; } = Task.CompletedTask;

    /// <summary>Earliest time of the next boot, after a failed boot or an eviction for a run.</summary>
    internal TimeSpan NotBefore { get; private set; }

    /// <summary>Number of sandboxes to keep while the entry is in use.</summary>
    internal int Target(TimeSpan now) => Math.Max(Minimum, Demand.Target(now));

    /// <summary>Prevents boots until a time.</summary>
    internal void DelayBoots(TimeSpan until) => NotBefore = NotBefore > until ? NotBefore : until;

    /// <summary>Records a boot that succeeded.</summary>
    internal void AddBoot(TimeSpan duration)
    {
        _backoff = TimeSpan.Zero;
        Demand.AddBoot(duration);
    }

    /// <summary>Records a boot that failed, and delays the next one: by 1 s first, then by twice as long each time, up to 1 min.</summary>
    /// <returns>The delay.</returns>
    internal TimeSpan AddFailedBoot(TimeSpan now)
    {
        _backoff = _backoff == TimeSpan.Zero ? FirstBackoff : _backoff < MaxBackoff / 2 ? _backoff * 2 : MaxBackoff;
        NotBefore = now + _backoff;
        return _backoff;
    }
}

/// <summary>A sandbox that is ready for a run.</summary>
/// <typeparam name="T">Type of the sandbox.</typeparam>
/// <param name="Sandbox">The sandbox, frozen.</param>
/// <param name="Since">The time at which it became ready.</param>
/// <param name="Memory">The memory that is promised to it.</param>
internal readonly record struct ReadySandbox<T>(T Sandbox, TimeSpan Since, ResourceLedger.PoolReservation Memory)
    where T : class, IPooledSandbox
{
    /// <summary>Whether the sandbox can serve a run with a memory limit.</summary>
    internal bool FitsIn(long limitBytes)
    {
        try
        {
            // The promise is known and is an upper bound of the other.
            return Memory.Bytes <= limitBytes || Sandbox.LeastBytes <= limitBytes;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>Whether the sandbox is alive. A failure to find out is logged and means no.</summary>
    internal bool IsAlive(ILogger logger)
    {
        try
        {
            return Sandbox.IsAlive;
        }
        catch (Exception fault)
        {
            Log.PoolSandboxLost(logger, fault);
            return false;
        }
    }

    /// <summary>Thaws the sandbox if it is alive. A failure is logged.</summary>
    /// <returns>Whether a run can use it.</returns>
    internal bool TryThaw(ILogger logger)
    {
        if (!IsAlive(logger))
        {
            return false;
        }

        try
        {
            Sandbox.Thaw();
            return true;
        }
        catch (Exception fault)
        {
            Log.PoolSandboxLost(logger, fault);
            return false;
        }
    }
}
