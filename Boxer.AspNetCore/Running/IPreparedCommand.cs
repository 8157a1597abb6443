namespace Boxer.AspNetCore.Running;

/// <summary>A command that is ready to start, in a sandbox of its own or in a session. Disposing it releases everything that it holds.</summary>
internal interface IPreparedCommand : IDisposable
{
    /// <summary>Whether the command has started and there is no result yet.</summary>
    bool IsRunning { get; }

    /// <summary>Runs the command. May be called once.</summary>
    IAsyncEnumerable<SandboxEvent> StreamAsync();

    /// <summary>Creates the response for a result.</summary>
    /// <param name="result">The result.</param>
    ApiResponse Complete(SandboxResult result);

    /// <summary>Adds the output so far to an error response, if the command has started and there is no result.</summary>
    /// <param name="response">The error response.</param>
    ApiResponse AddOutputTo(ApiResponse response);
}
