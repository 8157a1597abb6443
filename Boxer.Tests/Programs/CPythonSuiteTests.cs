using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Modules of CPython's own test suite that look at what a sandbox is made of, in sandboxes of the pool and with the default limits where they fit.</summary>
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

    /// <summary>The modules that need other arguments or limits, or of which some tests fail in gVisor.</summary>
    private static readonly Dictionary<string, Special> Specials = new()
    {
        // There is no F_NOTIFY.
        ["test_fcntl"] = new() { Failures = ["test_fcntl_64_bit"] },
        // The port that a connection was refused from stays taken.
        ["test_httplib"] = new() { Failures = ["testHTTPConnectionSourceAddress"] },
        ["test_multiprocessing_fork"] = new() { Arguments = ["-m", "WithProcessesTestLock", "-m", "WithProcessesTestSemaphore", "-m", "WithProcessesTestQueue", "-m", "WithProcessesTestValue"] },
        // The policies and priorities of schedulers are not there to be set, and those that do not exist are taken.
        ["test_posix"] = new() { Failures = ["test_sched_priority", "test_sched_rr_get_interval", "test_setscheduler_only_param"] },
        // An unlink of a file that is missing, where the user cannot write, is denied.
        ["test_pickle"] = new() { Failures = ["test_unpickle_module_race"] },
        // It starts 100 threads.
        ["test_queue"] = new() { Limits = new() { Pids = 128 } },
        // A limit above its maximum is found before the process that does not exist.
        ["test_resource"] = new() { Failures = ["test_prlimit"] },
        // An unlink of a file that is missing, where the user cannot write, is denied.
        ["test_runpy"] = new()
        {
            Failures =
            [
                "test_run_module", "test_run_module_alter_sys", "test_run_module_in_namespace_package", "test_run_name", "test_run_namespace_package",
                "test_run_namespace_package_in_namespace_package", "test_run_package", "test_run_package_alter_sys", "test_run_package_in_namespace_package",
            ],
        },
        // Its servers are on the loopback; the name is of a resource that the suite leaves out by itself.
        ["test_socketserver"] = new() { Arguments = ["-u", "network"] },
        // testSourceAddress waits for ever, because a port that a connection was refused from stays taken. There is no UDP-Lite, and its tests do
        // not see that. Control messages of IPv6 that are cut have no MSG_CTRUNC.
        ["test_socket"] = new() { Arguments = ["-i", "testSourceAddress", "-i", "*UDPLITE*"], Failures = CutMessages },
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Modules_fail_in_what_gVisor_lacks_and_nowhere_else()
    {
        // The longest are among the special ones.
        string[] modules = [.. Specials.Keys, .. Plain.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)];
        Assert.Equal(88, modules.Length);
        BoxerOptions options = programs.Options(options =>
        {
            options.DefaultLimits = new() { WallClock = TimeSpan.FromMinutes(5) };
            // The pool boots nothing while modules run on all processors.
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

    // The line with which the suite runs those again that failed.
    [GeneratedRegex(@"in verbose mode \(matching: ([^)]*)\)")]
    private static partial Regex FailuresLine();

    private sealed record Special
    {
        public string[] Arguments { get; init; } = [];

        public ResourceLimits Limits { get; init; } = new();

        public string[] Failures { get; init; } = [];
    }
}
