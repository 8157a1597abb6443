using System.Reflection;
using System.Runtime.CompilerServices;
using Boxer.PublicApi.Tests.Support;

namespace Boxer.PublicApi.Tests;

/// <summary>A run through the public API.</summary>
[Collection(Sandboxes.Name)]
public sealed class RunTests(PythonSandboxes sandboxes)
{
    [Fact]
    public async Task RunAsync_returns_the_output_of_the_command()
    {
        SandboxResult result = await sandboxes.Runner.RunAsync(PythonSandboxes.Python("print(6 * 7)"), TestContext.Current.CancellationToken);

        Assert.Equal(("42\n", 0), (result.StandardOutput, result.ExitCode));
    }

    [Fact]
    public void This_assembly_sees_no_internals()
    {
        string own = typeof(RunTests).Assembly.GetName().Name!;
        Assembly[] product = [.. typeof(RunTests).Assembly.GetReferencedAssemblies().Where(name => name.Name!.StartsWith("Boxer.", StringComparison.Ordinal)).Select(Assembly.Load)];

        Assert.NotEmpty(product);
        Assert.All(product, assembly => Assert.DoesNotContain(
            own, assembly.GetCustomAttributes<InternalsVisibleToAttribute>().Select(friend => friend.AssemblyName.Split(',')[0])));
    }
}
