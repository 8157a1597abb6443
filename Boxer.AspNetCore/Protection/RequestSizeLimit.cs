using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Metadata;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// The most that the body of a request may have. The server's own limit alone resets the connection of a client that still sends:
/// <c>A_client_that_sends_far_too_much_sees_the_answer_while_it_still_sends</c>.
/// </summary>
internal static class RequestSizeLimit
{
    /// <summary>Sets the limit, and refuses a body that says itself that it has more.</summary>
    /// <param name="context">The request; nothing of its body was read.</param>
    /// <param name="bytes">The limit.</param>
    /// <param name="message">What to answer.</param>
    /// <exception cref="HttpFaultException">413.</exception>
    public static void Set(HttpContext context, long bytes, string message)
    {
        bool tooLarge = context.Request.ContentLength > bytes;
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            // The server reads on for a few seconds what is left unread, except past its own limit: there it would reset the connection,
            // and a client that is still sending would not see the answer.
            limit.MaxRequestBodySize = tooLarge ? null : bytes;
        }

        if (tooLarge)
        {
            throw new HttpFaultException(StatusCodes.Status413PayloadTooLarge, message);
        }
    }
}

/// <summary>Keeps the server's own limit away from an endpoint that sets one with <see cref="RequestSizeLimit"/>, or reads no body.</summary>
internal sealed class OwnRequestSizeLimit : IRequestSizeLimitMetadata
{
    public long? MaxRequestBodySize => null;
}
