namespace Boxer.HttpHost;

/// <summary>Log messages of this program. Event ids never change.</summary>
internal static partial class HostLog
{
    [LoggerMessage(7000, LogLevel.Information, "Configuration: {File}; data directory: {Home}.")]
    public static partial void Configured(ILogger logger, string file, string home);

    [LoggerMessage(
        7001,
        LogLevel.Information,
        "The network mode host is not allowed at {Address}: by default it is allowed only on a loopback address without api_keys. Add host to allowed_networks to allow it.")]
    public static partial void HostNetworkOmitted(ILogger logger, string address);

    [LoggerMessage(7002, LogLevel.Warning, "No api_keys are set: everyone who can reach {Address} can run code and read the files of all others.")]
    public static partial void OpenToStrangers(ILogger logger, string address);
}
