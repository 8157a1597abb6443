using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Metadata;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Limits the size of a request's body. Kestrel's own limit alone resets the connection while the client is still sending, so that the client
/// never sees the response (test: <c>A_client_that_sends_far_too_much_sees_the_answer_while_it_still_sends</c>).
/// </summary>
internal static class RequestSizeLimit
{
    /// <summary>Sets the limit, and rejects a body whose declared length exceeds it.</summary>
    /// <param name="context">The request; its body must not have been read yet.</param>
    /// <param name="bytes">Maximum size of the body, in bytes.</param>
    /// <param name="message">The message of the error.</param>
    /// <exception cref="HttpFaultException">The declared length exceeds the limit (413).</exception>
    public static void Set(HttpContext context, long bytes, string message)
    {
        bool tooLarge = context.Request.ContentLength > bytes;
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            // Kestrel drains an unread body for a few seconds, so that a client that is still sending sees the response.
            // Beyond its own limit it resets the connection instead.
            limit.MaxRequestBodySize = tooLarge ? null : bytes;
        }

        if (tooLarge)
        {
            throw new HttpFaultException(StatusCodes.Status413PayloadTooLarge, message);
        }
    }
}

/// <summary>Disables Kestrel's own limit for endpoints that call <see cref="RequestSizeLimit"/> or read no body.</summary>
internal sealed class OwnRequestSizeLimit : IRequestSizeLimitMetadata
{
    public long? MaxRequestBodySize => null;
}
