using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Every limit is enforced and reported by name, and the result has the output before the end.</summary>
[Collection(Sandboxes.Name)]
public sealed class LimitTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Sandboxes_are_killed_first_if_the_machine_is_out_of_memory()
    {
        string[] before = OwnTraces.Sandboxes();
        await foreach (SandboxEvent item in shared.Runner.StreamAsync(Shell("echo up; sleep 1000"), Cancel))
        {
            if (item is SandboxDataReceived)
            {
                string sandbox = Assert.Single(OwnTraces.Sandboxes().Except(before, StringComparer.Ordinal));
                Assert.Equal("500\n", await File.ReadAllTextAsync($"/proc/{OwnTraces.FindProcess(sandbox, "runsc-sandbox")}/oom_score_adj", Cancel));
                break;
            }
        }
    }

    [Fact]
    public async Task WallClock_limit_keeps_output_and_files()
    {
        SandboxRequest request = Shell("echo before; echo kept > /output/file; sleep 100; echo after");
        request.Limits.WallClock = TimeSpan.FromSeconds(3);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.WallClockLimit, 137, "before\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
        Assert.Contains("3 s", result.Termination.Message, StringComparison.Ordinal);
        Assert.Equal("file", Assert.Single(result.OutputFiles).Path);
    }

    [Theory]
    [InlineData("trap '' TERM INT HUP; echo up; while :; do sleep 1; done")]
    [InlineData("echo up; kill -STOP $$")]
    [InlineData("echo up; exec >&- 2>&-; sleep 100")]
    [InlineData("(setsid sleep 100 &) ; echo up; sleep 100")]
    public async Task WallClock_limit_ends_programs_that_resist(string script)
    {
        SandboxRequest request = Shell(script);
        request.Limits.WallClock = TimeSpan.FromSeconds(3);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.WallClockLimit, "up\n"), (result.Termination.Kind, result.StandardOutput));
    }

    [Fact]
    public async Task A_run_ends_with_its_command_although_a_daemon_keeps_the_pipes()
    {
        SandboxRequest request = Shell("(setsid sleep 1000 &); echo done");

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.Exited, "done\n"), (result.Termination.Kind, result.StandardOutput));
    }

    [Theory]
    [InlineData("print('up', flush=True); a = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): a[i] = 1")]
    [InlineData("import os; print('up', flush=True); f = open('/dev/shm/x', 'wb')\nfor i in range(512): f.write(bytes(1 << 20))")]
    [InlineData("import os; print('up', flush=True)\nfor i in range(40):\n  if os.fork() == 0:\n    a = bytearray(b'x' * (20 << 20)); os.read(0, 1); os.pause() if hasattr(os, 'pause') else __import__('time').sleep(100)\n__import__('time').sleep(100)")]
    public async Task MemoryBytes_is_reported_as_the_limit(string program)
    {
        SandboxRequest request = Python(program);
        request.Limits.DiskBytes = 1024 * ByteSize.MiB;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.MemoryLimit, 137, "up\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
        Assert.Contains("256 MiB", result.Termination.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MemoryBytes_is_reported_although_the_parent_shell_exits_with_zero()
    {
        SandboxRequest request = Shell("python3 -c 'b = bytearray(b\"x\" * (1 << 30))'; exit 0");

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.MemoryLimit, result.Termination.Kind);
        Assert.NotEqual(0, result.ExitCode);
    }

    [Fact]
    public async Task The_copy_on_write_root_counts_as_memory_for_user_0()
    {
        SandboxRequest request = Shell("echo up; cat /dev/zero > /big");
        request.User = "0";

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.MemoryLimit, "up\n"), (result.Termination.Kind, result.StandardOutput));
    }

    [Fact]
    public async Task A_timeout_is_not_reported_as_a_lack_of_memory()
    {
        SandboxRequest request = Python("a = bytearray(b'x' * (100 << 20)); print('up', flush=True)\nwhile True: pass");
        request.Limits.WallClock = TimeSpan.FromSeconds(5);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.WallClockLimit, "up\n"), (result.Termination.Kind, result.StandardOutput));
    }

    [Theory]
    [InlineData("cat /dev/zero", 1)]
    [InlineData("cat /dev/zero >&2", 2)]
    public async Task OutputLimit_ends_endless_output_and_keeps_its_first_bytes(string script, int stream)
    {
        SandboxRequest request = Shell(script);
        request.Limits.StandardOutputBytes = 1 << 20;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        ReadOnlyMemory<byte> kept = stream == 1 ? result.StandardOutputBytes : result.StandardErrorBytes;
        Assert.Equal((TerminationKind.OutputLimit, 1 << 20), (result.Termination.Kind, kept.Length));
        Assert.True(kept.Span.IndexOfAnyExcept((byte)0) < 0);
        Assert.True(result.Timings.Run < TimeSpan.FromSeconds(20), "The wall clock ended it, not the flood.");
    }

    [Fact]
    public async Task OutputLimit_is_reported_for_a_command_that_ends_after_too_much_output()
    {
        SandboxRequest request = Shell("head -c 5000 /dev/zero");
        request.Limits.StandardOutputBytes = 4999;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.OutputLimit, 4999), (result.Termination.Kind, result.StandardOutputBytes.Length));
    }

    [Fact]
    public async Task Output_of_exactly_the_limit_is_accepted()
    {
        SandboxRequest request = Shell("head -c 5000 /dev/zero");
        request.Limits.StandardOutputBytes = 5000;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.Exited, 5000), (result.Termination.Kind, result.StandardOutputBytes.Length));
    }

    [Theory]
    [InlineData("65534")]
    [InlineData("0")]
    public async Task A_fork_bomb_stops_at_the_limit_Pids(string user)
    {
        SandboxRequest request = Python("""
            import os, time
            count = 1
            try:
                while count < 500:
                    if os.fork() == 0:
                        time.sleep(100)
                    count += 1
            except OSError as e:
                print(count, e.errno)
            """);
        request.User = user;
        request.Limits.Pids = 40;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("40 11\n", 0), (result.StandardOutput, result.ExitCode));
    }

    /// <summary>
    /// RLIMIT_NPROC counts per user: user 0 gets the full limit again for each user that it changes to. The host's cgroup limits them together.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_fork_bomb_over_a_thousand_users_ends_with_the_limit_Pids(bool pooled)
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = pooled;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest request = Python(BombOfUsers(1_000, "time.sleep(1000)"));
        (request.User, request.Limits.MemoryBytes, request.Limits.WallClock) = ("0", 2_048 * ByteSize.MiB, TimeSpan.FromMinutes(5));
        string[] before = OwnTraces.Sandboxes();

        SandboxResult result = pooled ? await runner.WarmLongAsync(request) : await runner.RunAsync(request, Cancel);
        SandboxResult next = await runner.RunAsync(Shell("echo next"), Cancel);

        Assert.Equal((TerminationKind.PidsLimit, 137, "up\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
        Assert.Contains("where each may have 64", result.Termination.Message, StringComparison.Ordinal);
        Assert.Equal("next\n", next.StandardOutput);
        await runner.DisposeAsync();
        Assert.Empty(OwnTraces.Sandboxes().Except(before, StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_user_at_the_limit_Pids_does_not_end_the_run()
    {
        SandboxRequest request = Python(BombOfUsers(3, "print('all')"));
        (request.User, request.Limits.Pids) = ("0", 8);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.Exited, 0, "up\nall\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
    }

    // Each user creates as many processes as it can and reports that; then the next one starts.
    private static string BombOfUsers(int users, string then) => $"""
        import os, time
        print("up", flush=True)
        reader, writer = os.pipe()
        for user in range(1000, 1000 + {users}):
            os.setresuid(user, 0, 0)
            if os.fork() == 0:
                try:
                    while os.fork() != 0: pass
                except OSError:
                    os.write(writer, b"x")
                time.sleep(1000)
            os.read(reader, 1)
        {then}
        """;

    [Fact]
    public async Task Open_files_stop_at_their_limit()
    {
        SandboxRequest request = Python("""
            import os
            files = []
            try:
                while True:
                    files.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as e:
                print(max(files), e.errno)
            """);
        request.Limits.OpenFiles = 50;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("49 24\n", result.StandardOutput);
    }

    [Fact]
    public async Task The_cpu_quota_slows_a_busy_command_down()
    {
        SandboxRequest request = Shell("while :; do :; done");
        request.Limits.CpuCores = 0.2;
        request.Limits.WallClock = TimeSpan.FromSeconds(4);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.WallClockLimit, result.Termination.Kind);
        Assert.InRange(result.Usage.SandboxCpu!.Value.TotalSeconds, 0.2, 1.6);
    }

    [Theory]
    [InlineData("0", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("65534", true)]
    public async Task DiskBytes_limits_all_directories_together(string user, bool pooled)
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = pooled;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest request = Shell("""
            df -k --output=size,target /tmp /dev/shm $HOME /output | tail -n 4 | while read size target; do echo $size; done | uniq -c
            for directory in /tmp /dev/shm $HOME /output; do head -c 3000000 /dev/zero >$directory/x && echo $directory; done
            rm /tmp/x && head -c 2000000 /dev/zero >/dev/shm/y && echo again
            """);
        (request.User, request.Environment["HOME"], request.Limits.DiskBytes) = (user, "/work", 8 * ByteSize.MiB);

        SandboxResult result = pooled ? await runner.WarmAsync(request) : await runner.RunAsync(request, Cancel);

        Assert.Contains("4 8192\n/tmp\n/dev/shm\nagain\n", result.StandardOutput, StringComparison.Ordinal);
        Assert.Equal(2, result.StandardError.Split("No space left").Length - 1);
    }

    [Fact]
    public async Task A_command_that_waits_for_a_refused_thread_is_reported_with_its_limit()
    {
        SandboxRequest request = Python("""
            import threading, time
            started = []
            for i in range(100):
                try: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); started.append(i)
                except RuntimeError as e: print(len(started), e, flush=True); break
            time.sleep(1000)
            """);
        (request.Limits.WallClock, request.Limits.Pids) = (TimeSpan.FromSeconds(5), 20);
        SandboxResult full = await shared.Runner.RunAsync(request, Cancel);
        SandboxRequest idle = Shell("sleep 1000");
        idle.Limits.WallClock = TimeSpan.FromSeconds(1);
        SandboxResult other = await shared.Runner.RunAsync(idle, Cancel);

        Assert.Equal((TerminationKind.WallClockLimit, "19 can't start new thread\n"), (full.Termination.Kind, full.StandardOutput));
        Assert.EndsWith("; it had 20 processes and threads, and more than 20 are not allowed: a higher limit may help", full.Termination.Message, StringComparison.Ordinal);
        Assert.EndsWith("limit of 1 s", other.Termination.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1969-07-20T20:17:40.5Z", "1969-07-20T20:17:40.5000000+00:00")]
    [InlineData("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.0000000+00:00")]
    [InlineData("2038-01-20T00:00:00.25Z", "2038-01-20T00:00:00.2500000+00:00")]
    public async Task Output_files_keep_their_modification_time(string given, string expected)
    {
        SandboxResult result = await shared.Runner.RunAsync(Shell($"touch -d {given} /output/a; echo b >/output/b"), Cancel);

        Assert.Null(result.OutputFilesIncomplete);
        Assert.Equal(expected, result.OutputFiles.Single(file => file.Path == "a").ModifiedAt.ToString("o", System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public async Task By_default_a_large_file_fills_the_disk_limit_before_the_memory_limit()
    {
        SandboxResult disk = await shared.Runner.RunAsync(Shell("head -c 400M /dev/zero >/tmp/big"), Cancel);
        SandboxRequest root = Shell("head -c 400M /dev/zero >/big");
        root.User = "0";
        SandboxResult memory = await shared.Runner.RunAsync(root, Cancel);

        Assert.Equal((TerminationKind.DiskLimit, TerminationKind.MemoryLimit), (disk.Termination.Kind, memory.Termination.Kind));
        Assert.Contains("have 128 MiB together", disk.Termination.Message, StringComparison.Ordinal);
        Assert.Contains("files that it wrote count", memory.Termination.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/tmp")]
    [InlineData("/dev/shm")]
    [InlineData("$HOME")]
    [InlineData("/output")]
    public async Task A_full_file_system_is_reported_as_DiskLimit(string directory)
    {
        SandboxRequest request = Shell($"head -c 9000000 /dev/zero > {directory}/x");
        request.Limits.DiskBytes = 8 * ByteSize.MiB;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.DiskLimit, result.Termination.Kind);
        Assert.Contains("8 MiB", result.Termination.Message, StringComparison.Ordinal);
        Assert.NotEqual(0, result.ExitCode);
    }

    [Fact]
    public async Task Output_files_beyond_the_limits_are_omitted_and_reported()
    {
        SandboxRequest tooMany = Shell("cd /output; for i in 1 2 3 4 5 6; do echo $i > $i; done");
        tooMany.Limits.OutputFilesCount = 5;
        SandboxRequest odd = Shell("cd /output; ln -s /etc/passwd link; mkfifo fifo; echo ok > ok; mkdir d; ln ok d/hard");

        SandboxResult some = await shared.Runner.RunAsync(tooMany, Cancel);
        SandboxResult regular = await shared.Runner.RunAsync(odd, Cancel);

        Assert.Equal(5, some.OutputFiles.Count);
        Assert.NotNull(some.OutputFilesIncomplete);
        Assert.Equal(["d/hard", "ok"], regular.OutputFiles.Select(file => file.Path).Order());
        Assert.Contains("2 entries were neither files nor directories", regular.OutputFilesIncomplete, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Output_files_can_go_to_a_directory_of_the_host()
    {
        string parent = Directory.CreateTempSubdirectory("boxer-test-").FullName;
        try
        {
            SandboxRequest request = Shell("mkdir -p /output/a/b; echo text > /output/a/b/c; : > /output/empty");
            request.OutputFiles = OutputFilePolicy.ToDirectory(Path.Join(parent, "out"));

            SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

            Assert.Equal(["a/b/c", "empty"], result.OutputFiles.Select(file => file.Path).Order());
            Assert.Equal("text\n", await File.ReadAllTextAsync(Path.Join(parent, "out/a/b/c"), Cancel));
            Assert.All(result.OutputFiles, file => Assert.True(File.Exists(file.HostPath)));
        }
        finally
        {
            Directory.Delete(parent, recursive: true);
        }
    }
}
