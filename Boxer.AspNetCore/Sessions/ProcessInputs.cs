using Boxer.Common;

namespace Boxer.AspNetCore.Sessions;

/// <summary>Lets one request at a time write to the standard input of a process, so that their bytes are not mixed.</summary>
internal sealed class ProcessInputs
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(string Session, int Process), Turn> _turns = [];

    /// <summary>Waits for the turn of a request.</summary>
    /// <param name="session">The session.</param>
    /// <param name="process">The process.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>Ends the turn when it is disposed.</returns>
    public async Task<IDisposable> WaitAsync(ISandboxSession session, ISandboxProcess process, CancellationToken cancellationToken)
    {
        (string, int) key = (session.Id, process.Id);
        Turn turn;
        lock (_lock)
        {
            turn = _turns.GetValueOrDefault(key) ?? new Turn();
            turn.Users++;
            _turns[key] = turn;
        }

        try
        {
            await turn.Gate.WaitAsync(cancellationToken);
        }
        catch
        {
            Release(key, turn);
            throw;
        }

        return new OnDispose(() =>
        {
            turn.Gate.Release();
            Release(key, turn);
        });
    }

    private void Release((string Session, int Process) key, Turn turn)
    {
        lock (_lock)
        {
            if (--turn.Users == 0)
            {
                _turns.Remove(key);
                turn.Gate.Dispose();
            }
        }
    }

    private sealed class Turn
    {
        public SemaphoreSlim Gate { get; } = new(1, 1);

        public int Users { get; set; }
    }
}
