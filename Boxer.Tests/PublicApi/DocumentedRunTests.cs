using Boxer.PublicApi.Tests.Support;

namespace Boxer.PublicApi.Tests;

/// <summary>Statements of the documentation about runs, in real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class DocumentedRunTests(PythonSandboxes sandboxes)
{
    private const string Modes = "import os; print(*(f'{os.stat(p).st_uid} {os.stat(p).st_mode & 0o777:o} {os.access(p, os.W_OK)}' for p in ('/in/plain', '/in/run', '/workspace/plain', '/workspace/run')), sep=', ')";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("65534", "0 444 False, 0 555 False, 65534 644 True, 65534 755 True")]
    [InlineData("0", "0 444 True, 0 555 True, 0 644 True, 0 755 True")]
    public async Task SandboxFile_is_written_by_user_0_only_and_in_a_workspace_by_its_user(string user, string seen)
    {
        SandboxRequest request = PythonSandboxes.Python(Modes);
        request.User = user;
        request.Files.Add(SandboxFile.FromText("in/plain", ""));
        request.Files.Add(Executable("in/run"));
        request.Workspace = new() { Inputs = { SandboxInput.FromFiles(SandboxFile.FromText("plain", ""), Executable("run")) } };

        Assert.Equal(seen + "\n", (await RunAsync(request)).StandardOutput);

        static SandboxFile Executable(string path)
        {
            SandboxFile file = SandboxFile.FromText(path, "");
            file.Executable = true;
            return file;
        }
    }

    [Fact]
    public async Task SandboxRequest_Environment_wins_over_the_image_and_over_Boxer()
    {
        SandboxRequest request = PythonSandboxes.Shell("echo $HOME $HOSTNAME $LANG");
        request.Environment["HOME"] = "/tmp/own";
        request.Environment["HOSTNAME"] = "own";
        request.Environment["LANG"] = "C";

        Assert.Equal("/tmp/own own C\n", (await RunAsync(request)).StandardOutput);
    }

    [Fact]
    public async Task SandboxResult_ExitCode_of_a_full_disk_is_the_command_s_own()
    {
        SandboxRequest request = PythonSandboxes.Shell("head -c 4M /dev/zero >/tmp/full; exit 3");
        request.Limits.DiskBytes = ByteSize.MiB;
        SandboxResult result = await RunAsync(request);

        Assert.Equal((TerminationKind.DiskLimit, 3, 3, null), (result.Termination.Kind, result.Termination.ExitCode, result.ExitCode, result.Termination.Signal));
    }

    [Fact]
    public async Task SandboxResult_ExitCode_of_a_command_that_did_not_start_is_127_or_126()
    {
        SandboxResult missing = await RunAsync(new SandboxRequest(PythonSandboxes.Image, "/no/such"));
        SandboxResult denied = await RunAsync(new SandboxRequest(PythonSandboxes.Image, "/etc/passwd"));

        Assert.Equal((TerminationKind.NotStarted, 127), (missing.Termination.Kind, missing.ExitCode));
        Assert.Equal((TerminationKind.NotStarted, 126), (denied.Termination.Kind, denied.ExitCode));
    }

    [Fact]
    public async Task ResourceLimits_OutputFilesCount_counts_links_too()
    {
        SandboxRequest request = PythonSandboxes.Shell("cd /output; ln -s x a; ln -s x b; ln -s x c");
        request.Limits.OutputFilesCount = 2;
        SandboxResult result = await RunAsync(request);

        Assert.Empty(result.OutputFiles);
        Assert.Contains("more files and directories than the limit", result.OutputFilesIncomplete, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OutputFilePolicy_ToDirectory_rejects_a_directory_that_exists_or_has_no_parent()
    {
        string there = sandboxes.MakeDirectory();
        foreach (string directory in (string[])[there, Path.Join(there, "no", "parent")])
        {
            SandboxRequest request = PythonSandboxes.Shell("true");
            request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
            InvalidSandboxRequestException refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => RunAsync(request));
            Assert.Equal("OutputFiles", refused.Faults.Single().Field);
        }
    }

    [Fact]
    public async Task InvalidSandboxRequestException_of_an_unreadable_standard_input_comes_after_the_start()
    {
        SandboxRequest request = PythonSandboxes.Shell("cat");
        request.StandardInputStream = new BrokenStream();
        InvalidSandboxRequestException refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => RunAsync(request));

        Assert.Equal(("StandardInputStream", false), (refused.Faults.Single().Field, refused.IsRetrySafe));
    }

    [Fact]
    public async Task SandboxTimings_Sandbox_is_0_where_a_pooled_sandbox_was_taken()
    {
        BoxerOptions options = sandboxes.Options();
        options.Pool = new() { Enabled = true, MaxSandboxes = 1, Images = { new() { Image = PythonSandboxes.Image } } };
        await using SandboxRunner runner = Hosting.SandboxRunnerFactory.Create(options);
        await runner.StartAsync(Cancel);
        SandboxTimings timings;
        int attempt = 0;
        do
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100), Cancel);
            timings = (await runner.RunAsync(PythonSandboxes.Shell("true"), Cancel)).Timings;
        }
        while (timings.Sandbox != TimeSpan.Zero && ++attempt < 100);

        Assert.Equal(TimeSpan.Zero, timings.Sandbox);
        Assert.True(timings.Run > TimeSpan.Zero);
    }

    private Task<SandboxResult> RunAsync(SandboxRequest request) => sandboxes.Runner.RunAsync(request, Cancel);

    private sealed class BrokenStream : MemoryStream
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => throw new IOException("broken");
    }
}
