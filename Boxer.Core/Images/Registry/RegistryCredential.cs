namespace Boxer.Images.Registry;

/// <summary>A credential of a registry. Not a record, so that its text does not show the secret.</summary>
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

    /// <summary>Creates a credential of a user name with a password or an access token (RFC 7617).</summary>
    /// <param name="userName">The user name, without a colon.</param>
    /// <param name="password">The password or access token.</param>
    /// <exception cref="ArgumentException">The user name contains a colon.</exception>
    public static RegistryCredential FromPassword(string userName, string password)
    {
        ArgumentNullException.ThrowIfNull(userName);
        ArgumentNullException.ThrowIfNull(password);
        return userName.Contains(':', StringComparison.Ordinal)
            ? throw new ArgumentException("A user name has no colon in it.", nameof(userName))
            : new(userName, password);
    }

    /// <summary>Creates a credential of an identity token, which a token service exchanges for access tokens (distribution's token specification, OAuth2).</summary>
    /// <param name="token">The identity token (refresh token).</param>
    public static RegistryCredential FromIdentityToken(string token)
    {
        ArgumentException.ThrowIfNullOrEmpty(token);
        return new(null, token);
    }
}

/// <summary>A source of registry credentials. Implementations are safe for concurrent use.</summary>
public interface IRegistryCredentials
{
    /// <summary>Finds the credential of a registry.</summary>
    /// <param name="registry">
    /// The registry, or the mirror that is asked instead of it, as <c>host</c> or <c>host:port</c>; <c>docker.io</c> for Docker Hub.
    /// </param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns>The credential; <see langword="null"/> for anonymous access.</returns>
    /// <exception cref="InvalidDataException">The stored credentials cannot be read; the message names the remedy.</exception>
    ValueTask<RegistryCredential?> FindAsync(string registry, CancellationToken cancellationToken);
}
