using System.Text;

namespace Boxer.PublicApi.Tests;

/// <summary>Results and terminations that an application's test creates.</summary>
public sealed class ResultTests
{
    [Fact]
    public void A_result_with_only_a_termination_has_sensible_properties()
    {
        SandboxResult result = new(Termination.Exited(0));

        Assert.True(result.IsSuccess);
        Assert.StartsWith("boxer-", result.Id, StringComparison.Ordinal);
        Assert.Equal(("", "", ""), (result.StandardOutput, result.StandardError, result.ImageDigest));
        Assert.Empty(result.OutputFiles);
        Assert.Empty(result.UnenforcedLimits);
        Assert.Null(result.Usage.Cpu);
        Assert.Equal(TimeSpan.Zero, result.Timings.Total);
        Assert.NotEqual(result.Id, new SandboxResult(Termination.Exited(0)).Id);
    }

    [Fact]
    public void Text_and_bytes_agree()
    {
        Assert.Equal("größer"u8, new SandboxResult(Termination.Exited(0)) { StandardOutput = "größer" }.StandardOutputBytes.Span);
        Assert.Equal("größer", new SandboxResult(Termination.Exited(0)) { StandardErrorBytes = "größer"u8.ToArray() }.StandardError);
        Assert.Equal("a\uFFFD", new SandboxResult(Termination.Exited(0)) { StandardOutputBytes = new byte[] { 0x61, 0xFF } }.StandardOutput);
        Assert.Equal("\uFFFD", new SandboxResult(Termination.Exited(0)) { StandardOutput = "\uD800" }.StandardOutput);
    }

    [Fact]
    public void Text_is_decoded_once()
    {
        SandboxResult result = new(Termination.Exited(0)) { StandardOutputBytes = "text"u8.ToArray(), StandardErrorBytes = "error"u8.ToArray() };

        Assert.Same(result.StandardOutput, result.StandardOutput);
        Assert.Same(result.StandardError, result.StandardError);
        Assert.Same(result.StandardOutput, new SandboxResult(result) { StandardError = "" }.StandardOutput);
    }

    [Fact]
    public void A_copy_keeps_all_properties_except_those_that_are_set()
    {
        SandboxResult result = new(Termination.Signaled(9))
        {
            StandardOutput = "out",
            StandardError = "secret",
            OutputFiles = [new SandboxOutputFile { Path = "a", Content = new byte[3] }],
            OutputFilesIncomplete = "i",
            OutputFilesDropped = 2,
            WorkspaceChanges = new byte[4],
            WorkspaceIncomplete = "w",
            ImageDigest = "sha256:1",
            NetworkIncomplete = "n",
            Usage = new SandboxUsage { PeakMemoryBytes = 5 },
            Timings = new SandboxTimings { Run = TimeSpan.FromSeconds(6) },
            UnenforcedLimits = ["Pids"],
        };

        SandboxResult copy = new(result) { StandardError = "" };

        Assert.Equal("", copy.StandardError);
        Assert.All(
            typeof(SandboxResult).GetProperties().Where(property => !property.Name.StartsWith("StandardError", StringComparison.Ordinal)),
            property => Assert.Equal(property.GetValue(result), property.GetValue(copy)));
    }

    [Fact]
    public void The_exit_code_of_each_termination_is_that_of_a_shell()
    {
        Assert.Equal(3, Code(Termination.Exited(3)));
        Assert.Equal(139, Code(Termination.Signaled(11)));
        Assert.Equal(137, Code(Termination.Limit(TerminationKind.MemoryLimit)));
        Assert.Equal(1, Code(Termination.Limit(TerminationKind.DiskLimit)));
        Assert.Equal(5, Code(Termination.Limit(TerminationKind.DiskLimit, exitCode: 5)));
        Assert.Equal(135, Code(Termination.Limit(TerminationKind.DiskLimit, signal: 7)));
        Assert.Equal(127, Code(Termination.NotStarted(2)));
        Assert.Equal(126, Code(Termination.NotStarted(13)));
        Assert.Equal(137, Code(Termination.SandboxDied()));

        static int Code(Termination end) => new SandboxResult(end).ExitCode;
    }

    [Fact]
    public void Every_kind_of_termination_can_be_created_and_describes_itself()
    {
        Termination[] ends =
        [
            Termination.Exited(0), Termination.Signaled(15), Termination.NotStarted(2), Termination.SandboxDied(),
            .. Enum.GetValues<TerminationKind>().Where(kind => kind.ToString().EndsWith("Limit", StringComparison.Ordinal)).Select(kind => Termination.Limit(kind)),
        ];

        Assert.Equal(Enum.GetValues<TerminationKind>().Order(), ends.Select(end => end.Kind).Order());
        Assert.All(ends, end => Assert.Equal(end.Message, end.ToString()));
        Assert.All(ends, end => Assert.NotEmpty(end.Message));
        Assert.Equal(Termination.Exited(3), Termination.Exited(3));
        Assert.Equal("no luck", Termination.Limit(TerminationKind.PidsLimit, "no luck").Message);
    }

    [Fact]
    public void Impossible_terminations_are_rejected()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Termination.Exited(256));
        Assert.Throws<ArgumentOutOfRangeException>(() => Termination.Exited(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => Termination.Signaled(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Termination.Signaled(65));
        Assert.Throws<ArgumentOutOfRangeException>(() => Termination.NotStarted(0));
        Assert.Throws<ArgumentException>(() => Termination.Limit(TerminationKind.Exited));
        Assert.Throws<ArgumentException>(() => Termination.Limit(TerminationKind.MemoryLimit, exitCode: 1));
        Assert.Throws<ArgumentException>(() => Termination.Limit(TerminationKind.DiskLimit, exitCode: 1, signal: 1));
    }

    [Fact]
    public void EnsureSuccess_returns_a_result_that_succeeded()
    {
        SandboxResult result = new(Termination.Exited(0));

        Assert.Same(result, result.EnsureSuccess());
    }

    [Fact]
    public void EnsureSuccess_throws_with_the_result_the_termination_and_the_end_of_standard_error()
    {
        SandboxResult result = new(Termination.Exited(3)) { StandardError = $"{new string('é', 5_000)}\nTraceback:\n\tboom\u001b[31m\n" };

        CommandFailedException failure = Assert.Throws<CommandFailedException>(() => result.EnsureSuccess());

        Assert.Same(result, failure.Result);
        Assert.Contains(result.Id, failure.Message, StringComparison.Ordinal);
        Assert.Contains("exited with code 3", failure.Message, StringComparison.Ordinal);
        Assert.EndsWith("\nTraceback:\n\tboom\uFFFD[31m", failure.Message, StringComparison.Ordinal);
        Assert.InRange(failure.Message.Length, 1_000, 1_300);
        Assert.DoesNotContain('\u001b', failure.Message);
    }

    [Fact]
    public void EnsureSuccess_shows_standard_output_where_standard_error_is_empty()
    {
        Assert.EndsWith("standard output ends with:\nwhy", Message(new SandboxResult(Termination.Signaled(6)) { StandardOutput = "why\n" }), StringComparison.Ordinal);
        Assert.EndsWith("printed nothing that was kept.", Message(new SandboxResult(Termination.Limit(TerminationKind.MemoryLimit))), StringComparison.Ordinal);

        static string Message(SandboxResult result) => Assert.Throws<CommandFailedException>(() => result.EnsureSuccess()).Message;
    }

    [Fact]
    public void ToString_has_sizes_and_no_contents()
    {
        byte[] secret = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("secret", 1_000)));
        SandboxResult result = new(Termination.Exited(0))
        {
            Id = "boxer-1",
            StandardOutputBytes = secret,
            OutputFiles = [new SandboxOutputFile { Path = "dir/a\nb", Content = secret }],
            Timings = new SandboxTimings { Run = TimeSpan.FromMilliseconds(12.5) },
        };

        Assert.Equal("boxer-1: exited with code 0 after 12.5 ms, 6000 bytes of standard output, 0 bytes of standard error, 1 output files", result.ToString());
        Assert.Equal("dir/a\uFFFDb (6000 bytes)", result.OutputFiles[0].ToString());
        Assert.Equal("StandardOutput: 6000 bytes", new SandboxDataReceived(SandboxStream.StandardOutput, secret).ToString());
        Assert.Equal("StandardError: 6 characters", new SandboxTextReceived(SandboxStream.StandardError, "secret").ToString());
        Assert.Equal("started: boxer-1", new SandboxStarted("boxer-1").ToString());
        Assert.Equal($"ended: {result}", new SandboxEnded(result).ToString());
        Assert.Equal("? ms of processor time, 7 bytes of memory", new SandboxUsage { PeakMemoryBytes = 7 }.ToString());
        Assert.StartsWith("queue 0, image 0, network 0, sandbox 0, run 12.5,", result.Timings.ToString(), StringComparison.Ordinal);
        Assert.InRange(Termination.SandboxDied(new string('x', 10_000)).ToString().Length, 1, 200);
    }
}
