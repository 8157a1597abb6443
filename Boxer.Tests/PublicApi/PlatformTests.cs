using System.Reflection;
using System.Runtime.Versioning;
using Boxer.Hosting;
using Boxer.Images.Layers;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Boxer.Network;
using Boxer.Testing;

namespace Boxer.PublicApi.Tests;

/// <summary>Types and assemblies that need Linux are marked; contracts and the fake run anywhere.</summary>
public sealed class PlatformTests
{
    [Theory]
    [InlineData(typeof(SandboxRunner), true)]
    [InlineData(typeof(ImageStore), true)]
    [InlineData(typeof(LayerExtractor), true)]
    [InlineData(typeof(DockerConfigCredentials), true)]
    [InlineData(typeof(SandboxRunnerFactory), true)]
    [InlineData(typeof(NoneNetworkMode), true)]
    [InlineData(typeof(ISandboxRunner), false)]
    [InlineData(typeof(SandboxRequest), false)]
    [InlineData(typeof(SandboxResult), false)]
    [InlineData(typeof(RegistryClient), false)]
    [InlineData(typeof(FakeSandboxRunner), false)]
    public void A_type_that_needs_Linux_is_marked(Type type, bool needsLinux)
    {
        IEnumerable<string> platforms = type.GetCustomAttributes<SupportedOSPlatformAttribute>().Concat(type.Assembly.GetCustomAttributes<SupportedOSPlatformAttribute>()).Select(attribute => attribute.PlatformName);

        Assert.Equal(needsLinux ? ["linux"] : [], platforms);
    }
}
