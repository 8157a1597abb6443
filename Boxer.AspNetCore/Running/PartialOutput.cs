using System.Runtime.InteropServices;

namespace Boxer.AspNetCore.Running;

/// <summary>What a run printed so far, for the answer of one that has no result because this host ended it or failed.</summary>
internal sealed class PartialOutput
{
    private readonly List<ReadOnlyMemory<byte>> _stdout = [];
    private readonly List<ReadOnlyMemory<byte>> _stderr = [];
    private string? _id;

    /// <summary>Whether the command was started and its result did not come.</summary>
    public bool IsUnderWay => _id is not null;

    /// <summary>Notes an event.</summary>
    public void Note(SandboxEvent happened)
    {
        switch (happened)
        {
            case SandboxStarted started:
                _id = started.Id;
                break;
            case SandboxDataReceived output:
                Add(output.Stream == SandboxStream.StandardOutput ? _stdout : _stderr, output.Data);
                break;
            case SandboxEnded:
                // The result has it all.
                _id = null;
                _stdout.Clear();
                _stderr.Clear();
                break;
        }
    }

    /// <summary>An error with what is known of the run.</summary>
    public ApiResponse AddTo(ApiResponse answer) =>
        answer with
        {
            Error = answer.Error! with { ExecId = _id, Stdout = new PrintedText(_stdout), Stderr = new PrintedText(_stderr) },
        };

    /// <summary>The runner's bytes never change, and what follows in one array is one piece: a command may print byte by byte.</summary>
    private static void Add(List<ReadOnlyMemory<byte>> pieces, ReadOnlyMemory<byte> data)
    {
        if (pieces.Count > 0
            && MemoryMarshal.TryGetArray(pieces[^1], out ArraySegment<byte> last)
            && MemoryMarshal.TryGetArray(data, out ArraySegment<byte> next)
            && last.Array == next.Array
            && last.Offset + last.Count == next.Offset)
        {
            pieces[^1] = last.Array.AsMemory(last.Offset, last.Count + next.Count);
        }
        else if (!data.IsEmpty)
        {
            pieces.Add(data);
        }
    }
}
