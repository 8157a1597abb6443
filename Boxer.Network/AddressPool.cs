using System.Buffers.Binary;
using System.Net;
using Boxer.Linux;

namespace Boxer.Network;

/// <summary>Two addresses of a point-to-point link (RFC 3021): the host's end and the sandbox's.</summary>
internal sealed record AddressPair(IPAddress Host, IPAddress Guest);

/// <summary>
/// Hands out /31 networks from private blocks. A part of a block belongs to one process while it holds its lock, so that two instances
/// never give the same, whatever blocks each is configured with; a part that overlaps an address or a route of this host is passed over; and an address rests before it is used
/// again, so that nobody inherits what is still on its way to another.
/// </summary>
internal sealed class AddressPool : IDisposable
{
    private const int PartBits = 24;
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(60);
    private readonly string _directory;
    private readonly IReadOnlyList<IPNetwork> _blocks;
    private readonly Func<CancellationToken, Task<IReadOnlyList<IPNetwork>>> _findUsed;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly Dictionary<uint, FileLock> _locks = [];
    private readonly List<IPNetwork> _parts = [];
    private readonly Queue<AddressPair> _fresh = new();
    private readonly Queue<(AddressPair Pair, long Since)> _resting = new();

    /// <param name="directory">Where the locks of parts are; shared by all instances of this host.</param>
    /// <param name="blocks">The blocks, in the order in which they are tried.</param>
    /// <param name="findUsed">The networks that this host has addresses in and routes to.</param>
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

    /// <summary>The parts that are this process's; more come as they are needed.</summary>
    internal IReadOnlyList<IPNetwork> Parts => _parts;

    /// <summary>Takes a pair.</summary>
    /// <param name="onNewPart">Is told of a part before an address of it is used.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxCapacityException">None is left.</exception>
    internal async Task<AddressPair> TakeAsync(Func<IPNetwork, Task> onNewPart, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_fresh.Count == 0 && !(_resting.TryPeek(out var oldest) && _time.GetElapsedTime(oldest.Since) >= Rest))
            {
                if (await ClaimAsync(cancellationToken).ConfigureAwait(false) is { } part)
                {
                    await onNewPart(part).ConfigureAwait(false);
                    _parts.Add(part);
                    for (uint address = ToNumber(part.BaseAddress), last = address + (1u << (32 - part.PrefixLength)) - 1; address < last; address += 2)
                    {
                        _fresh.Enqueue(new(ToAddress(address), ToAddress(address + 1)));
                    }
                }
            }

            if (_fresh.TryDequeue(out AddressPair? fresh))
            {
                return fresh;
            }

            return _resting.TryPeek(out var rested) && _time.GetElapsedTime(rested.Since) >= Rest
                ? _resting.Dequeue().Pair
                : throw new SandboxCapacityException("All addresses for sandboxes are in use or rest: try again later, or add blocks to NetworkBlocks.", Rest)
                {
                    PublicMessage = "All addresses for sandboxes are in use or rest: try again later.",
                };
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Gives a pair back.</summary>
    /// <param name="pair">The pair.</param>
    /// <param name="wasOpen">Whether packets may have gone from it and to it, so that it rests.</param>
    internal async Task GiveBackAsync(AddressPair pair, bool wasOpen)
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        if (wasOpen)
        {
            _resting.Enqueue((pair, _time.GetTimestamp()));
        }
        else
        {
            _fresh.Enqueue(pair);
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

    private async Task<IPNetwork?> ClaimAsync(CancellationToken cancellationToken)
    {
        IReadOnlyList<IPNetwork> used = await _findUsed(cancellationToken).ConfigureAwait(false);
        foreach (IPNetwork part in _blocks.SelectMany(Split).Where(part => !_parts.Concat(used).Any(other => Overlap(part, other))))
        {
            // Smaller parts share the lock of the /24 that they are in.
            uint whole = ToNumber(part.BaseAddress) & (uint.MaxValue << (32 - PartBits));
            if (_locks.ContainsKey(whole))
            {
                return part;
            }

            if (FileLock.TryTakeOrCreate(Path.Join(_directory, ToAddress(whole) + ".lock")) is { } held)
            {
                _locks.Add(whole, held);
                return part;
            }
        }

        return null;
    }

    internal static bool Overlap(IPNetwork one, IPNetwork other) => one.Contains(other.BaseAddress) || other.Contains(one.BaseAddress);

    private static IEnumerable<IPNetwork> Split(IPNetwork block)
    {
        if (block.PrefixLength >= PartBits)
        {
            yield return block;
            yield break;
        }

        for (uint i = 0; i < 1u << (PartBits - block.PrefixLength); i++)
        {
            yield return new IPNetwork(ToAddress(ToNumber(block.BaseAddress) + (i << (32 - PartBits))), PartBits);
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
