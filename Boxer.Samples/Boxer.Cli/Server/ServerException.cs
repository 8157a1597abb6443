namespace Boxer.Cli.Server;

/// <summary>A Boxer server rejected a request, or is none.</summary>
internal sealed class ServerException(string message, int status = 0) : Exception(message)
{
    /// <summary>The HTTP status; 0 if the response was not understood.</summary>
    internal int Status { get; } = status;
}
