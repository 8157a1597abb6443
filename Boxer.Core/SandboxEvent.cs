namespace Boxer;

/// <summary>Something that happened in a run; see <see cref="ISandboxRunner.StreamAsync"/>.</summary>
public abstract record SandboxEvent
{
    private protected SandboxEvent()
    {
    }
}

/// <summary>The command was started.</summary>
/// <param name="Id">The identifier of the run.</param>
public sealed record SandboxStarted(string Id) : SandboxEvent;

/// <summary>The command printed something.</summary>
/// <param name="Stream">Which stream.</param>
/// <param name="Data">The bytes; a character of several bytes may be cut between two events.</param>
public sealed record SandboxDataReceived(SandboxStream Stream, ReadOnlyMemory<byte> Data) : SandboxEvent;

/// <summary>The run is over. Always the last event.</summary>
/// <param name="Result">The whole result, with everything that was printed.</param>
public sealed record SandboxEnded(SandboxResult Result) : SandboxEvent;

/// <summary>A standard stream of a command.</summary>
public enum SandboxStream
{
    /// <summary>Standard output.</summary>
    StandardOutput,

    /// <summary>Standard error.</summary>
    StandardError,
}
