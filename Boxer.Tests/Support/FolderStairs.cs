using ArchUnitNET.Domain;
using ArchUnitNET.Loader;
using Assembly = System.Reflection.Assembly;

namespace Boxer.Tests.Support;

/// <summary>The folders of an assembly as stairs: each needs only folders below it, so no two need each other.</summary>
/// <param name="assembly">The assembly.</param>
/// <param name="root">Namespace of the root folder.</param>
/// <param name="steps">Namespaces of the folders, from the lowest up.</param>
/// <param name="top">Name of a type in the root folder that is a step of its own; <see langword="null"/> for none.</param>
internal sealed class FolderStairs(Assembly assembly, string root, string[] steps, string? top = null)
{
    private readonly IType[] _types = [.. new ArchLoader().LoadAssembly(assembly).Build().Types];

    /// <summary>Asserts that no folder needs one above it.</summary>
    internal void AssertOrder()
    {
        string[] wrong =
        [
            .. from type in _types
               from dependency in type.Dependencies.Where(dependency => dependency.Target is not GenericParameter)
               let source = StepOf(type)
               let target = StepOf(dependency.Target)
               where source is not null && target is not null && Array.IndexOf(steps, target) > Array.IndexOf(steps, source)
               select $"{source} needs {target}: {type.FullName} uses {dependency.Target.FullName}",
        ];

        Assert.True(wrong.Length == 0, string.Join('\n', wrong.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)));
    }

    /// <summary>Asserts that each folder is a step, and each step a folder.</summary>
    internal void AssertComplete()
    {
        IEnumerable<string> folders = _types.Select(StepOf).OfType<string>().Distinct(StringComparer.Ordinal);

        Assert.Equal(steps.Order(StringComparer.Ordinal), folders.Order(StringComparer.Ordinal));
    }

    // Null for types of .NET and of packages, and for code that the compiler generates.
    private string? StepOf(IType type) =>
        type.Namespace?.FullName is not { } name || (name != root && !name.StartsWith(root + ".", StringComparison.Ordinal)) ? null
        : name == root && top is not null && type.FullName[(root.Length + 1)..].Split('.', '+', '/')[0] == top ? top
        : name;
}
