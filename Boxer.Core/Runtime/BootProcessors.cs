using Boxer.Linux;

namespace Boxer.Runtime;

/// <summary>
/// The processors that sandboxes boot on. gVisor shows a command as many processors as it had itself when it booted, so a sandbox boots on as
/// many as its limit is. Those that fewest boot on come first, then those that were chosen the longest time ago.
/// </summary>
internal sealed class BootProcessors
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, Use> _uses = [];
    private long _taken;

    /// <summary>Chooses processors for a boot.</summary>
    /// <param name="count">How many.</param>
    /// <returns>The choice, to be disposed after the boot; <see langword="null"/> where this process has no more than that, so that a sandbox needs none.</returns>
    /// <exception cref="IOException">The processors of this process cannot be read.</exception>
    internal Choice? Take(int count)
    {
        byte[] all = ProcessorAffinity.ReadOwn();
        IReadOnlyList<int> numbers = ProcessorAffinity.List(all);
        if (count >= numbers.Count)
        {
            return null;
        }

        lock (_lock)
        {
            int[] chosen = [.. numbers.OrderBy(number => UseOf(number).Boots).ThenBy(number => UseOf(number).LastTaken).Take(count)];
            foreach (int number in chosen)
            {
                UseOf(number).Boots++;
                UseOf(number).LastTaken = ++_taken;
            }

            return new Choice(this, chosen, all);
        }
    }

    private Use UseOf(int number)
    {
        if (!_uses.TryGetValue(number, out Use? use))
        {
            _uses[number] = use = new();
        }

        return use;
    }

    private void Return(IReadOnlyList<int> chosen)
    {
        lock (_lock)
        {
            foreach (int number in chosen)
            {
                _uses[number].Boots--;
            }
        }
    }

    /// <summary>The processors of one boot.</summary>
    internal sealed class Choice(BootProcessors owner, IReadOnlyList<int> numbers, byte[] all) : IDisposable
    {
        private int _disposed;

        /// <summary>Their numbers.</summary>
        internal IReadOnlyList<int> Numbers { get; } = numbers;

        /// <summary>Gives every thread of the booted processes all processors of this process: what a command sees stays as it is.</summary>
        /// <param name="readProcesses">Lists the processes of the sandbox.</param>
        internal void Widen(Func<IEnumerable<int>> readProcesses) => ProcessorAffinity.Widen(readProcesses, all);

        /// <summary>The boot is over.</summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                owner.Return(Numbers);
            }
        }
    }

    private sealed class Use
    {
        public int Boots { get; set; }

        public long LastTaken { get; set; }
    }
}
