using Boxer.Tests.Support;
using CsCheck;

namespace Boxer.Tests.Core.Sessions;

/// <summary>
/// Random sequences of steps on a session against a model of its clocks and states: a call never finds a frozen sandbox, a session ends when its clocks
/// say so and not before, and processors are promised only while something is awake.
/// </summary>
public sealed class SessionModelTests
{
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Life = TimeSpan.FromSeconds(600);
    private static readonly TimeSpan FreezeAfter = TimeSpan.FromSeconds(1);

    [Fact]
    public Task A_session_follows_its_model_for_random_steps() =>
        Gen.Select(Gen.Int[0, 13], Gen.Int[0, 100]).Array[1, 60].SampleAsync(
            async steps =>
            {
                await using var model = new Model();
                foreach ((int kind, int amount) in steps)
                {
                    await model.StepAsync(kind, amount);
                }
            },
            iter: 400);

    private sealed class Model : IAsyncDisposable
    {
        private readonly OpenSession _open = new(request => request with { IdleTimeout = Idle, Lifetime = Life });
        private readonly List<(Task<SandboxResult> Result, FakeExec Exec)> _execs = [];
        private readonly List<SandboxConnection> _streams = [];
        private readonly List<(ISandboxProcess Process, FakeGuestProcess Guest)> _processes = [];

        // Time without pauses, and when the last call and the last use ended.
        private TimeSpan _now;
        private TimeSpan _idleSince;
        private TimeSpan _quietSince;
        private bool _isPaused;
        private SandboxSessionEnd? _end;

        private bool IsIdle => _execs.Count + _streams.Count + _processes.Count == 0;

        public async Task StepAsync(int kind, int amount)
        {
            switch (kind)
            {
                case 0 or 1 when _execs.Count < 8:
                    await BeginAsync(async () => _execs.Add(await BeginExecAsync()));
                    break;
                case 2 or 3 when _execs.Count > 0:
                    await EndExecAsync(amount % _execs.Count);
                    break;
                case 4 when _streams.Count < 60:
                    await BeginAsync(async () => _streams.Add(await _open.Session.ConnectAsync(80, CancellationToken.None)));
                    break;
                case 5 when _streams.Count > 0:
                    await _streams[0].DisposeAsync();
                    _streams.RemoveAt(0);
                    NoteEnd();
                    break;
                case 6 when _processes.Count < 30:
                    await BeginAsync(async () =>
                    {
                        _processes.Add(await _open.StartAsync());
                        _idleSince = _now;
                    });
                    break;
                case 7 when _processes.Count > 0 && _end is null:
                    await EndProcessAsync();
                    break;
                case 8 when _execs.Count == 0 && _end is null:
                    await _open.Session.PauseAsync();
                    _isPaused = true;
                    break;
                case 9 when _end is null:
                    await _open.Session.ResumeAsync();
                    _isPaused = false;
                    break;
                case 10 when amount < 5:
                    await CloseAsync(amount);
                    break;
                default:
                    await AdvanceAsync(TimeSpan.FromSeconds(amount));
                    break;
            }

            await CheckAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await _open.DisposeAsync();
            foreach ((Task<SandboxResult> result, _) in _execs)
            {
                await ((Task)result).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            Assert.True(_open.IsCleanedUp);
            Assert.Equal(0, _open.Admission.Ledger.PromisedProcessors);
            Assert.Equal(0, _open.Sandbox.CallsWhileFrozen);
        }

        private async Task<(Task<SandboxResult> Result, FakeExec Exec)> BeginExecAsync()
        {
            (Task<SandboxResult> result, FakeExec exec) = await _open.ExecAsync();
            if (result.IsCompleted)
            {
                await result;
            }

            return (result, exec);
        }

        private async Task BeginAsync(Func<Task> begin)
        {
            try
            {
                await begin();
                Assert.Null(_end);
                Assert.False(_isPaused);
            }
            catch (SandboxSessionPausedException)
            {
                Assert.True(_isPaused && _end is null);
            }
            catch (SandboxSessionEndedException fault)
            {
                Assert.Equal(_end, fault.End);
            }
        }

        private async Task EndExecAsync(int index)
        {
            (Task<SandboxResult> result, FakeExec exec) = _execs[index];
            _execs.RemoveAt(index);
            exec.End();
            await result;
            NoteEnd();
        }

        private async Task EndProcessAsync()
        {
            int before = _processes.Count;
            _processes[0].Guest.End(Termination.Exited(0));
            await Until.IsSoAsync(() => _processes[0].Process.End is not null, 30);
            _processes.RemoveAt(0);
            if (IsIdle)
            {
                _quietSince = _now;
            }

            Assert.Equal(before - 1, _processes.Count);
        }

        private void NoteEnd()
        {
            _idleSince = _now;
            _quietSince = IsIdle ? _now : _quietSince;
        }

        private async Task CloseAsync(int how)
        {
            if (how < 2)
            {
                await _open.Session.CloseAsync();
                _end ??= SandboxSessionEnd.Closed;
            }
            else
            {
                _open.Sandbox.Die(Boxer.Runtime.Kept.KeptSandboxEnd.MemoryLimit);
                _end ??= SandboxSessionEnd.MemoryLimit;
                await Until.IsSoAsync(() => _open.Session.End is not null, 30);
            }

            await ForgetAsync();
        }

        private async Task AdvanceAsync(TimeSpan time)
        {
            // A clock that runs out exactly now depends on the order of ticks.
            time += TimeSpan.FromMilliseconds(3);
            _open.Time.Advance(time);
            if (_isPaused || _end is not null)
            {
                return;
            }

            _now += time;
            bool isIdleRunning = _execs.Count + _streams.Count == 0;
            TimeSpan idleAt = isIdleRunning ? _idleSince + Idle : TimeSpan.MaxValue;
            _end = _now >= Life && Life <= idleAt ? SandboxSessionEnd.Lifetime : _now >= idleAt ? SandboxSessionEnd.IdleTimeout : null;
            if (_end is not null)
            {
                await Until.IsSoAsync(() => _open.Session.End is not null, 30);
                await ForgetAsync();
            }
            else if (IsIdle && _now - _quietSince >= FreezeAfter)
            {
                await Until.IsSoAsync(() => _open.Sandbox.IsFrozen, 30);
            }
        }

        private async Task ForgetAsync()
        {
            foreach ((Task<SandboxResult> result, _) in _execs)
            {
                if (_end == SandboxSessionEnd.MemoryLimit)
                {
                    Assert.Equal(TerminationKind.MemoryLimit, (await result).Termination.Kind);
                }
                else
                {
                    Assert.Equal(_end, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => result)).End);
                }
            }

            _execs.Clear();
            _streams.Clear();
            foreach ((ISandboxProcess process, _) in _processes)
            {
                Assert.NotNull(await process.WaitAsync());
            }

            _processes.Clear();
        }

        private async Task CheckAsync()
        {
            Assert.Equal(_end, _open.Session.End);
            SandboxSessionState state = _end is not null ? SandboxSessionState.Ended
                : _isPaused ? SandboxSessionState.Paused
                : IsIdle ? SandboxSessionState.Idle
                : SandboxSessionState.Running;
            Assert.Equal(state, _open.Session.State);
            if (state is SandboxSessionState.Running)
            {
                Assert.False(_open.Sandbox.IsFrozen);
            }

            if (state is SandboxSessionState.Paused)
            {
                Assert.True(_open.Sandbox.IsFrozen);
                Assert.Null(_open.Session.ExpiresAt);
            }

            double promised = state is SandboxSessionState.Running ? 1 : 0;
            await Until.IsSoAsync(() => _open.Admission.Ledger.PromisedProcessors == promised, 30);
        }
    }
}
