using Boxer.Networking;
using Boxer.Processes;
using Boxer.Runtime;

namespace Boxer.Tests.Core.Runtime;

/// <summary>The probe, with programs that stand in for runsc.</summary>
public sealed class RunscCommandLineTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-runsc-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("runsc version release-20240729.0", "release-20240729.0")]
    [InlineData("runsc version 0.0~20240729.0", "0.0~20240729.0")]
    [InlineData("runsc version release-20230801.0", "release-20230801.0")]
    [InlineData("runsc version VERSION_MISSING", "VERSION_MISSING")]
    public async Task ProbeAsync_accepts_a_release_that_is_new_enough(string line, string version)
    {
        RunscCommandLine runsc = await ProbeAsync($"echo '{line}'; echo 'spec: 1.1.0-rc.1'");

        Assert.Equal((version, Path.Join(_directory, "runsc")), (runsc.Version, runsc.Path));
    }

    // One version of each kind. Newer releases were never run against a network here.
    [Theory]
    [InlineData("runsc version 0.0~20240729.0", "6.18", true)]
    [InlineData("runsc version 0.0~20240729.0", "6.11", true)]
    [InlineData("runsc version 0.0~20240729.0", "6.1", false)]
    [InlineData("runsc version release-20241007.0", "6.18", false)]
    [InlineData("runsc version release-20260105.0", "6.1", false)]
    [InlineData("runsc version VERSION_MISSING", "6.18", true)]
    public async Task Sysctls_are_hidden_from_a_release_that_takes_them_for_the_hosts(string line, string kernel, bool hidden)
    {
        RunscCommandLine runsc = await ProbeAsync($"echo '{line}'", new Version(kernel));

        Assert.Equal(hidden, runsc.HidesCoreSysctls);
    }

    [Theory]
    [InlineData("runsc version 0.0~20240729.0", true)]
    [InlineData("runsc version release-20250428.0", true)]
    [InlineData("runsc version release-20250505.0", false)]
    [InlineData("runsc version VERSION_MISSING", true)]
    public async Task Attributes_are_hidden_from_a_release_that_reads_them_wrong(string line, bool hidden)
    {
        RunscCommandLine runsc = await ProbeAsync($"echo '{line}'");

        Assert.Equal(hidden, runsc.HidesAttributes);
    }

    [Theory]
    [InlineData("runsc version release-20220110.0", "is release-20220110.0: a release of 20230801 or newer is needed.")]
    [InlineData("runsc version 0.0~20221219.0", "is 0.0~20221219.0: a release of 20230801 or newer is needed.")]
    [InlineData("runc version 1.1.12", "printed no version: is it gVisor's runsc?")]
    [InlineData("", "printed no version: is it gVisor's runsc?")]
    public async Task ProbeAsync_rejects_another_program_or_an_old_release(string line, string message)
    {
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync($"echo '{line}'"));

        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ProbeAsync_quotes_a_program_that_fails()
    {
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(
            () => ProbeAsync("echo 'runsc version release-20240729.0'; echo 'wrong libc' >&2; exit 3"));

        Assert.Contains("exited with 3", fault.Message, StringComparison.Ordinal);
        Assert.Contains("wrong libc", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ProbeAsync_bounds_the_output_of_a_program()
    {
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync("head -c 100000000 /dev/zero; exit 1"));

        Assert.Contains("exited with 1", fault.Message, StringComparison.Ordinal);
        Assert.InRange(fault.Message.Length, 1, 1_000);
    }

    [Fact]
    public async Task A_version_without_end_and_errors_without_end_do_not_reach_a_message()
    {
        SandboxRuntimeException version = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync("printf 'runsc version '; head -c 1000000 /dev/zero | tr '\\0' 9"));
        SandboxRuntimeException errors = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"));

        Assert.InRange(version.Message.Length, 1, 1_000);
        Assert.InRange(errors.Message.Length, 4_096, 5_000);
    }

    [Fact]
    public async Task ProbeAsync_kills_a_program_that_hangs_when_the_caller_cancels()
    {
        string pidFile = Path.Join(_directory, "pid");
        using var impatient = new CancellationTokenSource();
        Task<RunscCommandLine> probe = ProbeAsync($"echo $$ >{pidFile}.new; mv {pidFile}.new {pidFile}; exec sleep 1000", cancellationToken: impatient.Token);
        while (!File.Exists(pidFile))
        {
            Assert.False(probe.IsCompleted);
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        await impatient.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => probe);
        Assert.False(Directory.Exists("/proc/" + (await File.ReadAllTextAsync(pidFile, TestContext.Current.CancellationToken)).Trim()));
    }

    [Fact]
    public async Task ProbeAsync_names_a_program_that_is_missing_or_cannot_be_started()
    {
        using var poller = new DescriptorPoller();
        string text = Path.Join(_directory, "text");
        await File.WriteAllTextAsync(text, "no program", TestContext.Current.CancellationToken);

        SandboxRuntimeException missing = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync(poller, "/nowhere/runsc"));
        SandboxRuntimeException unknown = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync(poller, "no-such-runsc"));
        SandboxRuntimeException noProgram = await Assert.ThrowsAsync<SandboxRuntimeException>(() => ProbeAsync(poller, text));

        Assert.Contains("'/nowhere/runsc' was not found: install runsc, or name its path in RunscPath", missing.Message, StringComparison.Ordinal);
        Assert.Contains("'no-such-runsc' was not found", unknown.Message, StringComparison.Ordinal);
        Assert.Contains($"Cannot start {text}", noProgram.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task RunArguments_have_no_logs_and_rootless_only_without_root(bool rootless)
    {
        await WriteAsync("echo 'runsc version release-20240729.0'");
        using var poller = new DescriptorPoller();
        RunscCommandLine runsc = await RunscCommandLine.ProbeAsync(poller, Path.Join(_directory, "runsc"), "ptrace", rootless, TimeProvider.System, TestContext.Current.CancellationToken);

        IReadOnlyList<string> arguments = runsc.RunArguments("/run/x", "id", new NetworkConfiguration(NetworkStack.None), passed: 0);

        Assert.Equal(rootless, arguments.Contains("--rootless"));
        Assert.Contains("--network=none", arguments);
        Assert.Contains("--platform=ptrace", arguments);
        Assert.DoesNotContain(arguments, argument => argument.StartsWith("--debug", StringComparison.Ordinal) || argument.Contains("log", StringComparison.Ordinal));
    }

    private async Task<RunscCommandLine> ProbeAsync(string script, Version? kernel = null, CancellationToken? cancellationToken = null)
    {
        await WriteAsync(script);
        using var poller = new DescriptorPoller();
        return await RunscCommandLine.ProbeAsync(poller, Path.Join(_directory, "runsc"), "systrap", rootless: false, TimeProvider.System, cancellationToken ?? TestContext.Current.CancellationToken, kernel);
    }

    private static Task<RunscCommandLine> ProbeAsync(DescriptorPoller poller, string path) =>
        RunscCommandLine.ProbeAsync(poller, path, "systrap", rootless: false, TimeProvider.System, TestContext.Current.CancellationToken);

    private async Task WriteAsync(string script)
    {
        string path = Path.Join(_directory, "runsc");
        await File.WriteAllTextAsync(path, "#!/bin/sh\n" + script + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}
