namespace Boxer.Runtime.Init;

/// <summary>
/// Checks the order of events of PID 1, and limits that apply to several frames. Give it every decoded event; it throws at the first
/// violation.
/// </summary>
internal sealed class InitConversation
{
    private readonly HashSet<string> _directories = new(StringComparer.Ordinal);
    private readonly HashSet<string> _files = new(StringComparer.Ordinal);
    private State _state;
    private bool _begun;
    private bool _warming;
    private bool _opens;
    private bool _probing;
    private readonly Queue<(long MaxBytes, int MaxEntries, bool IsWorkspace)> _walks = new();
    private (long MaxBytes, int MaxEntries, bool IsWorkspace) _walk;
    private long _bytes;
    private long _fileBytesLeft;
    private int _truncations;

    private enum State
    {
        Booting,
        Ready,
        Running,
        Outputs,
        Session,
        Over,
    }

    /// <summary>Whether PID 1 has sent its last event.</summary>
    internal bool IsOver => _state == State.Over;

    /// <summary>Records that the host sends START.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or START was sent before.</exception>
    internal void Begin(InitStart start)
    {
        if (_state != State.Ready || _begun || _warming)
        {
            throw new InvalidOperationException("START can be sent once, after READY.");
        }

        _begun = true;
        if (start.Outputs is { } outputs)
        {
            _walks.Enqueue((outputs.MaxBytes, outputs.MaxEntries, IsWorkspace: false));
        }

        if (start.ChangeEntries > 0)
        {
            _walks.Enqueue((start.ChangeBytes, start.ChangeEntries, IsWorkspace: true));
        }
    }

    /// <summary>Records that the host sends PROBE.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or a probe or another command was sent before.</exception>
    internal void BeginProbe()
    {
        if (_state != State.Ready || _begun || _warming || _probing)
        {
            throw new InvalidOperationException("PROBE can be sent after READY and before START.");
        }

        _probing = true;
    }

    /// <summary>Records that the host sends WARM_UP.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, a warm-up is running, or START was sent before.</exception>
    internal void BeginWarmUp()
    {
        if (_state != State.Ready || _begun || _warming)
        {
            throw new InvalidOperationException("WARM_UP can be sent after READY and before START.");
        }

        _warming = true;
    }

    /// <summary>Records that the host sends OPEN. <see cref="SessionConversation"/> checks the events of an open session.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, a warm-up is running, or START or OPEN was sent before.</exception>
    internal void BeginSession()
    {
        if (_state != State.Ready || _begun || _warming)
        {
            throw new InvalidOperationException("OPEN can be sent once, after READY.");
        }

        _begun = true;
        _opens = true;
    }

    /// <summary>Checks the next event.</summary>
    /// <exception cref="InitProtocolException">The event is out of order or exceeds a limit.</exception>
    internal void Accept(InitEvent initEvent)
    {
        if (_state == State.Over)
        {
            throw Unexpected(initEvent);
        }

        switch (initEvent)
        {
            case InitFault:
                _state = State.Over;
                break;
            case InitReady ready when _state == State.Booting:
                if (ready.ProtocolVersion != InitProtocol.Version)
                {
                    throw new InitProtocolException($"PID 1 speaks protocol version {ready.ProtocolVersion}; this side speaks {InitProtocol.Version}.");
                }

                _state = State.Ready;
                break;
            case InitProbed when _probing:
                _probing = false;
                break;
            case InitWarmedUp when _warming:
                _warming = false;
                break;
            case InitStarted when _state == State.Ready && _begun && !_opens:
                _state = State.Running;
                break;
            case InitNotStarted when _state == State.Ready && _begun && !_opens:
            case InitFileFailed when _state == State.Ready && _begun:
                _state = State.Over;
                break;
            case InitOpened when _state == State.Ready && _opens:
                _state = State.Session;
                break;
            case SessionEvent when _state == State.Session:
                break;
            case InitEnded when _state == State.Running:
                BeginWalk();
                break;
            default:
                AcceptOutput(initEvent);
                break;
        }
    }

    private void AcceptOutput(InitEvent initEvent)
    {
        switch (initEvent)
        {
            case var _ when _state != State.Outputs:
                throw Unexpected(initEvent);
            case InitOutputData data when data.Data.Length <= _fileBytesLeft:
                _fileBytesLeft -= data.Data.Length;
                break;
            case InitOutputTruncated truncated:
                AcceptTruncation(truncated);
                break;
            case var _ when _fileBytesLeft > 0:
                throw Unexpected(initEvent);
            case InitOutputDirectory directory:
                AcceptEntry(directory.Path);
                _directories.Add(directory.Path);
                break;
            case InitOutputFile file:
                AcceptEntry(file.Path);
                AcceptSize(file.Size);
                _files.Add(file.Path);
                break;
            case InitOutputLink link when _walk.IsWorkspace:
                AcceptEntry(link.Path);
                _files.Add(link.Path);
                break;
            case InitOutputDone:
                BeginWalk();
                break;
            default:
                throw Unexpected(initEvent);
        }
    }

    private void AcceptSize(long size)
    {
        if (size > _walk.MaxBytes - _bytes)
        {
            throw new InitProtocolException($"PID 1 sent more output than the {_walk.MaxBytes} bytes asked for.");
        }

        _bytes += size;
        _fileBytesLeft = size;
    }

    // Each walk has its own limits and its own names.
    private void BeginWalk()
    {
        _directories.Clear();
        _files.Clear();
        (_bytes, _truncations) = (0, 0);
        _state = _walks.TryDequeue(out _walk) ? State.Outputs : State.Over;
    }

    private void AcceptEntry(string path)
    {
        if (_directories.Count + _files.Count >= _walk.MaxEntries)
        {
            throw new InitProtocolException($"PID 1 sent more output entries than the {_walk.MaxEntries} asked for.");
        }

        if (path.AsSpan().Count('/') > InitProtocol.MaxOutputDepth)
        {
            throw new InitProtocolException($"PID 1 sent an output below more than {InitProtocol.MaxOutputDepth} directories.");
        }

        // The receiver can therefore write an output without checking for existing files: each path is new, and its directory was announced. Unchanged
        // directories of a workspace are not announced, but no path is below a file or link.
        int slash = path.LastIndexOf('/');
        if (_directories.Contains(path) || _files.Contains(path) || (!_walk.IsWorkspace && slash >= 0 && !_directories.Contains(path[..slash])))
        {
            throw new InitProtocolException("PID 1 sent an output path twice, or one outside of the directories that it announced.");
        }

        for (; slash > 0; slash = path.LastIndexOf('/', slash - 1))
        {
            if (_files.Contains(path[..slash]))
            {
                throw new InitProtocolException("PID 1 sent an output path below a file or link.");
            }
        }
    }

    private void AcceptTruncation(InitOutputTruncated truncated)
    {
        bool endsFile = _fileBytesLeft > 0;
        if (endsFile && truncated.Reason != InitTruncation.Unreadable)
        {
            throw Unexpected(truncated);
        }

        // PID 1 sends one frame for each reason at the end, and one for each file that it could not read to its end.
        _fileBytesLeft = 0;
        if (!endsFile && ++_truncations > Enum.GetValues<InitTruncation>().Length)
        {
            throw Unexpected(truncated);
        }
    }

    private InitProtocolException Unexpected(InitEvent initEvent) =>
        new($"PID 1 sent {initEvent.GetType().Name} while it was {_state}.");
}
