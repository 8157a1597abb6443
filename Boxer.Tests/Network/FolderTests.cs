using Boxer.Network;
using Boxer.Tests.Support;

namespace Boxer.Tests.Network;

/// <summary>The folders of Boxer.Network form stairs: each uses only folders below it.</summary>
public sealed class FolderTests
{
    // From the lowest up. The namespace of a folder has its name.
    private static readonly string[] Stairs = ["Boxer.Network.Tools", "Boxer.Network.Links", "Boxer.Network.Firewalls", "Boxer.Network.Dns", "Boxer.Network"];

    private static readonly FolderStairs Network = new(typeof(SandboxNetworkMode).Assembly, "Boxer.Network", Stairs);

    [Fact]
    public void A_folder_uses_only_folders_below_it() => Network.AssertOrder();

    [Fact]
    public void Each_folder_is_a_step_of_the_stairs() => Network.AssertComplete();
}
