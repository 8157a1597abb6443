using System.Buffers.Binary;
using System.Net;
using Boxer.Linux;

namespace Boxer.Network.Links;

/// <summary>
/// Hands out /31 ranges from private blocks. The pool claims a block in parts of at most a /24, each by a file lock, so that two instances
/// never hand out the same address, whatever blocks they are configured with. It skips parts that overlap an address or a route of this
/// host. A released address is reused only after a delay, so that no sandbox receives packets for an earlier one.
/// </summary>
internal sealed class AddressPool : IDisposable
{
    private const int PartPrefixBits = 24;
    private static readonly TimeSpan ReuseDelay = TimeSpan.FromSeconds(60);
    private readonly string _directory;
    private readonly IReadOnlyList<IPNetwork> _blocks;
    private readonly Func<CancellationToken, Task<IReadOnlyList<IPNetwork>>> _findUsed;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly Dictionary<uint, FileLock> _locks = [];
    private readonly List<IPNetwork> _parts = [];
    private readonly Queue<AddressPair> _unused = new();
    private readonly Queue<(AddressPair Pair, long ReleasedAt)> _released = new();

    /// <param name="directory">Directory of the locks, shared by all instances on this host.</param>
    /// <param name="blocks">The blocks, in the order in which they are used.</param>
    /// <param name="findUsed">Finds the ranges that this host has addresses in or routes to.</param>
    /// <param name="time">The clock.</param>
    internal AddressPool(
        string directory, IReadOnlyList<IPNetwork> blocks, Func<CancellationToken, Task<IReadOnlyList<IPNetwork>>> findUsed, TimeProvider time)
    {
        PrivateDirectory.Ensure(directory);
        _directory = directory;
        _blocks = blocks;
        _findUsed = findUsed;
        _time = time;
    }

    /// <summary>Acquires a pair of addresses.</summary>
    /// <param name="onNewPart">Receives each newly claimed part before an address of it is used.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxCapacityException">All addresses are in use or wait for reuse.</exception>
    internal async Task<AddressPair> AcquireAsync(Func<IPNetwork, Task> onNewPart, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_unused.Count == 0 && !IsReleasedPairReusable() && await ClaimPartAsync(cancellationToken).ConfigureAwait(false) is { } part)
            {
                await onNewPart(part).ConfigureAwait(false);
                AddPart(part);
            }

            return _unused.TryDequeue(out AddressPair? unused) ? unused
                : IsReleasedPairReusable() ? _released.Dequeue().Pair
                : throw new SandboxCapacityException("All sandbox addresses are in use or wait for reuse. Try again later, or add blocks to NetworkBlocks.", ReuseDelay)
                {
                    PublicMessage = "All sandbox addresses are in use or wait for reuse. Try again later.",
                };
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Releases a pair of addresses.</summary>
    /// <param name="pair">The pair.</param>
    /// <param name="hadTraffic">Whether packets may have been sent from or to the addresses, so that their reuse is delayed.</param>
    internal async Task ReleaseAsync(AddressPair pair, bool hadTraffic)
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        if (hadTraffic)
        {
            _released.Enqueue((pair, _time.GetTimestamp()));
        }
        else
        {
            _unused.Enqueue(pair);
        }

        _gate.Release();
    }

    public void Dispose()
    {
        foreach (FileLock held in _locks.Values)
        {
            held.Dispose();
        }

        _gate.Dispose();
    }

    private bool IsReleasedPairReusable() =>
        _released.TryPeek(out (AddressPair Pair, long ReleasedAt) oldest) && _time.GetElapsedTime(oldest.ReleasedAt) >= ReuseDelay;

    private void AddPart(IPNetwork part)
    {
        _parts.Add(part);
        uint first = ToNumber(part.BaseAddress);
        uint last = first + (1u << (32 - part.PrefixLength)) - 1;
        for (uint address = first; address < last; address += 2)
        {
            _unused.Enqueue(new(ToAddress(address), ToAddress(address + 1)));
        }
    }

    private async Task<IPNetwork?> ClaimPartAsync(CancellationToken cancellationToken)
    {
        IReadOnlyList<IPNetwork> used = await _findUsed(cancellationToken).ConfigureAwait(false);
        foreach (IPNetwork part in _blocks.SelectMany(Split).Where(part => !_parts.Concat(used).Any(other => Overlap(part, other))))
        {
            // Parts smaller than a /24 share the lock of their /24.
            uint locked = ToNumber(part.BaseAddress) & (uint.MaxValue << (32 - PartPrefixBits));
            if (_locks.ContainsKey(locked))
            {
                return part;
            }

            if (FileLock.TryTakeOrCreate(Path.Join(_directory, ToAddress(locked) + ".lock")) is { } held)
            {
                _locks.Add(locked, held);
                return part;
            }
        }

        return null;
    }

    private static bool Overlap(IPNetwork one, IPNetwork other) => one.Contains(other.BaseAddress) || other.Contains(one.BaseAddress);

    private static IEnumerable<IPNetwork> Split(IPNetwork block)
    {
        if (block.PrefixLength >= PartPrefixBits)
        {
            yield return block;
            yield break;
        }

        for (uint i = 0; i < 1u << (PartPrefixBits - block.PrefixLength); i++)
        {
            yield return new IPNetwork(ToAddress(ToNumber(block.BaseAddress) + (i << (32 - PartPrefixBits))), PartPrefixBits);
        }
    }

    private static uint ToNumber(IPAddress address) => BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());

    private static IPAddress ToAddress(uint number)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        return new IPAddress(bytes);
    }
}
