namespace Boxer.Images.Layers;

/// <summary>
/// The bytes of this process's memory that pulls and imports of one store may take together. A layer takes its buffers first and the windows of
/// its decompressor after, and waits for either in the order of arrival.
/// </summary>
/// <remarks>
/// Windows have one half for themselves, and one window may take no more: the first that waits gets it once the others end. Whoever holds a
/// window waits for nothing else, so no two layers can wait for each other. The other half is for buffers and names. Buffers of downloads take
/// at most a half of it and those of layers that are here three quarters, so that neither waits for the other where it need not, and names,
/// which do not wait, find room beside either.
/// </remarks>
/// <param name="total">Bytes.</param>
internal sealed class PullMemory(long total)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<Waiter> _forBuffers = [];
    private readonly LinkedList<Waiter> _forStoredBuffers = [];
    private readonly LinkedList<Waiter> _forWindows = [];
    private long _buffers;
    private long _windows;

    /// <summary>The least that may be configured: a window of 8 MiB, which every decoder should take (RFC 8878), has room in it several times.</summary>
    public const long LeastBytes = 64L << 20;

    /// <summary>The most that may be configured.</summary>
    public const long MostBytes = 64L << 30;

    private long Half => total / 2;

    /// <summary>Bytes that are taken now.</summary>
    public long Used
    {
        get
        {
            lock (_lock)
            {
                return _buffers + _windows;
            }
        }
    }

    /// <summary>Waits for the buffers of a layer that comes from a registry or a file. Whoever holds a window must not.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="cancellationToken">Leaves the queue.</param>
    /// <returns>Gives them back when it is disposed.</returns>
    public ValueTask<Lease> TakeBuffersAsync(long bytes, CancellationToken cancellationToken) => TakeAsync(_forBuffers, bytes, cancellationToken);

    /// <summary>Waits for the buffers of a layer that is stored, not behind those that come from elsewhere. Whoever holds a window must not.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="cancellationToken">Leaves the queue.</param>
    /// <returns>Gives them back when it is disposed.</returns>
    public ValueTask<Lease> TakeStoredBuffersAsync(long bytes, CancellationToken cancellationToken) => TakeAsync(_forStoredBuffers, bytes, cancellationToken);

    /// <summary>Waits for the window of a decompressor. Whoever holds one gives it back before asking for a larger one.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="cancellationToken">Leaves the queue.</param>
    /// <returns>Gives them back when it is disposed.</returns>
    /// <exception cref="InvalidDataException">One window may not take so much.</exception>
    public ValueTask<Lease> TakeWindowAsync(long bytes, CancellationToken cancellationToken) => bytes > Half
        ? throw TooMuch($"the zstd data takes {bytes} bytes of memory to decompress", "layer")
            .AsPublic("its zstd window takes more memory than this host gives to one layer")
        : TakeAsync(_forWindows, bytes, cancellationToken);

    /// <summary>Waits for the memory to restore the implied directories of an image, in the queue of windows.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="cancellationToken">Leaves the queue.</param>
    /// <returns>Gives them back when it is disposed.</returns>
    /// <exception cref="InvalidDataException">One image may not take so much.</exception>
    public ValueTask<Lease> TakeImpliedAsync(long bytes, CancellationToken cancellationToken) => bytes > Half
        ? throw TooMuch("the directories that the layers have no entries for take too much memory", "image")
            .AsPublic("the directories that its layers have no entries for take more memory than this host gives to one image")
        : TakeAsync(_forWindows, bytes, cancellationToken);

    /// <summary>Takes memory for names of files that are remembered, without waiting: a writer does not wait half-way.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <returns>Gives them back when it is disposed.</returns>
    /// <exception cref="IOException">There is not so much.</exception>
    public Lease TakeNames(long bytes)
    {
        lock (_lock)
        {
            return _buffers + bytes <= Half
                ? Grant(_forBuffers, bytes)
                : throw new IOException("pulls take too much memory for the names of the image's files; pull fewer images at once, or raise PullMemoryBytes")
                    .AsPublic("other pulls take the memory for the names of its files; try again");
        }
    }

    private async ValueTask<Lease> TakeAsync(LinkedList<Waiter> queue, long bytes, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Waiter waiter;
        lock (_lock)
        {
            if (queue.Count == 0 && Fits(queue, bytes))
            {
                return Grant(queue, bytes);
            }

            waiter = new Waiter(bytes);
            queue.AddLast(waiter);
        }

        using CancellationTokenRegistration leaving = cancellationToken.UnsafeRegister(
            _ =>
            {
                lock (_lock)
                {
                    if (queue.Remove(waiter))
                    {
                        waiter.Granted.TrySetCanceled(cancellationToken);
                        GrantWaiting();
                    }
                }
            },
            null);
        return await waiter.Granted.Task.ConfigureAwait(false);
    }

    private InvalidDataException TooMuch(string what, string one) =>
        new($"{what}, and half of the {total} bytes that pulls may take is the most for one {one}; raise PullMemoryBytes");

    // Names are counted with the buffers.
    private bool Fits(LinkedList<Waiter> queue, long bytes) =>
        queue == _forWindows ? _windows + bytes <= total - Half
        : _buffers + bytes <= (queue == _forStoredBuffers ? Half - (Half / 4) : Half / 2);

    private Lease Grant(LinkedList<Waiter> queue, long bytes)
    {
        Count(queue, bytes);
        return new Lease(this, queue, bytes);
    }

    private void Count(LinkedList<Waiter> queue, long bytes)
    {
        if (queue == _forWindows)
        {
            _windows += bytes;
        }
        else
        {
            _buffers += bytes;
        }
    }

    // Windows first: a layer that waits for one has buffers already, and gives both back soonest.
    private void GrantWaiting()
    {
        foreach (LinkedList<Waiter> queue in (ReadOnlySpan<LinkedList<Waiter>>)[_forWindows, _forStoredBuffers, _forBuffers])
        {
            while (queue.First is { Value: var first } && Fits(queue, first.Bytes))
            {
                queue.RemoveFirst();
                first.Granted.SetResult(Grant(queue, first.Bytes));
            }
        }
    }

    private void GiveBack(LinkedList<Waiter> queue, long bytes)
    {
        lock (_lock)
        {
            Count(queue, -bytes);
            GrantWaiting();
        }
    }

    /// <summary>Memory that was taken.</summary>
    public sealed class Lease : IDisposable
    {
        private readonly LinkedList<Waiter> _queue;
        private PullMemory? _memory;

        internal Lease(PullMemory memory, LinkedList<Waiter> queue, long bytes)
        {
            _memory = memory;
            _queue = queue;
            Bytes = bytes;
        }

        /// <summary>Bytes taken.</summary>
        public long Bytes { get; }

        /// <inheritdoc/>
        public void Dispose() => Interlocked.Exchange(ref _memory, null)?.GiveBack(_queue, Bytes);
    }

    /// <summary>A request that waits.</summary>
    internal sealed class Waiter(long bytes)
    {
        public long Bytes { get; } = bytes;

        public TaskCompletionSource<Lease> Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}

/// <summary>Memory for the names of one layer, taken in steps as they are remembered.</summary>
/// <param name="memory">The budget.</param>
internal sealed class NameMemory(PullMemory memory) : IDisposable
{
    // The first is part of the layer's buffers, and most layers do with it.
    private const long Step = 1 << 20;
    private readonly List<PullMemory.Lease> _leases = [];

    /// <summary>Says how much the names take now.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <exception cref="IOException">There is not so much.</exception>
    public void Grow(long bytes)
    {
        while (bytes >= Step * (_leases.Count + 1))
        {
            _leases.Add(memory.TakeNames(Step));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _leases.ForEach(lease => lease.Dispose());
        _leases.Clear();
    }
}
