using Boxer.Diagnostics;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// Freezes and thaws the sandbox of one session. A freeze and a thaw exclude each other, and a freeze asks again whether it is still wanted, so that a
/// call that begins at the same moment finds the sandbox awake. Thread-safe.
/// </summary>
/// <param name="id">The identifier of the session.</param>
/// <param name="sandbox">The sandbox.</param>
/// <param name="logger">Receives failures.</param>
internal sealed class SessionFreezer(string id, IKeptSandbox sandbox, ILogger logger)
{
    private readonly Lock _lock = new();
    private volatile bool _isFrozen;

    /// <summary>Whether the sandbox is frozen.</summary>
    internal bool IsFrozen => _isFrozen;

    /// <summary>Freezes the sandbox.</summary>
    /// <param name="isWanted">Whether to freeze it; called while no thaw can happen.</param>
    /// <returns>Whether it is frozen now. A host that cannot freeze it leaves it awake.</returns>
    internal bool Freeze(Func<bool> isWanted)
    {
        lock (_lock)
        {
            if (_isFrozen || !isWanted())
            {
                return _isFrozen;
            }

            try
            {
                sandbox.Freeze();
                _isFrozen = true;
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                Log.SessionNotFrozen(logger, id, exception);
            }

            return _isFrozen;
        }
    }

    /// <summary>Thaws the sandbox if it is frozen.</summary>
    /// <param name="isWanted">Whether to thaw it; called while no freeze can happen.</param>
    /// <exception cref="IOException">It cannot be thawed, or it is gone.</exception>
    internal void Thaw(Func<bool> isWanted)
    {
        // Also if it is awake: a freeze may be under way.
        lock (_lock)
        {
            if (_isFrozen && isWanted())
            {
                sandbox.Thaw();
                _isFrozen = false;
            }
        }
    }
}
