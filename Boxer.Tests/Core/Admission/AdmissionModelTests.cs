using Boxer.Admission;
using CsCheck;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Admission;

/// <summary>
/// Random sequences of steps against a model: the bounds of memory and processors hold, keys take turns, runs of one key keep their order, and every run is
/// served in the end.
/// </summary>
public sealed class AdmissionModelTests
{
    private const int Running = 3;
    private const int RunningPerKey = 2;
    private const long Memory = 100;
    private const int Processors = 2;
    private const double CpuOvercommit = 1.5;

    [Fact]
    public void AdmissionQueue_and_ResourceLedger_keep_their_invariants_for_random_steps() =>
        Gen.Select(Gen.Int[0, 13], Gen.Int[0, 2], Gen.Int[1, 100]).Array[1, 80].Sample(
            steps =>
            {
                var model = new Model();
                foreach ((int kind, int key, int amount) in steps)
                {
                    model.Step(kind, key, amount);
                }

                model.End();
            },
            iter: 1_000);

    private sealed class Model
    {
        private readonly FakeTimeProvider _time = new();
        private readonly AdmissionQueue _queue;
        private readonly List<Run> _runs = [];
        private readonly List<ResourceLedger.PoolReservation> _pooled = [];
        private int _asked;

        public Model() => _queue = new(
            new AdmissionBounds
            {
                Running = Running,
                MemoryBytes = Memory,
                Processors = Processors,
                CpuOvercommit = CpuOvercommit,
                Waiting = 20,
                RunningPerKey = RunningPerKey,
                Timeout = TimeSpan.FromSeconds(60),
            },
            _time);

        private IEnumerable<Run> Holding => _runs.Where(run => run.Slot.IsCompletedSuccessfully);

        private IEnumerable<Run> Waiting => _runs.Where(run => !run.Slot.IsCompleted);

        private IEnumerable<Run> Commands => _runs.Where(run => run.Processors is { IsCompletedSuccessfully: true });

        private IEnumerable<Run> WaitingForProcessors => _runs.Where(run => run.Processors is { IsCompleted: false });

        public void Step(int kind, int key, int amount)
        {
            switch (kind)
            {
                case <= 4:
                    Enter($"key{key}", amount);
                    break;
                case 5 or 6 when Holding.Any():
                    GiveBack(Holding.ElementAt(amount % Holding.Count()));
                    break;
                case 7 when Waiting.Any():
                    Waiting.ElementAt(amount % Waiting.Count()).Cancel.Cancel();
                    break;
                case 8 when _queue.Ledger.TryReserveForPool(amount) is { } reservation:
                    Assert.False(Waiting.Any(), "the pool gets no memory while a run waits");
                    reservation.Shrink(amount / 2);
                    _pooled.Add(reservation);
                    break;
                case 9 when _pooled.Count > 0:
                    _pooled[amount % _pooled.Count].Dispose();
                    _pooled.RemoveAt(amount % _pooled.Count);
                    break;
                case 10 or 11 when Holding.FirstOrDefault(run => run.Processors is null) is { } booted:
                    Start(booted, amount);
                    break;
                case 12 when WaitingForProcessors.Any():
                    WaitingForProcessors.ElementAt(amount % WaitingForProcessors.Count()).Cancel.Cancel();
                    break;
                case 13 when _queue.Ledger.ShortBytes > 0:
                    EvictForMemory(_queue.Ledger.ShortBytes);
                    break;
                default:
                    _time.Advance(TimeSpan.FromSeconds(amount / 4));
                    break;
            }

            Check();
        }

        // All runs are served in the end, and everything is released.
        public void End()
        {
            _pooled.ForEach(reservation => reservation.Dispose());
            Check();
            while (Holding.FirstOrDefault() is { } run)
            {
                GiveBack(run);
                Check();
            }

            Assert.Empty(_runs);
            Assert.Equal((0, 0, 0, (0, 0)), (_queue.Ledger.PromisedBytes, _queue.Ledger.PromisedProcessors, _queue.WaitingForProcessors, _queue.Count));
        }

        private void Enter(string key, int memory)
        {
            try
            {
                var run = new Run(key, memory, _queue.Enter(key));
                run.Slot = run.Place.AcquireSlotAsync(memory, run.Cancel.Token);
                _runs.Add(run);
            }
            catch (SandboxCapacityException refused)
            {
                Assert.True(refused.RetryAfter >= TimeSpan.FromSeconds(1));
            }
        }

        // A command that asks for 0.1 to 2 processors, sometimes exclusively.
        private void Start(Run run, int amount)
        {
            run.Cores = ((amount % 20) + 1) / 10.0;
            run.IsExclusive = amount % 3 == 0;
            run.Asked = ++_asked;
            run.Processors = run.Place.AcquireProcessorsAsync(run.Cores, run.IsExclusive, run.Cancel.Token);
        }

        // Evicting the memory that the next run is short of gives a run its slot.
        private void EvictForMemory(long shortBytes)
        {
            int running = _queue.Count.Running;
            foreach (ResourceLedger.PoolReservation reservation in _pooled)
            {
                long part = Math.Min(shortBytes, reservation.Bytes);
                reservation.Shrink(reservation.Bytes - part);
                shortBytes -= part;
            }

            Assert.Equal(0, shortBytes);
            Assert.True(_queue.Count.Running > running, "the memory that a run was short of is enough for it");
        }

        private void GiveBack(Run run)
        {
            if (run.Processors is { } processors)
            {
                // A run that waits for processors is cancelled first.
                run.Cancel.Cancel();
                Assert.True(SpinWait.SpinUntil(() => processors.IsCompleted, TimeSpan.FromSeconds(30)));
                if (processors.IsCompletedSuccessfully)
                {
                    processors.Result.Dispose();
                    processors.Result.Dispose();
                }
            }

            run.Slot.GetAwaiter().GetResult().Dispose();
            run.Place.Dispose();
            _runs.Remove(run);
        }

        private void Check()
        {
            Assert.InRange(_queue.Ledger.PromisedBytes, 0, Memory);
            Assert.InRange(_queue.Count.Running, 0, Running);
            Run[] waited = [.. _runs.Where(run => !run.WasGranted)];

            Settle();
            CheckProcessors();
            foreach (Run run in _runs.Where(run => run.Slot.IsFaulted || run.Slot.IsCanceled).ToArray())
            {
                Assert.True(run.Slot.IsCanceled ? run.Cancel.IsCancellationRequested : run.Slot.Exception!.InnerException is SandboxCapacityException);
                run.Place.Dispose();
                _runs.Remove(run);
            }

            Assert.All(Holding.CountBy(run => run.Key), pair => Assert.InRange(pair.Value, 1, RunningPerKey));
            foreach (Run granted in waited.Where(run => run.Slot.IsCompletedSuccessfully))
            {
                granted.WasGranted = true;
                foreach (Run passed in _runs.TakeWhile(run => run != granted).Where(run => run.Key == granted.Key && !run.Slot.IsCompleted))
                {
                    Assert.True(passed.Memory > granted.Memory, "of one key only a smaller run passes");
                    Assert.InRange(++passed.Passes, 1, FairQueue.MostPasses);
                }
            }

            // No run waits while nothing is promised.
            Assert.False(_queue.Ledger.PromisedBytes == 0 && Waiting.Any());
            CheckShortage();
        }

        // A run that waits alone is short of the memory that the pool must give back for it.
        private void CheckShortage()
        {
            Settle();
            if (Waiting.ToArray() is [{ } alone] && Holding.Count() < Running && Holding.Count(run => run.Key == alone.Key) < RunningPerKey)
            {
                long free = Memory - Holding.Sum(run => run.Memory);
                Assert.Equal(alone.Memory <= free ? alone.Memory + _pooled.Sum(reservation => reservation.Bytes) - free : 0, _queue.Ledger.ShortBytes);
            }
        }

        // The tasks of runs complete a moment after the queue has decided.
        private void Settle() => Assert.True(
            SpinWait.SpinUntil(() => Holding.Count() == _queue.Count.Running && Waiting.Count() == _queue.WaitingForSlot, TimeSpan.FromSeconds(30)));

        private void CheckProcessors()
        {
            Assert.True(SpinWait.SpinUntil(
                () => Math.Abs(Commands.Sum(run => run.Cores) - _queue.Ledger.PromisedProcessors) < 0.001 && WaitingForProcessors.Count() == _queue.WaitingForProcessors, TimeSpan.FromSeconds(30)));
            foreach (Run run in _runs.Where(run => run.Processors is { IsCompleted: true, IsCompletedSuccessfully: false }).ToArray())
            {
                Assert.True(run.Processors!.IsCanceled ? run.Cancel.IsCancellationRequested : run.Processors.Exception!.InnerException is SandboxCapacityException);
                run.Processors = null;
                GiveBack(run);
            }

            double most = Commands.Any(run => run.IsExclusive) ? Processors : Processors * CpuOvercommit;
            double promised = Commands.Sum(run => run.Cores);
            Assert.InRange(promised, 0, most + 0.001);
            Run[] allGranted = [.. Commands.Where(run => !run.HasCommand)];
            foreach (Run granted in allGranted)
            {
                foreach (Run passed in _runs.Where(run => run.Key == granted.Key && run.Processors is { IsCompleted: false } && run.Asked < granted.Asked))
                {
                    Assert.True(passed.Cores > granted.Cores || passed.IsExclusive, "of one key only a run that needs less passes");
                    Assert.InRange(++passed.ProcessorPasses, 1, FairQueue.MostPasses);
                }
            }

            // If several were granted at once, the last one may be the first of another key.
            if (allGranted is [{ } only] && Commands.Any(run => run.Key == only.Key && run.HasCommand)
                && WaitingForProcessors.Any(run => !Commands.Any(other => other.Key == run.Key)))
            {
                Assert.True(most - promised >= 0.999, "the last processor is left to a key that has none");
            }

            Array.ForEach(allGranted, run => run.HasCommand = true);

            // No run waits without need: a run that waits alone proceeds as soon as there is enough.
            Assert.False(promised == 0 && WaitingForProcessors.Any());
            if (WaitingForProcessors.ToArray() is [{ } alone])
            {
                Assert.True((alone.IsExclusive ? Processors : most) - promised < alone.Cores - 0.001, "there is enough for the only one who waits");
            }
        }
    }

    private sealed class Run(string key, int memory, AdmissionQueue.Ticket place)
    {
        public string Key => key;

        public int Memory => memory;

        public AdmissionQueue.Ticket Place => place;

        public CancellationTokenSource Cancel { get; } = new();

        public Task<AdmissionQueue.Slot> Slot { get; set; } = null!;

        public Task<IDisposable>? Processors { get; set; }

        public double Cores { get; set; }

        public bool IsExclusive { get; set; }

        /// <summary>When it began to wait for processors.</summary>
        public int Asked { get; set; }

        public bool HasCommand { get; set; }

        public int ProcessorPasses { get; set; }

        public bool WasGranted { get; set; }

        public int Passes { get; set; }
    }
}
