namespace Boxer.AspNetCore.Sessions;

/// <summary>A command in a session that is ready to start.</summary>
/// <param name="session">The session.</param>
/// <param name="command">The command.</param>
/// <param name="output">Counts the output that is kept until the result.</param>
/// <param name="leases">Objects to dispose after the command.</param>
/// <param name="cancellation">Cancelled when the client disconnects or the host stops.</param>
internal sealed class PreparedExec(
    ISandboxSession session, SandboxCommand command, ResponseReservation output, IReadOnlyList<IDisposable> leases, RunCancellation cancellation) : IPreparedCommand
{
    private readonly PartialOutput _output = new();

    /// <inheritdoc/>
    public bool IsRunning => _output.IsRunning;

    /// <inheritdoc/>
    public async IAsyncEnumerable<SandboxEvent> StreamAsync()
    {
        await foreach (SandboxEvent item in session.StreamAsync(command, cancellation.Token))
        {
            _output.Add(item);
            if (item is SandboxDataReceived { Data: var data })
            {
                // Sessions may run many commands at once, each with as much output as a run.
                output.Add(data.Length);
            }
            else if (item is SandboxEnded)
            {
                // The response is counted as a whole.
                output.Dispose();
            }

            yield return item;
        }
    }

    /// <inheritdoc/>
    public ApiResponse Complete(SandboxResult result)
    {
        ApiResponse response = RunResponses.For(result, outputs: [], outputsIncomplete: null);
        return response with
        {
            Run = response.Run is null ? null : response.Run with { LeftBehind = result.LeftBehind },
            Error = response.Error is null ? null : response.Error with { LeftBehind = result.LeftBehind },
        };
    }

    /// <inheritdoc/>
    public ApiResponse AddOutputTo(ApiResponse response) => IsRunning ? _output.AddTo(response) : response;

    public void Dispose()
    {
        output.Dispose();
        foreach (IDisposable lease in leases)
        {
            lease.Dispose();
        }

        cancellation.Dispose();
    }
}
