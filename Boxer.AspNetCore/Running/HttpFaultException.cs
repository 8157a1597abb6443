namespace Boxer.AspNetCore.Running;

/// <summary>A request that is answered with an error.</summary>
/// <param name="status">The HTTP status.</param>
/// <param name="message">What is wrong and what to do.</param>
/// <param name="retryAfter">When to try again, of 429.</param>
internal sealed class HttpFaultException(int status, string message, TimeSpan? retryAfter = null) : Exception(message)
{
    public int Status => status;

    public TimeSpan? RetryAfter => retryAfter;

    public static HttpFaultException BadRequest(string message) => new(StatusCodes.Status400BadRequest, message);
}
