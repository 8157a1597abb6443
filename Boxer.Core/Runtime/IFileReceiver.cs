using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Receives the files that PID 1 sends after the end of a command.</summary>
internal interface IFileReceiver
{
    /// <summary>Receives the next event.</summary>
    /// <param name="message">The event.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="IOException">This host cannot store it.</exception>
    ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken);

    /// <summary>Ends the reception before all files came. An incomplete file is removed.</summary>
    /// <param name="reason">The reason, as a sentence for the result.</param>
    ValueTask InterruptAsync(string reason);

    /// <summary>Ends the reception because this host cannot store the files.</summary>
    /// <param name="fault">The failure.</param>
    ValueTask FailAsync(Exception fault);
}
