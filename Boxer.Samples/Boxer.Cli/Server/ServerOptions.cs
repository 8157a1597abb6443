using System.CommandLine;

namespace Boxer.Cli.Server;

/// <summary>Options of the commands that talk to a Boxer server.</summary>
internal sealed class ServerOptions
{
    private readonly Option<string?> _server = new("--server") { Description = "Address of the Boxer server. Default: $BOXER_URL, else http://localhost:8080." };
    private readonly Option<string?> _key = new("--key") { Description = "API key. Default: $BOXER_API_KEY. Other users of this machine can see the options of a process, but not its variables." };

    internal void AddTo(Command command)
    {
        command.Options.Add(_server);
        command.Options.Add(_key);
    }

    /// <summary>Creates a client of the server.</summary>
    /// <exception cref="FormatException">The address or the key is malformed.</exception>
    internal SessionServer Connect(ParseResult parsed)
    {
        string address = parsed.GetValue(_server) ?? Variable("BOXER_URL") ?? "http://localhost:8080";
        if (!Uri.TryCreate(address.TrimEnd('/') + "/", UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("http" or "https") || uri.UserInfo.Length > 0)
        {
            throw new FormatException($"{_server.Name}: the address must have the form http://localhost:8080, without user name and password.");
        }

        string? key = (parsed.GetValue(_key) ?? Variable("BOXER_API_KEY"))?.Trim();
        if (key?.Any(character => character is < '!' or > '~') == true)
        {
            // The message must not contain the key.
            throw new FormatException($"{_key.Name}: the key must be printable ASCII without spaces.");
        }

        return new SessionServer(uri, key, TimeProvider.System);
    }

    private static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
