using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Encodes a run and sends it.</summary>
internal static class InitChannelExtensions
{
    internal static Task StartAsync(this InitChannel channel, InitStart start, CancellationToken cancellationToken) =>
        channel.StartAsync(start, InitEncoder.EncodeStart(start), [], cancellationToken);

    internal static Task<InitWarmedUp> WarmUpAsync(this InitChannel channel, InitStart start, CancellationToken cancellationToken) =>
        channel.WarmUpAsync(InitEncoder.ToWarmUp(InitEncoder.EncodeStart(start)), cancellationToken);
}
