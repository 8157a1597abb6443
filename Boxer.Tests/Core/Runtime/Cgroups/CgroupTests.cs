using System.Diagnostics;
using Boxer.Native;
using Boxer.Runtime.Cgroups;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Cgroups;

/// <summary>Files that both versions of cgroups write and read, in plain directories. The tests in Linux/ and its emulated machine use real kernels.</summary>
public sealed class CgroupTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("boxer-cgroup-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Apply_v2_writes_all_limits_and_the_oom_group()
    {
        Cgroup cgroup = V2();
        Put("memory.swap.max", "max");

        cgroup.Apply(new CgroupLimits(CpuCores: 1.5, MemoryBytes: 100 << 20, HostPids: 600));

        Assert.Equal("150000 100000", Read("cpu.max"));
        Assert.Equal("104857600", Read("memory.max"));
        Assert.Equal("0", Read("memory.swap.max"));
        Assert.Equal("1", Read("memory.oom.group"));
        Assert.Equal("600", Read("pids.max"));
    }

    [Fact]
    public void CreateCgroup_sets_a_lower_cpu_weight_than_that_of_a_running_command()
    {
        V2().SetCpuWeight(Cgroup.WaitingWeight);
        Assert.Equal("25", Read("cpu.weight"));
        V1().SetCpuWeight(Cgroup.WaitingWeight);
        Assert.Equal("256", Read("cpu.shares"));
        V1().SetCpuWeight(Cgroup.CommandWeight);
        Assert.Equal("1024", Read("cpu.shares"));
    }

    [Fact]
    public void Apply_v2_skips_swap_without_swap_accounting()
    {
        V2().Apply(new CgroupLimits(0.01, 100 << 20, 600));

        Assert.False(File.Exists(Path.Join(_root, "memory.swap.max")));
        Assert.Equal("1000 100000", Read("cpu.max"));
    }

    [Fact]
    public void ReadCpu_ReadMemory_and_ReadPeakCharge_v2_read_reported_usage()
    {
        Cgroup cgroup = V2();
        Put("cpu.stat", "usage_usec 1500000\nuser_usec 1000000\n");
        Put("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 1\n");
        Put("memory.stat", "anon 1000\nfile 500000\nkernel 7\nshmem 234\nfile_mapped 100000\nanon_thp 99\nshmem_thp 98\n");
        Assert.Equal((TimeSpan.FromSeconds(1.5), 1234), (cgroup.ReadCpu(), cgroup.ReadMemory()));
        Assert.Null(cgroup.ReadPeakCharge());
        Assert.Equal(OutOfMemory.OwnLimit, cgroup.ReadOutOfMemory());
        Put("memory.events", "low 0\noom 0\noom_kill 2\n");
        Assert.Equal(OutOfMemory.Host, cgroup.ReadOutOfMemory());
        Put("memory.events", "low 0\nmax 9\noom 1\noom_kill 0\n");
        Assert.Equal(OutOfMemory.None, cgroup.ReadOutOfMemory());

        Put("memory.peak", "4096\n");
        Assert.Equal(4096, cgroup.ReadPeakCharge());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void IsAtPidsLimit_distinguishes_its_own_limit_from_that_of_a_cgroup_above(bool isV2)
    {
        Cgroup cgroup = isV2 ? V2() : V1();
        Assert.Null(cgroup.ReadRefusedForks());
        Put("pids.events", "max 3\n");
        Put("pids.max", "600\n");
        Assert.Equal(3, cgroup.ReadRefusedForks());
        Put("pids.current", "449\n");
        Assert.False(cgroup.IsAtPidsLimit());
        Put("pids.current", "450\n");
        Assert.True(cgroup.IsAtPidsLimit());
        Put("pids.peak", "599\n");
        Assert.False(cgroup.IsAtPidsLimit());
        Put("pids.peak", "600\n");
        Assert.True(cgroup.IsAtPidsLimit());
    }

    [Fact]
    public void Kill_v2_uses_cgroup_kill_if_it_exists()
    {
        Cgroup cgroup = V2();
        Put("cgroup.procs", "");
        Put("cgroup.kill", "");

        Assert.False(cgroup.Kill());
        Assert.Equal("1", Read("cgroup.kill"));
    }

    [Fact]
    public void Apply_v1_writes_all_limits()
    {
        Cgroup cgroup = V1();
        Put("memory.memsw.limit_in_bytes", "0");

        cgroup.Apply(new CgroupLimits(0.5, 64 << 20, 700));

        Assert.Equal(("67108864", "67108864"), (Read("memory.limit_in_bytes"), Read("memory.memsw.limit_in_bytes")));
        Assert.Equal(("100000", "50000"), (Read("cpu.cfs_period_us"), Read("cpu.cfs_quota_us")));
        Assert.Equal("700", Read("pids.max"));
    }

    [Theory]
    [InlineData(64, 128)]
    [InlineData(128, 64)]
    [InlineData(64, 64)]
    public void Apply_v1_without_swap_accounting_sets_the_memory_limit_and_disables_swapping(int before, int after)
    {
        Cgroup cgroup = V1();
        Put("memory.swappiness", "60");

        cgroup.Apply(new CgroupLimits(1, (long)before << 20, 700));
        cgroup.Apply(new CgroupLimits(1, (long)after << 20, 700));

        Assert.Equal($"{(long)after << 20}", Read("memory.limit_in_bytes"));
        Assert.Equal("0", Read("memory.swappiness"));
        Assert.False(File.Exists(Path.Join(_root, "memory.memsw.limit_in_bytes")));
    }

    [Theory]
    [InlineData(64, 128)]
    [InlineData(128, 64)]
    [InlineData(64, 64)]
    public async Task Apply_changes_every_limit_of_a_cgroup_of_this_kernel_in_both_directions(int before, int after)
    {
        CgroupHierarchy hierarchy = OfThisKernel();
        await using (hierarchy)
        {
            hierarchy.Create();
            await using Cgroup cgroup = hierarchy.CreateCgroup("one");
            bool isV2 = cgroup.Directories.Count == 1 && File.Exists(Path.Join(cgroup.Directories[0], "memory.max"));
            foreach (int step in (int[])[before, after])
            {
                cgroup.Apply(new CgroupLimits(step / 100.0, (long)step << 20, 600 + step));

                string memory = $"{(long)step << 20}";
                Assert.Equal(memory, Limit(cgroup, isV2 ? "memory.max" : "memory.limit_in_bytes"));
                Assert.Equal($"{600 + step}", Limit(cgroup, "pids.max"));
                Assert.Equal(isV2 ? $"{step * 1000} 100000" : $"{step * 1000}", Limit(cgroup, isV2 ? "cpu.max" : "cpu.cfs_quota_us"));
                if (cgroup.Directories.Any(directory => File.Exists(Path.Join(directory, "memory.memsw.limit_in_bytes"))))
                {
                    Assert.Equal(memory, Limit(cgroup, "memory.memsw.limit_in_bytes"));
                }
            }
        }
    }

    [Fact]
    public async Task Freeze_stops_programs_that_fork_all_the_time()
    {
        CgroupHierarchy hierarchy = OfThisKernel();
        await using (hierarchy)
        {
            hierarchy.Create();
            await using Cgroup cgroup = hierarchy.CreateCgroup("one");
            Assert.SkipUnless(cgroup.CanFreeze, "Needs the freezer of cgroups.");
            Process[] programs = [.. Enumerable.Range(0, 4).Select(_ => Start(cgroup))];
            try
            {
                for (int i = 0; i < 50; i++)
                {
                    if (i % 2 == 0 && cgroup is CgroupV1)
                    {
                        cgroup.Freeze();
                    }
                    else
                    {
                        await Until.IsSoAsync(cgroup.TryFreeze, 30);
                    }

                    string state = cgroup.Directories.SelectMany(directory => (string[])[Path.Join(directory, "freezer.state"), Path.Join(directory, "cgroup.events")]).First(File.Exists);
                    Assert.Matches("^FROZEN$|^frozen 1$", (await File.ReadAllTextAsync(state, TestContext.Current.CancellationToken)).Trim().Split('\n')[^1]);
                    cgroup.Thaw();
                }
            }
            finally
            {
                while (cgroup.Kill())
                {
                    await Task.Delay(10, CancellationToken.None);
                }

                Array.ForEach(programs, program => program.Dispose());
            }
        }

        static Process Start(Cgroup cgroup)
        {
            Process program = Process.Start(new ProcessStartInfo("sh", ["-c", "read go; while :; do (:); done"]) { RedirectStandardInput = true, UseShellExecute = false })!;
            foreach (string directory in cgroup.Directories)
            {
                File.WriteAllText(Path.Join(directory, "cgroup.procs"), $"{program.Id}");
            }

            program.StandardInput.WriteLine();
            return program;
        }
    }

    [Fact]
    public void Freeze_v2_begins_a_freeze_and_TryFreeze_is_true_when_the_kernel_says_that_all_stand_still()
    {
        Cgroup cgroup = V2();
        cgroup.Freeze();
        Assert.Equal((false, false), (cgroup.CanFreeze, File.Exists(Path.Join(_root, "cgroup.freeze"))));

        Put("cgroup.freeze", "0");
        Put("cgroup.events", "populated 1\nfrozen 0\n");
        cgroup.Freeze();
        Assert.Equal("1", Read("cgroup.freeze"));
        cgroup.Thaw();
        Assert.Equal("0", Read("cgroup.freeze"));
        Assert.False(cgroup.TryFreeze());
        Assert.Equal("1", Read("cgroup.freeze"));
        Put("cgroup.events", "populated 1\nfrozen 1\n");
        Assert.True(cgroup.TryFreeze());
        cgroup.Thaw();
        Assert.Equal("0", Read("cgroup.freeze"));
    }

    [Fact]
    public void Apply_v1_throws_DirectoryNotFoundException_for_a_removed_cgroup()
    {
        Cgroup cgroup = new CgroupV1(
            ((string[])["cpu", "memory", "pids"]).ToDictionary(controller => controller, _ => Path.Join(_root, "gone"), StringComparer.Ordinal), TimeProvider.System);

        Assert.Throws<DirectoryNotFoundException>(() => cgroup.Apply(new CgroupLimits(1, 64 << 20, 700)));
    }

    [Fact]
    public void ReadCpu_ReadMemory_and_ReadPeakCharge_v1_read_usage()
    {
        Cgroup cgroup = V1();
        Put("cpuacct.usage", "2500000000\n");
        Put("memory.max_usage_in_bytes", "12345\n");
        Put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");

        Put("memory.stat", "cache 999\nrss 1\nrss_huge 2\nshmem 3\ntotal_cache 500000\ntotal_rss 1000\ntotal_rss_huge 99\ntotal_shmem 234\n");
        Assert.Equal((TimeSpan.FromSeconds(2.5), 1234, 12345), (cgroup.ReadCpu(), cgroup.ReadMemory(), cgroup.ReadPeakCharge()));
        Put("memory.limit_in_bytes", "104857600\n");
        Assert.Equal(OutOfMemory.Host, cgroup.ReadOutOfMemory());
        Put("memory.max_usage_in_bytes", "104857600\n");
        Assert.Equal(OutOfMemory.OwnLimit, cgroup.ReadOutOfMemory());
    }

    [Fact]
    public void ReadOutOfMemory_is_None_if_the_kernel_does_not_count_kills()
    {
        Cgroup cgroup = V1();
        Put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");

        Assert.Equal(OutOfMemory.None, cgroup.ReadOutOfMemory());
    }

    [Fact]
    public void ReadCpu_ReadMemory_and_ReadPeakCharge_return_null_for_malformed_files()
    {
        Cgroup cgroup = V1();
        Put("cpuacct.usage", "garbage");

        Put("memory.stat", "total_rss 1000\n");
        Assert.Equal((null, null, null), (cgroup.ReadCpu(), cgroup.ReadMemory(), cgroup.ReadPeakCharge()));
    }

    [Fact]
    public void Locate_rejects_a_host_without_controllers_with_a_remedy()
    {
        SandboxPrivilegeException none = Assert.Throws<SandboxPrivilegeException>(() => Locate([], []));
        Assert.Contains("mount cgroup2, or set IgnoreCgroups", none.Message, StringComparison.Ordinal);

        Put("cgroup.controllers", "cpu io");
        SandboxPrivilegeException missing = Assert.Throws<SandboxPrivilegeException>(() => Locate([$"30 25 0:26 / {_root} rw - cgroup2 c rw"], ["0::/"]));
        Assert.Contains("lacks the controllers memory, pids", missing.Message, StringComparison.Ordinal);
        Assert.Contains("CgroupParent", missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Create_v2_enables_only_missing_controllers_at_each_level()
    {
        Put("cgroup.controllers", "cpu memory pids io");
        Put("cgroup.subtree_control", "cpu\n");
        CgroupHierarchy hierarchy = Locate([$"30 25 0:26 / {_root} rw - cgroup2 c rw"], ["0::/"]);
        Assert.Equal([Path.Join(_root, "boxer-0123abcd")], hierarchy.Directories);
        Directory.CreateDirectory(hierarchy.Directories[0]);
        File.WriteAllText(Path.Join(hierarchy.Directories[0], "cgroup.subtree_control"), "");

        hierarchy.Create();

        Assert.Equal("+memory +pids", Read("cgroup.subtree_control"));
        Assert.Equal("+cpu +memory +pids", File.ReadAllText(Path.Join(hierarchy.Directories[0], "cgroup.subtree_control")));
    }

    [Fact]
    public void Create_without_the_privilege_names_a_remedy()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to make a directory that even root cannot write to.");
        CgroupHierarchy hierarchy = Locate([.. ((string[])["cpu", "memory", "pids"]).Select(name => $"31 25 0:27 / /proc/self rw - cgroup c rw,{name}")], ["3:cpu,memory,pids:/"]);

        SandboxPrivilegeException fault = Assert.Throws<SandboxPrivilegeException>(hierarchy.Create);

        Assert.Contains("Run as root, name a delegated subtree in CgroupParent, or set IgnoreCgroups", fault.Message, StringComparison.Ordinal);
    }

    private static CgroupHierarchy OfThisKernel()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to make cgroups.");
        return CgroupHierarchy.Locate(CgroupMounts.Read(), null, Guid.NewGuid().ToString("N")[..8], TimeProvider.System);
    }

    private static CgroupHierarchy Locate(string[] mounts, string[] own) =>
        CgroupHierarchy.Locate(CgroupMounts.Parse(mounts, own), null, "0123abcd", TimeProvider.System);

    private static string Limit(Cgroup cgroup, string file) =>
        File.ReadAllText(cgroup.Directories.Select(directory => Path.Join(directory, file)).First(File.Exists)).Trim();

    private CgroupV2 V2() => new(_root, TimeProvider.System);

    private CgroupV1 V1() => new(
        ((string[])["cpu", "cpuacct", "memory", "pids"]).ToDictionary(controller => controller, _ => _root, StringComparer.Ordinal), TimeProvider.System);

    private void Put(string file, string content) => File.WriteAllText(Path.Join(_root, file), content);

    private string Read(string file) => File.ReadAllText(Path.Join(_root, file));
}
