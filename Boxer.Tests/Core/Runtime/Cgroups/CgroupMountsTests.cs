using Boxer.Runtime.Cgroups;

namespace Boxer.Tests.Core.Runtime.Cgroups;

public sealed class CgroupMountsTests
{
    private static readonly string[] V1Mounts =
    [
        "24 1 0:22 / /proc rw - proc proc rw",
        "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "33 25 0:29 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids",
    ];

    [Fact]
    public void A_hybrid_host_has_v1_controllers_and_a_unified_mount()
    {
        CgroupMounts mounts = CgroupMounts.Parse(V1Mounts, ["4:memory:/app", "3:cpu,cpuacct:/", "2:pids:/app/x", "1:name=systemd:/", "0::/app"]);

        Assert.Equal("/sys/fs/cgroup/memory/app", mounts.OwnDirectory("memory"));
        Assert.Equal("/sys/fs/cgroup/cpu,cpuacct", mounts.OwnDirectory("cpu"));
        Assert.Equal("/sys/fs/cgroup/cpu,cpuacct", mounts.OwnDirectory("cpuacct"));
        Assert.Equal("/sys/fs/cgroup/pids/app/x", mounts.OwnDirectory("pids"));
        Assert.Equal("/sys/fs/cgroup/pids", mounts.MountPoint("pids"));
        Assert.Equal("/sys/fs/cgroup/unified", mounts.Unified);
    }

    [Fact]
    public void A_v2_host_has_no_v1_controllers()
    {
        CgroupMounts mounts = CgroupMounts.Parse(["30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"], ["0::/user.slice"]);

        Assert.Equal("/sys/fs/cgroup", mounts.Unified);
        Assert.Null(mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void A_container_sees_its_part_of_the_hierarchy_as_the_root_of_the_mount()
    {
        CgroupMounts mounts = CgroupMounts.Parse(
            ["32 25 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"], ["4:memory:/docker/abc/app"]);

        Assert.Equal("/sys/fs/cgroup/memory/app", mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void Mount_points_are_unescaped_and_lines_of_another_form_are_passed_over()
    {
        CgroupMounts mounts = CgroupMounts.Parse(
            ["", "garbage", "1 - cgroup", @"32 25 0:28 / /mnt/a\040b\134c rw - cgroup cgroup rw,memory"], ["", "4:memory", "4:memory:/"]);

        Assert.Equal(@"/mnt/a b\c", mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void The_machine_that_this_runs_on_can_be_read()
    {
        CgroupMounts mounts = CgroupMounts.Read();

        Assert.SkipWhen(mounts.Unified is null && mounts.OwnDirectory("memory") is null, "No cgroup hierarchy is mounted.");
        string directory = mounts.OwnDirectory("memory") ?? mounts.Unified!;
        Assert.True(File.Exists(Path.Join(directory, "cgroup.procs")), directory);
    }
}
