using Boxer.Runtime.Cgroups;

namespace Boxer.Tests.Core.Runtime.Cgroups;

public sealed class HostTasksTests
{
    [Theory]
    [InlineData("systrap", 64, 2, 392)]
    [InlineData("systrap", 1, 64, 450)]
    [InlineData("kvm", 512, 4, 3216)]
    [InlineData("ptrace", 64, 2, 4608)]
    [InlineData("ptrace", 32_768, 2, 2_097_664)]
    public void Limit_depends_on_platform_processes_and_processors(string platform, int pids, int processors, int expected) =>
        Assert.Equal(expected, HostTasks.Limit(pids, platform, processors));
}
