using System.Net.Http.Headers;
using System.Text;

namespace Boxer.Images.Registry;

/// <summary>A challenge of a WWW-Authenticate header (RFC 9110, 11.6.1; distribution's token specification).</summary>
/// <param name="Scheme">The scheme in lower case.</param>
/// <param name="Parameters">Its parameters, by name in any case.</param>
internal sealed record AuthChallenge(string Scheme, IReadOnlyDictionary<string, string> Parameters)
{
    /// <summary>Reads the challenges of a response.</summary>
    /// <param name="headers">The parsed headers.</param>
    public static IReadOnlyList<AuthChallenge> Read(HttpHeaderValueCollection<AuthenticationHeaderValue> headers) =>
        [.. headers.Select(header => new AuthChallenge(header.Scheme.ToLowerInvariant(), ReadParameters(header.Parameter ?? "")))];

    private static Dictionary<string, string> ReadParameters(string text)
    {
        var parameters = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        int at = 0;
        while (at < text.Length)
        {
            int equals = text.IndexOf('=', at);
            if (equals < 0)
            {
                break;
            }

            string name = text[at..equals].Trim(' ', ',', '\t');
            at = equals + 1;
            var value = new StringBuilder();
            if (at < text.Length && text[at] == '"')
            {
                for (at++; at < text.Length && text[at] != '"'; at++)
                {
                    if (text[at] == '\\' && at + 1 < text.Length)
                    {
                        at++;
                    }

                    value.Append(text[at]);
                }

                at++;
            }
            else
            {
                for (; at < text.Length && text[at] is not (',' or ' '); at++)
                {
                    value.Append(text[at]);
                }
            }

            parameters[name] = value.ToString();
            at = text.IndexOf(',', Math.Min(at, text.Length)) is var comma and >= 0 ? comma + 1 : text.Length;
        }

        return parameters;
    }
}
