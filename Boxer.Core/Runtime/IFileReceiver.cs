using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Takes the files that PID 1 streams after the end of a command.</summary>
internal interface IFileReceiver
{
    /// <summary>Takes the next event.</summary>
    /// <exception cref="IOException">This host cannot take it.</exception>
    ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken);

    /// <summary>Notes why nothing more comes; a file that is not whole is thrown away.</summary>
    ValueTask GiveUpAsync(string reason);

    /// <summary>Notes that this host cannot write what comes.</summary>
    ValueTask FailAsync(Exception fault);
}
