using System.Runtime.InteropServices;

namespace Boxer.AspNetCore.Running;

/// <summary>Collects the output of a run, for the error response of a run that ends without a result.</summary>
internal sealed class PartialOutput
{
    private readonly List<ReadOnlyMemory<byte>> _stdout = [];
    private readonly List<ReadOnlyMemory<byte>> _stderr = [];
    private string? _id;

    /// <summary>Whether the command has started and there is no result yet.</summary>
    public bool IsRunning => _id is not null;

    /// <summary>Adds the output of an event.</summary>
    public void Add(SandboxEvent item)
    {
        switch (item)
        {
            case SandboxStarted started:
                _id = started.Id;
                break;
            case SandboxDataReceived output:
                Append(output.Stream == SandboxStream.StandardOutput ? _stdout : _stderr, output.Data);
                break;
            case SandboxEnded:
                // The result contains the whole output.
                _id = null;
                _stdout.Clear();
                _stderr.Clear();
                break;
        }
    }

    /// <summary>Adds the run's identifier and output to an error response.</summary>
    public ApiResponse AddTo(ApiResponse response) =>
        response with
        {
            Error = response.Error! with { ExecId = _id, Stdout = new PrintedText(_stdout), Stderr = new PrintedText(_stderr) },
        };

    // A command may print byte by byte: pieces that are adjacent in one array are joined. The runner never changes bytes that it has reported.
    private static void Append(List<ReadOnlyMemory<byte>> pieces, ReadOnlyMemory<byte> data)
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
