using System.Diagnostics;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary><c>boxer-init launch</c> (boxer-launch.c), the step between this process and the sandbox's runtime.</summary>
public sealed class InitLaunchTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-init-launch-").FullName;

    public static TheoryData<string, string[]> BadCommandLines() => new()
    {
        { "no program", ["launch"] },
        { "no program", ["launch", "--"] },
        { "--cgroup", ["launch", "--cgroup"] },
        { "--fds", ["launch", "--fds", "2", "--", "true"] },
        { "--fds", ["launch", "--fds", "x", "--", "true"] },
        { "--unknown", ["launch", "--unknown", "x", "--", "true"] },
        { "unknown command", ["unknown"] },
    };

    [Theory]
    [MemberData(nameof(BadCommandLines))]
    public async Task Launch_rejects_a_wrong_command_line(string fault, string[] arguments)
    {
        (int code, _, string stderr) = await RunAsync(arguments);
        Assert.Equal(125, code);
        Assert.StartsWith($"boxer-init: {fault}: usage: ", stderr, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("boxer-init: exec /missing/program: No such file or directory\n", "--", "/missing/program")]
    [InlineData("boxer-init: join cgroup /missing/procs: No such file or directory\n", "--cgroup", "/missing/procs", "--", "true")]
    [InlineData("boxer-init: join network namespace /missing/net: No such file or directory\n", "--netns", "/missing/net", "--", "true")]
    public async Task Launch_names_a_failed_step_in_one_line(string expected, params string[] arguments)
    {
        (int code, _, string stderr) = await RunAsync(["launch", .. arguments]);
        Assert.Equal((125, expected), (code, stderr));
    }

    [Fact]
    public async Task Launch_passes_arguments_to_the_program_and_its_exit_code_back()
    {
        (int code, string stdout, _) = await RunAsync(["launch", "--", "sh", "-c", "echo \"$1\"; exit 7", "sh", "a b"]);
        Assert.Equal((7, "a b\n"), (code, stdout));
    }

    [Fact]
    public async Task Launch_joins_each_cgroup()
    {
        string[] procs = [Path.Combine(_directory, "one"), Path.Combine(_directory, "two")];
        foreach (string file in procs)
        {
            await File.WriteAllTextAsync(file, "", TestContext.Current.CancellationToken);
        }

        (int code, _, _) = await RunAsync(["launch", "--cgroup", procs[0], "--cgroup", procs[1], "--", "true"]);
        Assert.Equal(0, code);
        Assert.All(procs, file => Assert.Equal("0\n", File.ReadAllText(file)));
    }

    [Fact]
    public async Task Launch_resets_signals_but_ignores_SIGPIPE()
    {
        // Nobody reads the messages of the runtime after its boot.
        (_, string stdout, _) = await RunAsync(["launch", "--", "sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status"]);
        Assert.Equal("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n", stdout);
    }

    [Fact]
    public async Task Launch_closes_descriptors_from_n_on()
    {
        string program = InitBinary.Find();
        (int code, string stdout, _) = await RunProcessAsync("sh", ["-c", "exec 3</dev/null 4</dev/null 9</dev/null; exec \"$0\" launch --fds 4 -- sh -c 'for i in 3 4 9; do [ -e /proc/$$/fd/$i ] && echo $i; done; exit 0'", program]);
        Assert.Equal((0, "3\n"), (code, stdout));
    }

    [Fact]
    public async Task Launch_hides_sysctls_only_from_the_program()
    {
        if (Environment.UserName != "root")
        {
            Assert.Skip("Not root.");
        }

        (int code, string stdout, string stderr) = await RunAsync(["launch", "--hide-net-core-sysctls", "--", "ls", "/proc/sys/net/core"]);
        Assert.Equal((0, "", ""), (code, stdout, stderr));
        Assert.NotEmpty(Directory.GetFiles("/proc/sys/net/core"));
    }

    [Fact]
    public async Task Launch_hides_attributes_from_the_program_and_its_children_for_calls_with_a_descriptor()
    {
        string file = Path.Join(_directory, "file");
        await File.WriteAllTextAsync(file, "", TestContext.Current.CancellationToken);
        await HostProgram.RunAsync("/usr/bin/python3", "-c", "import os, sys; os.setxattr(sys.argv[1], 'user.any', b'value')", file);
        const string Program = """
            import errno, os, subprocess, sys
            def read(file):
                try: return os.getxattr(file, "user.any").decode()
                except OSError as fault: return errno.errorcode[fault.errno]
            link = os.open(sys.argv[1] + "-link", os.O_PATH | os.O_NOFOLLOW)
            print(read(os.open(sys.argv[1], os.O_RDONLY)), read(link), read(sys.argv[1]), flush=True)
            if len(sys.argv) == 2: subprocess.run([sys.executable, "-c", sys.orig_argv[2], sys.argv[1], "child"])
            """;
        File.CreateSymbolicLink(file + "-link", "target");

        (int code, string stdout, string stderr) = await RunAsync(["launch", "--hide-attributes", "--", "/usr/bin/python3", "-c", Program, file]);
        (_, string shown, _) = await RunAsync(["launch", "--", "/usr/bin/python3", "-c", Program, file, "alone"]);

        Assert.Equal((0, "ENODATA ENODATA value\nENODATA ENODATA value\n", ""), (code, stdout, stderr));
        Assert.Equal("value EBADF value\n", shown);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static Task<(int Code, string Stdout, string Stderr)> RunAsync(string[] arguments) => RunProcessAsync(InitBinary.Find(), arguments);

    private static async Task<(int Code, string Stdout, string Stderr)> RunProcessAsync(string program, string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        })!;
        Task<string> stdout = process.StandardOutput.ReadToEndAsync();
        Task<string> stderr = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, await stdout, await stderr);
    }
}
