using ArchUnitNET.Domain;
using ArchUnitNET.Loader;
using Boxer.Network;

namespace Boxer.Tests.Network;

/// <summary>The folders of Boxer.Network form stairs: each uses only folders below it.</summary>
public sealed class FolderTests
{
    // From the lowest up. The namespace of a folder has its name.
    private static readonly string[] Stairs = ["Boxer.Network.Tools", "Boxer.Network.Links", "Boxer.Network.Firewalls", "Boxer.Network.Dns", "Boxer.Network"];

    [Fact]
    public void A_folder_uses_only_folders_below_it()
    {
        IType[] types = [.. new ArchLoader().LoadAssembly(typeof(SandboxNetworkMode).Assembly).Build().Types];
        string[] wrong =
        [
            .. from type in types
               from dependency in type.Dependencies.Where(dependency => dependency.Target is not GenericParameter)
               let source = Array.IndexOf(Stairs, type.Namespace?.FullName)
               let target = Array.IndexOf(Stairs, dependency.Target.Namespace?.FullName)
               where source >= 0 && target > source
               select $"{type.FullName} uses {dependency.Target.FullName}",
        ];

        Assert.Equal([], wrong.Distinct(StringComparer.Ordinal));
        Assert.All(Stairs, folder => Assert.Contains(types, type => type.Namespace?.FullName == folder));
    }
}
