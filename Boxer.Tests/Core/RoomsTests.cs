using Boxer.Tests.Support;

namespace Boxer.Tests.Core;

/// <summary>The folders of Boxer.Core form stairs: each needs only folders below it, so no two need each other.</summary>
public sealed class RoomsTests
{
    private const string Face = "Boxer";
    private const string Runner = nameof(SandboxRunner);

    // From the lowest up. A folder's namespace has its name.
    private static readonly string[] Stairs =
    [
        "Boxer.Native",
        "Boxer.Common",
        "Boxer.Images",
        "Boxer.Networking",
        Face,
        "Boxer.Linux",
        "Boxer.Diagnostics",
        "Boxer.Processes",
        "Boxer.Runtime.Cgroups",
        "Boxer.Images.Manifests",
        "Boxer.Images.Layers",
        "Boxer.Images.Registry",
        "Boxer.Images.Sources",
        "Boxer.Images.Disk",
        "Boxer.Images.Roots",
        "Boxer.Images.Store",
        "Boxer.Runtime.Init",
        "Boxer.Validation",
        "Boxer.Inputs",
        "Boxer.Runtime",
        "Boxer.Runtime.Kept",
        "Boxer.Admission",
        "Boxer.Pool",
        "Boxer.Machine",
        "Boxer.Running",
        "Boxer.Sessions",
        Runner,
    ];

    private static readonly FolderStairs Core = new(typeof(SandboxRunner).Assembly, Face, Stairs, Runner);

    [Fact]
    public void A_folder_needs_only_folders_below_it() => Core.AssertOrder();

    [Fact]
    public void Each_folder_is_a_step_of_the_stairs() => Core.AssertComplete();

    [Fact]
    public void A_namespace_follows_its_folder()
    {
        string root = Path.Join(Checkout.Root, "Boxer.Core");
        string[] wrong =
        [
            .. from file in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
               let folder = Path.GetRelativePath(root, Path.GetDirectoryName(file)!)
               where folder.Split('/')[0] is not ("bin" or "obj")
               let expected = folder == "." ? Face : $"{Face}.{folder.Replace('/', '.')}"
               let found = File.ReadLines(file).FirstOrDefault(line => line.StartsWith("namespace ", StringComparison.Ordinal))
               where found is not null && found != $"namespace {expected};"
               select $"{file} has {found}",
        ];

        Assert.True(wrong.Length == 0, string.Join('\n', wrong));
    }
}
