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
    public void Parse_finds_v1_controllers_and_the_unified_mount_of_a_hybrid_host()
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
    public void Parse_finds_no_v1_controllers_on_a_v2_host()
    {
        CgroupMounts mounts = CgroupMounts.Parse(["30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"], ["0::/user.slice"]);

        Assert.Equal("/sys/fs/cgroup", mounts.Unified);
        Assert.Null(mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void Parse_starts_paths_at_the_root_of_the_mount_in_a_container()
    {
        CgroupMounts mounts = CgroupMounts.Parse(
            ["32 25 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"], ["4:memory:/docker/abc/app"]);

        Assert.Equal("/sys/fs/cgroup/memory/app", mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void Parse_decodes_mount_points_and_skips_malformed_lines()
    {
        CgroupMounts mounts = CgroupMounts.Parse(
            ["", "garbage", "1 - cgroup", @"32 25 0:28 / /mnt/a\040b\134c rw - cgroup cgroup rw,memory"], ["", "4:memory", "4:memory:/"]);

        Assert.Equal(@"/mnt/a b\c", mounts.OwnDirectory("memory"));
    }

    [Fact]
    public void Read_finds_the_mounts_of_this_machine()
    {
        CgroupMounts mounts = CgroupMounts.Read();

        Assert.SkipWhen(mounts.Unified is null && mounts.OwnDirectory("memory") is null, "No cgroup hierarchy is mounted.");
        string directory = mounts.OwnDirectory("memory") ?? mounts.Unified!;
        Assert.True(File.Exists(Path.Join(directory, "cgroup.procs")), directory);
    }
}
