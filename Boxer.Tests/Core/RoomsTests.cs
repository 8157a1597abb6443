using System.Runtime.CompilerServices;
using ArchUnitNET.Domain;
using ArchUnitNET.Loader;

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
        "Boxer.Admission",
        "Boxer.Pool",
        "Boxer.Machine",
        "Boxer.Running",
        Runner,
    ];

    private static readonly Architecture Core = new ArchLoader().LoadAssembly(typeof(SandboxRunner).Assembly).Build();

    [Fact]
    public void A_folder_needs_only_folders_below_it()
    {
        string[] wrong =
        [
            .. from type in Core.Types
               from dependency in type.Dependencies.Where(dependency => dependency.Target is not GenericParameter)
               let source = RoomOf(type)
               let target = RoomOf(dependency.Target)
               where source is not null && target is not null && Array.IndexOf(Stairs, target) > Array.IndexOf(Stairs, source)
               select $"{source} needs {target}: {type.FullName} uses {dependency.Target.FullName}",
        ];

        Assert.True(wrong.Length == 0, string.Join('\n', wrong.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void Each_folder_is_a_step_of_the_stairs()
    {
        IEnumerable<string> rooms = Core.Types.Select(RoomOf).OfType<string>().Distinct(StringComparer.Ordinal);

        Assert.Equal(Stairs.Order(StringComparer.Ordinal), rooms.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_namespace_follows_its_folder()
    {
        string root = SourceFolder();
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

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetFullPath(Path.Join(Path.GetDirectoryName(path), "..", "..", "Boxer.Core"));

    // Null for types of .NET and of packages, and for code that the compiler generates.
    private static string? RoomOf(IType type) =>
        type.Namespace?.FullName is not { } name || (name != Face && !name.StartsWith(Face + ".", StringComparison.Ordinal)) ? null
        : name == Face && type.FullName.Split('.', '+', '/')[1] == Runner ? Runner
        : name;
}
