using System.Runtime.InteropServices;

namespace Boxer.Runtime.Init;

/// <summary>
/// A frame that waits to be sent. It is sent whole or not at all: until its turn comes it can be withdrawn, for example by a cancellation, and afterwards
/// it is sent to its end.
/// </summary>
internal sealed class SessionFrame
{
    private readonly TaskCompletionSource<bool> _sent = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Null after its turn, so that nobody who keeps the frame keeps its bytes.
    private Func<SessionConversation, byte[]?>? _begin;
    private readonly Action? _onWithdrawn;
    private int _state;

    private enum State
    {
        Waiting,
        Begun,
        Withdrawn,
    }

    /// <param name="begin">Records the frame when its turn comes, and returns it; <see langword="null"/> if it has no purpose any more.</param>
    /// <param name="onWithdrawn">Called if it was withdrawn.</param>
    /// <param name="descriptors">Descriptors that go with it. They are closed when it was sent or withdrawn.</param>
    internal SessionFrame(Func<SessionConversation, byte[]?> begin, Action? onWithdrawn = null, params IReadOnlyList<SafeHandle> descriptors)
    {
        _begin = begin;
        _onWithdrawn = onWithdrawn;
        Descriptors = descriptors;
    }

    /// <summary>Descriptors that go with the frame.</summary>
    internal IReadOnlyList<SafeHandle> Descriptors { get; }

    /// <summary>Completes when the frame was sent (<see langword="true"/>) or withdrawn (<see langword="false"/>). Never fails.</summary>
    internal Task<bool> Sent => _sent.Task;

    /// <summary>Whether the frame was begun, so that PID 1 may read it.</summary>
    internal bool IsBegun => Volatile.Read(ref _state) == (int)State.Begun;

    /// <summary>Withdraws the frame if its turn has not come.</summary>
    /// <returns>Whether the frame is never sent.</returns>
    internal bool TryWithdraw()
    {
        switch ((State)Interlocked.CompareExchange(ref _state, (int)State.Withdrawn, (int)State.Waiting))
        {
            case State.Begun:
                return false;
            case State.Waiting:
                Finish(isSent: false);
                _onWithdrawn?.Invoke();
                break;
        }

        return true;
    }

    /// <summary>Begins the frame.</summary>
    /// <returns>The bytes to send; <see langword="null"/> if there is nothing to send.</returns>
    internal byte[]? Begin(SessionConversation conversation) =>
        Interlocked.CompareExchange(ref _state, (int)State.Begun, (int)State.Waiting) == (int)State.Waiting ? _begin!(conversation) : null;

    /// <summary>Ends the frame after its turn.</summary>
    internal void Finish(bool isSent)
    {
        foreach (SafeHandle descriptor in Descriptors)
        {
            descriptor.Dispose();
        }

        _begin = null;
        _sent.TrySetResult(isSent);
    }
}
