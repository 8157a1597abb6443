namespace Boxer.HttpHost;

/// <summary>Everything that this program logs itself. The ids are fixed.</summary>
internal static partial class HostLog
{
    [LoggerMessage(7000, LogLevel.Information, "Configuration: {File}; files below {Home}.")]
    public static partial void Configured(ILogger logger, string file, string home);

    [LoggerMessage(
        7001,
        LogLevel.Information,
        "The network mode host is not allowed at {Address}: without allowed_networks it is allowed only on a loopback address without api_keys. List host in allowed_networks to allow it.")]
    public static partial void OmitsHostNetwork(ILogger logger, string address);

    [LoggerMessage(7002, LogLevel.Warning, "No api_keys are set: everybody who reaches {Address} can run code and read the files of all others.")]
    public static partial void Open(ILogger logger, string address);
}
