using System.Reflection;
using Boxer.Hosting;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Testing;

namespace Boxer.PublicApi.Tests;

/// <summary>Code outside this repository can create an object of every public class, for fakes and extensions.</summary>
public sealed class MakeableTests
{
    private static readonly Assembly[] Product = [typeof(ISandboxRunner).Assembly, typeof(NoneNetworkMode).Assembly, typeof(SandboxRunnerFactory).Assembly, typeof(FakeSandboxRunner).Assembly];

    // Members of other public objects return these: FakeSandboxRunner.WhenAny, FakeSandboxSessions.WhenAny and OpenAsync, NetworkPolicy.Combine.
    private static readonly Type[] HandedOut =
        [typeof(FakeSandboxAnswer), typeof(FakeCommandAnswer), typeof(FakeSandboxSession), typeof(FakeSandboxProcess), typeof(EgressLayer)];

    public static TheoryData<Type> Classes => [.. Product.SelectMany(assembly => assembly.ExportedTypes).Where(type => type is { IsClass: true, IsAbstract: false } && !type.IsSubclassOf(typeof(Delegate)))];

    [Theory]
    [MemberData(nameof(Classes))]
    public void Each_class_has_a_public_constructor_or_factory(Type type)
    {
        bool isMakeable = type.GetConstructors().Length > 0
            || type.GetMethods(BindingFlags.Public | BindingFlags.Static).Any(method => method.ReturnType == type || method.GetParameters().Any(parameter => parameter.IsOut && parameter.ParameterType.GetElementType() == type));

        Assert.Equal(!HandedOut.Contains(type), isMakeable);
    }
}
