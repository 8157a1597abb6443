namespace Boxer.Images.Layers;

/// <summary>
/// The memory budget of all pulls and imports of one store. A layer takes its buffers first and then the windows of its decompressor, and waits for
/// either in order of arrival.
/// </summary>
/// <remarks>
/// One half of the budget is for windows, and one window may take no more than that: the first in the queue gets it once the others end. A holder of
/// a window waits for nothing else, so no two layers can wait for each other. The other half is for buffers and names. Buffers of downloads take at
/// most half of it and buffers of stored layers three quarters. So stored layers rarely wait for downloads, and names, which never wait, have
/// space beside either.
/// </remarks>
/// <param name="total">The budget in bytes.</param>
internal sealed class PullMemory(long total)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<Waiter> _forBuffers = [];
    private readonly LinkedList<Waiter> _forStoredBuffers = [];
    private readonly LinkedList<Waiter> _forWindows = [];
    private long _buffers;
    private long _windows;

    /// <summary>Minimum budget in bytes. It has space for several windows of 8 MiB, which every decoder should support (RFC 8878).</summary>
    public const long LeastBytes = 64L << 20;

    /// <summary>Maximum budget in bytes.</summary>
    public const long MostBytes = 64L << 30;

    private long Half => total / 2;

    /// <summary>Bytes in use now.</summary>
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

    /// <summary>Waits for the buffers of a layer from a registry or a file. A holder of a window must not call this.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>A lease, which releases the memory when it is disposed.</returns>
    public ValueTask<Lease> TakeBuffersAsync(long bytes, CancellationToken cancellationToken) => TakeAsync(_forBuffers, bytes, cancellationToken);

    /// <summary>Waits for the buffers of a stored layer, ahead of layers from registries or files. A holder of a window must not call this.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>A lease, which releases the memory when it is disposed.</returns>
    public ValueTask<Lease> TakeStoredBuffersAsync(long bytes, CancellationToken cancellationToken) => TakeAsync(_forStoredBuffers, bytes, cancellationToken);

    /// <summary>Waits for the window of a decompressor. A holder of a window releases it before asking for a larger one.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>A lease, which releases the memory when it is disposed.</returns>
    /// <exception cref="InvalidDataException">One window must not take this much.</exception>
    public ValueTask<Lease> TakeWindowAsync(long bytes, CancellationToken cancellationToken) => bytes > Half
        ? throw TooMuch($"the zstd data takes {bytes} bytes of memory to decompress", "layer")
            .AsPublic("its zstd window takes more memory than this host gives to one layer")
        : TakeAsync(_forWindows, bytes, cancellationToken);

    /// <summary>Waits for the memory to restore the implied directories of an image, in the queue of windows.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>A lease, which releases the memory when it is disposed.</returns>
    /// <exception cref="InvalidDataException">One image must not take this much.</exception>
    public ValueTask<Lease> TakeImpliedAsync(long bytes, CancellationToken cancellationToken) => bytes > Half
        ? throw TooMuch("the directories that the layers have no entries for take too much memory", "image")
            .AsPublic("the directories that its layers have no entries for take more memory than this host gives to one image")
        : TakeAsync(_forWindows, bytes, cancellationToken);

    /// <summary>Takes memory for file names, without waiting: a layer that is half written must not wait.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <returns>A lease, which releases the memory when it is disposed.</returns>
    /// <exception cref="IOException">There is not enough memory left.</exception>
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

    // Names count as buffers.
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

    // Windows first: a layer that waits for one has buffers already, and releases both soonest.
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

    private void Release(LinkedList<Waiter> queue, long bytes)
    {
        lock (_lock)
        {
            Count(queue, -bytes);
            GrantWaiting();
        }
    }

    /// <summary>Memory in use.</summary>
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

        /// <summary>Number of bytes.</summary>
        public long Bytes { get; }

        /// <inheritdoc/>
        public void Dispose() => Interlocked.Exchange(ref _memory, null)?.Release(_queue, Bytes);
    }

    /// <summary>A waiting request.</summary>
    internal sealed class Waiter(long bytes)
    {
        public long Bytes { get; } = bytes;

        public TaskCompletionSource<Lease> Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}

/// <summary>Memory for the file names of one layer, taken in steps as the names grow.</summary>
/// <param name="memory">The budget.</param>
internal sealed class NameMemory(PullMemory memory) : IDisposable
{
    // The first step is part of the layer's buffers, and enough for most layers.
    private const long Step = 1 << 20;
    private readonly List<PullMemory.Lease> _leases = [];

    /// <summary>Takes the memory that the names need now.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <exception cref="IOException">There is not enough memory left.</exception>
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
