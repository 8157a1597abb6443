namespace Boxer.HttpHost;

/// <summary>The request ends with this status and <c>{"error": message}</c>.</summary>
internal sealed class HttpFaultException(int status, string message) : Exception(message)
{
    public int Status { get; } = status;

    public static HttpFaultException BadRequest(string message) => new(StatusCodes.Status400BadRequest, message);
}
