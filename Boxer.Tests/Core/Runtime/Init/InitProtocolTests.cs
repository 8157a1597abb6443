using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Headers of frames.</summary>
public sealed class InitProtocolTests
{
    [Fact]
    public void ReadHeader_limits_the_payload()
    {
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([0xFF, 0xFF, 0xFF, 0xFF, 0x08, 0x80, 1, 0]));
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([1, 0, 1, 0, 0x08, 0x80, 1, 0]));
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([0, 0, 0, 0, 0x08, 0x80, 2, 0]));
        Assert.Equal((InitFrameType.OutputData, InitProtocol.MaxPayload), InitProtocol.ReadHeader([0, 0, 1, 0, 0x08, 0x80, 1, 0]));
    }
}
