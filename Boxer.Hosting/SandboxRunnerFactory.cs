using Boxer.Network;
using Microsoft.Extensions.Logging;

namespace Boxer.Hosting;

/// <summary>Makes runners without a container.</summary>
public static class SandboxRunnerFactory
{
    /// <summary>Makes a runner with Boxer's own network modes. Dispose it when you are done.</summary>
    /// <param name="options">The options; <see langword="null"/>: the defaults.</param>
    /// <param name="loggers">Makes loggers; <see langword="null"/>: none.</param>
    /// <exception cref="ArgumentException">The options are wrong; every fault is listed.</exception>
    public static SandboxRunner Create(BoxerOptions? options = null, ILoggerFactory? loggers = null)
    {
        BoxerOptions copy = (options ?? new BoxerOptions()).Copy();
        var sandbox = new SandboxNetworkMode(copy);
        return new(copy, [new NoneNetworkMode(), new HostNetworkMode(), sandbox], loggers: loggers) { Owned = sandbox };
    }
}
