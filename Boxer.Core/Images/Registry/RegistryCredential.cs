namespace Boxer.Images.Registry;

/// <summary>Who a registry knows this process as. Not a record: its text would show the secret.</summary>
public sealed class RegistryCredential
{
    private RegistryCredential(string? userName, string secret)
    {
        UserName = userName;
        Secret = secret;
    }

    /// <summary>The user name; <see langword="null"/> with an identity token.</summary>
    internal string? UserName { get; }

    /// <summary>The password or the identity token.</summary>
    internal string Secret { get; }

    /// <summary>A user name with a password or an access token (RFC 7617).</summary>
    /// <param name="userName">The user name; without a colon.</param>
    /// <param name="password">The password or access token.</param>
    /// <exception cref="ArgumentException">The user name has a colon in it.</exception>
    public static RegistryCredential FromPassword(string userName, string password)
    {
        ArgumentNullException.ThrowIfNull(userName);
        ArgumentNullException.ThrowIfNull(password);
        return userName.Contains(':', StringComparison.Ordinal)
            ? throw new ArgumentException("A user name has no colon in it.", nameof(userName))
            : new(userName, password);
    }

    /// <summary>A refresh token that a token service trades for access tokens (distribution's token specification, OAuth2).</summary>
    /// <param name="token">The token.</param>
    public static RegistryCredential FromIdentityToken(string token)
    {
        ArgumentException.ThrowIfNullOrEmpty(token);
        return new(null, token);
    }
}

/// <summary>Knows credentials of registries. Implementations are safe for concurrent use.</summary>
public interface IRegistryCredentials
{
    /// <summary>Finds the credential of a registry.</summary>
    /// <param name="registry">
    /// The registry that is asked, as <c>host</c> or <c>host:port</c>: the mirror's, where one is asked. <c>docker.io</c> for Docker Hub.
    /// </param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The credential; <see langword="null"/> to ask as anybody.</returns>
    /// <exception cref="InvalidDataException">What is known cannot be read; the message says what to mend.</exception>
    ValueTask<RegistryCredential?> FindAsync(string registry, CancellationToken cancellationToken);
}
