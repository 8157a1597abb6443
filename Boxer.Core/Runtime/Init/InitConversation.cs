namespace Boxer.Runtime.Init;

/// <summary>
/// The order of what PID 1 may say, and the bounds over many frames. Feed it every decoded event; it throws at the first
/// that does not fit.
/// </summary>
internal sealed class InitConversation
{
    private readonly HashSet<string> _directories = new(StringComparer.Ordinal);
    private readonly HashSet<string> _files = new(StringComparer.Ordinal);
    private State _state;
    private bool _begun;
    private bool _warming;
    private InitOutputs? _outputs;
    private long _bytes;
    private long _fileRest;
    private int _truncations;

    private enum State
    {
        Booting,
        Ready,
        Running,
        Outputs,
        Over,
    }

    /// <summary>Whether PID 1 has said all that it has to say.</summary>
    internal bool IsOver => _state == State.Over;

    /// <summary>The host has sent START.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or START was sent before.</exception>
    internal void Begin(InitStart start)
    {
        if (_state != State.Ready || _begun || _warming)
        {
            throw new InvalidOperationException("START is sent once, after READY.");
        }

        _begun = true;
        _outputs = start.Outputs;
    }

    /// <summary>The host has sent WARM_UP.</summary>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or warms up already, or START was sent before.</exception>
    internal void BeginWarmUp()
    {
        if (_state != State.Ready || _begun || _warming)
        {
            throw new InvalidOperationException("WARM_UP is sent after READY, and before START.");
        }

        _warming = true;
    }

    /// <summary>Checks the next event.</summary>
    /// <exception cref="InitProtocolException">It does not fit.</exception>
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
            case InitWarmedUp when _warming:
                _warming = false;
                break;
            case InitStarted when _state == State.Ready && _begun:
                _state = State.Running;
                break;
            case InitNotStarted or InitFileFailed when _state == State.Ready && _begun:
                _state = State.Over;
                break;
            case InitEnded when _state == State.Running:
                _state = _outputs is null ? State.Over : State.Outputs;
                break;
            case InitOutputDirectory directory when _state == State.Outputs && _fileRest == 0:
                AcceptEntry(directory.Path);
                _directories.Add(directory.Path);
                break;
            case InitOutputFile file when _state == State.Outputs && _fileRest == 0:
                AcceptEntry(file.Path);
                _files.Add(file.Path);
                if (file.Size > _outputs!.MaxBytes - _bytes)
                {
                    throw new InitProtocolException($"PID 1 sent more output than the {_outputs.MaxBytes} bytes asked for.");
                }

                _bytes += file.Size;
                _fileRest = file.Size;
                break;
            case InitOutputData data when _state == State.Outputs && data.Data.Length <= _fileRest:
                _fileRest -= data.Data.Length;
                break;
            case InitOutputTruncated truncated when _state == State.Outputs:
                AcceptTruncation(truncated);
                break;
            case InitOutputDone when _state == State.Outputs && _fileRest == 0:
                _state = State.Over;
                break;
            default:
                throw Unexpected(initEvent);
        }
    }

    private void AcceptEntry(string path)
    {
        if (_directories.Count + _files.Count >= _outputs!.MaxEntries)
        {
            throw new InitProtocolException($"PID 1 sent more output entries than the {_outputs.MaxEntries} asked for.");
        }

        if (path.AsSpan().Count('/') > InitProtocol.MaxOutputDepth)
        {
            throw new InitProtocolException($"PID 1 sent an output below more than {InitProtocol.MaxOutputDepth} directories.");
        }

        // So a path can be written without asking what is there: each is new and below a directory that was announced.
        int slash = path.LastIndexOf('/');
        if (_directories.Contains(path) || _files.Contains(path) || (slash >= 0 && !_directories.Contains(path[..slash])))
        {
            throw new InitProtocolException("PID 1 sent an output path twice, or one outside of every directory it announced.");
        }
    }

    private void AcceptTruncation(InitOutputTruncated truncated)
    {
        bool endsFile = _fileRest > 0;
        if (endsFile && truncated.Reason != InitTruncation.Unreadable)
        {
            throw Unexpected(truncated);
        }

        // One for each reason at the end, and one for each file that could not be read to its end.
        _fileRest = 0;
        if (!endsFile && ++_truncations > Enum.GetValues<InitTruncation>().Length)
        {
            throw Unexpected(truncated);
        }
    }

    private InitProtocolException Unexpected(InitEvent initEvent) =>
        new($"PID 1 sent {initEvent.GetType().Name} while it was {_state}.");
}
