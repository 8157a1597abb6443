using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Modules of CPython's test suite that exercise the kernel, in pooled sandboxes and with the default limits where possible.</summary>
[LongTests]
[Collection(RealPrograms.Name)]
public sealed partial class CPythonSuiteTests(ProgramsImage programs)
{
    private const string Plain = """
        test_asyncio.test_streams test_asyncio.test_subprocess test_atexit test_buffer test_builtin test_bytes test_bz2 test_cmd_line test_cmd_line_script
        test_codecs test_csv test_ctypes test_datetime test_dbm test_dbm_dumb test_decimal test_eintr test_epoll test_exceptions test_faulthandler
        test_file test_file_eintr test_fileio test_fork1 test_ftplib test_gc test_genericpath test_getpass test_glob test_grp test_gzip test_hashlib
        test_httpservers test_inspect test_io test_itertools test_json test_largefile test_locale test_lzma test_mailbox test_mmap
        test_openpty test_os test_pathlib test_platform test_poll test_popen test_pty test_pwd test_re test_select
        test_selectors test_shelve test_shutil test_signal test_site test_smtplib test_ssl test_stat test_subprocess
        test_sys test_tarfile test_tempfile test_thread test_threadedtempfile test_threading test_threading_local test_threadsignals test_time
        test_tracemalloc test_unicode_file test_urllib2_localnet test_uuid test_wait3 test_wait4 test_weakref test_zipfile
        """;

    private static readonly string[] CutMessages =
    [
        "testSecondCmsgTrunc1", "testSecondCmsgTrunc2Int", "testSecondCmsgTruncInData", "testSecondCmsgTruncLen0Minus1",
        "testSingleCmsgTrunc1", "testSingleCmsgTrunc2Int", "testSingleCmsgTruncInData", "testSingleCmsgTruncLen0Minus1",
    ];

    /// <summary>Modules that need other arguments or limits, or whose tests partly fail in gVisor.</summary>
    private static readonly Dictionary<string, Special> Specials = new()
    {
        // gVisor has no F_NOTIFY.
        ["test_fcntl"] = new() { Failures = ["test_fcntl_64_bit"] },
        // The local port of a refused connection stays in use.
        ["test_httplib"] = new() { Failures = ["testHTTPConnectionSourceAddress"] },
        ["test_multiprocessing_fork"] = new() { Arguments = ["-m", "WithProcessesTestLock", "-m", "WithProcessesTestSemaphore", "-m", "WithProcessesTestQueue", "-m", "WithProcessesTestValue"] },
        // Scheduling policies and priorities cannot be set, and invalid ones are accepted.
        ["test_posix"] = new() { Failures = ["test_sched_priority", "test_sched_rr_get_interval", "test_setscheduler_only_param"] },
        // An unlink of a missing file in a directory without write permission fails with EACCES.
        ["test_pickle"] = new() { Failures = ["test_unpickle_module_race"] },
        // The module starts 100 threads.
        ["test_queue"] = new() { Limits = new() { Pids = 128 } },
        // A limit above its maximum is reported before a process that does not exist.
        ["test_resource"] = new() { Failures = ["test_prlimit"] },
        // An unlink of a missing file in a directory without write permission fails with EACCES.
        ["test_runpy"] = new()
        {
            Failures =
            [
                "test_run_module", "test_run_module_alter_sys", "test_run_module_in_namespace_package", "test_run_name", "test_run_namespace_package",
                "test_run_namespace_package_in_namespace_package", "test_run_package", "test_run_package_alter_sys", "test_run_package_in_namespace_package",
            ],
        },
        // The servers listen on loopback only. The suite skips tests with the resource "network" by default.
        ["test_socketserver"] = new() { Arguments = ["-u", "network"] },
        // testSourceAddress waits forever, because the local port of a refused connection stays in use. gVisor has no UDP-Lite, which its tests do
        // not detect. Truncated control messages of IPv6 do not set MSG_CTRUNC.
        ["test_socket"] = new() { Arguments = ["-i", "testSourceAddress", "-i", "*UDPLITE*"], Failures = CutMessages },
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Modules_fail_only_in_features_that_gVisor_lacks()
    {
        // Starts with the special modules, which include the longest.
        string[] modules = [.. Specials.Keys, .. Plain.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)];
        Assert.Equal(88, modules.Length);
        BoxerOptions options = programs.Options(options =>
        {
            options.DefaultLimits = new() { WallClock = TimeSpan.FromMinutes(5) };
            // The pool boots no sandboxes while modules run on all processors.
            (options.Pool.Enabled, options.Pool.MaxSandboxes) = (true, modules.Length);
            options.Pool.Images = [new() { Image = ProgramsImage.Name, Count = modules.Length }];
        });
        string[] before = OwnTraces.Sandboxes();
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await runner.StartAsync(Cancel);
        await Until.IsSoAsync(() => OwnTraces.Sandboxes().Except(before, StringComparer.Ordinal).Count() >= modules.Length, seconds: 120);
        var faults = new ConcurrentBag<string>();

        await Parallel.ForEachAsync(modules, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = Cancel }, async (module, cancellationToken) =>
        {
            Special special = Specials.GetValueOrDefault(module) ?? new();
            SandboxResult result = await runner.RunAsync(
                new(ProgramsImage.Name, ["python3", "-m", "test", "-w", .. special.Arguments, module]) { Limits = special.Limits, WorkingDirectory = "/tmp" }, cancellationToken);
            if (!result.IsWarm() || result.StandardOutput.Contains(" test skipped:", StringComparison.Ordinal) || result.ExitCode != (special.Failures.Length > 0 ? 2 : 0) || !special.Failures.SequenceEqual(Failures(result.StandardOutput)))
            {
                faults.Add($"{module}: {result.Termination}, warm: {result.IsWarm()}\n{result.StandardOutput}{result.StandardError}");
            }
        });

        Assert.Empty(faults);
    }

    private static string[] Failures(string output) => [.. FailuresLine().Match(output).Groups[1].Value.Split(", ", StringSplitOptions.RemoveEmptyEntries).Distinct().Order(StringComparer.Ordinal)];

    // The line before the suite runs failed tests again.
    [GeneratedRegex(@"in verbose mode \(matching: ([^)]*)\)")]
    private static partial Regex FailuresLine();

    private sealed record Special
    {
        public string[] Arguments { get; init; } = [];

        public ResourceLimits Limits { get; init; } = new();

        public string[] Failures { get; init; } = [];
    }
}
