namespace Boxer.Admission;

internal sealed partial class AdmissionQueue
{
    /// <summary>The place of one run or session. Disposing it, once or more, gives it back.</summary>
    internal sealed class Ticket : IDisposable
    {
        private readonly AdmissionQueue _queue;

        internal Ticket(AdmissionQueue queue, Share share, bool isSession = false)
        {
            _queue = queue;
            Share = share;
            IsSession = isSession;
        }

        internal Share Share { get; }

        internal bool IsSession { get; }

        internal bool HasLeft { get; set; }

        /// <summary>Waits for a running slot.</summary>
        /// <param name="memoryBytes">The memory that the run is promised, in bytes.</param>
        /// <param name="cancellationToken">Cancels the wait.</param>
        /// <returns>The slot; disposing it, once or more, gives it back.</returns>
        /// <exception cref="SandboxCapacityException">No slot became free in time, or a run of another key displaced this one.</exception>
        internal Task<Slot> AcquireSlotAsync(long memoryBytes, CancellationToken cancellationToken) =>
            _queue.AcquireSlotAsync(this, memoryBytes, cancellationToken);

        /// <summary>
        /// Waits for processors. Only a run with a slot and a sandbox may do so, and it waits for nothing else afterwards: this excludes deadlocks.
        /// </summary>
        /// <param name="cores">Number of processors, at most the machine's.</param>
        /// <param name="isExclusive">Whether no more processors than the machine has may be promised to all runs together while it holds them.</param>
        /// <param name="cancellationToken">Cancels the wait.</param>
        /// <returns>The processors; disposing it, once or more, gives them back.</returns>
        /// <exception cref="SandboxCapacityException">No processors became free in time.</exception>
        internal Task<IDisposable> AcquireProcessorsAsync(double cores, bool isExclusive, CancellationToken cancellationToken) =>
            _queue.AcquireProcessorsAsync(this, cores, isExclusive, cancellationToken);

        /// <summary>
        /// Takes processors for work that has no end of its own, such as a server in a session, without waiting. All such work together is promised at
        /// most half of the machine, so that runs and calls always find the other half.
        /// </summary>
        /// <param name="cores">Number of processors. Fewer are promised if half of the machine is promised already.</param>
        /// <returns>The processors; disposing it, once or more, gives them back.</returns>
        internal IDisposable HoldBackgroundProcessors(double cores) => _queue.HoldBackgroundProcessors(Share, cores);

        /// <inheritdoc/>
        public void Dispose() => _queue.Leave(this);
    }

    /// <summary>The places, slots and processors of one key.</summary>
    internal sealed class Share(string key)
    {
        public string Key => key;

        public int Places { get; set; }

        public int Pulls { get; set; }

        public int Running { get; set; }

        /// <summary>Processors that its commands are promised, in thousandths.</summary>
        public long Processors { get; set; }

        /// <summary>Open sessions.</summary>
        public int Sessions { get; set; }
    }

    /// <summary>
    /// A running slot and the memory that is promised with it. Disposing it, once or more, gives both back. A session gives the slot back when its
    /// sandbox has booted, so that open sessions do not count as running.
    /// </summary>
    internal sealed class Slot : IDisposable
    {
        private readonly AdmissionQueue _queue;

        internal Slot(AdmissionQueue queue, Share share, long memory, long since)
        {
            _queue = queue;
            Share = share;
            Memory = memory;
            Since = since;
        }

        internal Share Share { get; }

        internal long Since { get; }

        // The lock of the queue protects both.
        internal long Memory { get; set; }

        internal bool IsRunning { get; set; } = true;

        /// <summary>Gives the running slot back, and keeps the memory until the disposal.</summary>
        internal void KeepOnlyMemory() => _queue.GiveBack(this, withMemory: false);

        /// <inheritdoc/>
        public void Dispose() => _queue.GiveBack(this, withMemory: true);
    }
}
