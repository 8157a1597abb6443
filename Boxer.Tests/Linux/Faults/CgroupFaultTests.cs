using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux.Faults;

/// <summary>Cgroups that the kernel rejects, or that allow less than a run wants.</summary>
[Collection(Sandboxes.Name)]
public sealed class CgroupFaultTests(PythonImage image)
{
    private const string Cpu = "/sys/fs/cgroup/cpu";
    private readonly string _parent = "boxertest-" + Guid.NewGuid().ToString("N")[..8];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_parent_cgroup_with_less_cpu_limits_the_run()
    {
        image.Require();
        Assert.SkipUnless(File.Exists(Path.Join(Cpu, "cpu.cfs_quota_us")), "Needs cgroup v1: v2 accepts a limit above that of the parent.");
        string above = Path.Join(Cpu, _parent);
        Directory.CreateDirectory(above);
        try
        {
            await File.WriteAllTextAsync(Path.Join(above, "cpu.cfs_period_us"), "50000", Cancel);
            await File.WriteAllTextAsync(Path.Join(above, "cpu.cfs_quota_us"), "25000", Cancel);
            BoxerOptions options = image.Options();
            options.CgroupParent = _parent;
            await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
            {
                SandboxRequest request = Shell("echo in; sleep 1000");
                request.Limits.CpuCores = 2;
                await foreach (SandboxEvent item in runner.StreamAsync(request, Cancel))
                {
                    if (item is SandboxDataReceived)
                    {
                        string sandbox = Assert.Single(Directory.GetDirectories(Assert.Single(Directory.GetDirectories(above))));
                        Assert.Equal("50000", (await File.ReadAllTextAsync(Path.Join(sandbox, "cpu.cfs_quota_us"), Cancel)).Trim());
                        break;
                    }
                }
            }

            // The runner had created the cgroups of the other hierarchies.
            Assert.Equal([above], Parents());
        }
        finally
        {
            Directory.Delete(above);
        }
    }

    [Fact]
    public async Task A_cgroup_hierarchy_that_refuses_is_a_typed_failure_without_leftovers()
    {
        image.Require();
        Assert.SkipUnless(File.Exists(Path.Join(Cpu, "cpu.cfs_quota_us")), "Needs cgroup v1.");
        BoxerOptions options = image.Options();
        options.CgroupParent = _parent;
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            Assert.Equal(0, (await runner.RunAsync(Command("true"), Cancel)).ExitCode);
            string refusing = Path.Join("/sys/fs/cgroup/pids", _parent);
            await HostProgram.RunAsync("mount", "--bind", refusing, refusing);
            try
            {
                await HostProgram.RunAsync("mount", "-o", "remount,bind,ro", refusing);
                SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => runner.RunAsync(Command("true"), Cancel));
                Assert.Contains("The sandbox could not be made", fault.Message, StringComparison.Ordinal);
            }
            finally
            {
                await HostProgram.RunAsync("umount", refusing);
            }

            string[] sandboxes = [];
            for (int attempt = 0; attempt < 500 && (sandboxes = [.. Parents().SelectMany(Directory.GetDirectories).SelectMany(Directory.GetDirectories)]).Length > 0; attempt++)
            {
                await Task.Delay(20, Cancel);
            }

            Assert.Empty(sandboxes);
            Assert.Equal(0, (await runner.RunAsync(Command("true"), Cancel)).ExitCode);
        }

        Assert.Empty(Parents());
    }

    private string[] Parents() => Directory.GetDirectories("/sys/fs/cgroup").Select(hierarchy => Path.Join(hierarchy, _parent)).Where(Directory.Exists)
        .Where(directory => new DirectoryInfo(Path.GetDirectoryName(directory)!).LinkTarget is null).ToArray();
}
