using System.IO.Pipelines;
using System.Text;
using Boxer.Networking;

namespace Boxer.PublicApi.Tests;

/// <summary>Requests, events, ends and exceptions of sessions, as fakes and other implementations make them.</summary>
public sealed class SessionTypesTests
{
    [Fact]
    public void A_copy_of_a_session_request_has_all_properties_and_does_not_change_with_the_original()
    {
        SandboxSessionRequest request = WholeRequest();
        SandboxSessionRequest copy = new(request);

        Assert.All(
            typeof(SandboxSessionRequest).GetProperties().Where(property => property.Name is not ("Limits" or "Egress" or "Workspace")),
            property => Assert.Equal(property.GetValue(request), property.GetValue(copy)));
        Assert.All(
            typeof(SandboxSessionRequest).GetProperties(),
            property => Assert.NotEqual(property.GetValue(new SandboxSessionRequest("other")), property.GetValue(copy)));
        Assert.Equal((request.Limits, request.Workspace!.Path), (copy.Limits, copy.Workspace!.Path));
        Assert.Equal(request.Egress!.Allow, copy.Egress!.Allow);

        request.Environment["B"] = "c";
        request.Labels["m"] = "n";
        request.Files.Clear();
        request.Limits.Pids = 1;
        request.Workspace.Path = "/other";
        Assert.Equal((1, 1, 1, 7, "/w"), (copy.Environment.Count, copy.Labels.Count, copy.Files.Count, copy.Limits.Pids, copy.Workspace.Path));
        Assert.Equal("mirror/python:3", new SandboxSessionRequest(request) { Image = "mirror/python:3" }.Image);
    }

    [Fact]
    public void A_copy_of_a_command_has_all_properties_and_does_not_change_with_the_original()
    {
        SandboxCommand command = WholeCommand();
        SandboxCommand copy = new(command);

        Assert.All(
            typeof(SandboxCommand).GetProperties().Where(property => property.Name != "Limits"),
            property => Assert.Equal(property.GetValue(command), property.GetValue(copy)));
        Assert.All(typeof(SandboxCommand).GetProperties(), property => Assert.NotEqual(property.GetValue(new SandboxCommand("other")), property.GetValue(copy)));
        Assert.Equal(command.Limits, copy.Limits);

        command.Command.Add("more");
        command.Environment["B"] = "c";
        command.Limits.Pids = 1;
        Assert.Equal((2, 1, 7), (copy.Command.Count, copy.Environment.Count, copy.Limits.Pids));
    }

    [Fact]
    public void ToString_has_names_and_no_values_or_contents()
    {
        Assert.Equal("session of python:3 (network sandbox, 1 variables, 1 files, 1 labels, workspace /w with 0 inputs)", WholeRequest().ToString());
        Assert.Equal("python3 main.py (1 variables, terminal 80x24)", WholeCommand().ToString());
        Assert.Equal("true (0 variables)", new SandboxCommand("true").ToString());
        Assert.Equal("a\uFFFDb (File, 3 bytes)", new SandboxFileInfo { Path = "a\u001bb", Size = 3 }.ToString());
        Assert.Equal("1 entries, incomplete", new SandboxFileList([new SandboxFileInfo { Path = "a" }]) { IsIncomplete = true }.ToString());
        Assert.Equal("Changed: a\uFFFDb", new SandboxFileChange(SandboxFileChangeKind.Changed, "a\nb").ToString());
        Assert.Equal("StandardError from 7: 6 bytes", new SandboxProcessOutput(7, SandboxStream.StandardError, "secret").ToString());
        Assert.Equal("ended: exited with code 0", new SandboxProcessEnded(new SandboxProcessEnd(Termination.Exited(0))).ToString());
        Assert.Equal("killed by signal 9, 2 processes left behind", new SandboxProcessEnd(Termination.Signaled(9)) { LeftBehind = 2 }.ToString());
    }

    [Fact]
    public void Defaults_suit_a_session_of_some_minutes()
    {
        SandboxSessionRequest request = new("a");
        SandboxCommand command = new("b", "c");

        Assert.Equal(("none", TimeSpan.FromSeconds(1), false, null, null), (request.Network, request.FreezeAfter, request.KeepAliveWhileRunning, request.IdleTimeout, request.Lifetime));
        Assert.Equal((TimeSpan.FromMinutes(5), TimeSpan.FromHours(1)), (new BoxerOptions().Sessions.IdleTimeout, new BoxerOptions().Sessions.Lifetime));
        Assert.Equal(["b", "c"], command.Command);
        Assert.True(command.KeepStandardOutput);
        Assert.Null(command.Terminal);
    }

    [Fact]
    public async Task Standard_input_of_a_command_can_be_text_or_a_pipe()
    {
        Assert.Equal("hello", Encoding.UTF8.GetString(new SandboxCommand("cat").WithStandardInput("hello").StandardInput.Span));

        Pipe pipe = new();
        SandboxCommand command = new SandboxCommand("cat").WithStandardInput(pipe.Reader);
        await pipe.Writer.WriteAsync("hello"u8.ToArray(), TestContext.Current.CancellationToken);
        await pipe.Writer.CompleteAsync();

        Assert.Equal("hello", await new StreamReader(command.StandardInputStream!).ReadToEndAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public void An_output_event_has_the_place_to_attach_at_again()
    {
        SandboxProcessOutput output = new(10, SandboxStream.StandardOutput, "äb");

        Assert.Equal((10, 13, "äb"), (output.Offset, output.EndOffset, Encoding.UTF8.GetString(output.Data.Span)));
        Assert.Throws<ArgumentOutOfRangeException>(() => new SandboxProcessOutput(-1, SandboxStream.StandardOutput, ""));
    }

    [Theory]
    [InlineData(SandboxSessionEnd.Closed, "The session ended: it was closed.")]
    [InlineData(SandboxSessionEnd.IdleTimeout, "The session ended: it reached its idle timeout.")]
    [InlineData(SandboxSessionEnd.Lifetime, "The session ended: it reached its lifetime.")]
    [InlineData(SandboxSessionEnd.MemoryLimit, "The session ended: it reached its memory limit.")]
    [InlineData(SandboxSessionEnd.SandboxDied, "The session ended: its sandbox died.")]
    [InlineData(SandboxSessionEnd.HostStopped, "The session ended: its host stopped.")]
    public void The_exception_of_an_ended_session_says_why_and_hides_the_identifier_from_clients(SandboxSessionEnd end, string message)
    {
        SandboxSessionEndedException exception = new("secret1", end);

        Assert.Equal((message, end, "secret1"), (exception.PublicMessage, exception.End, exception.SessionId));
        Assert.Contains("secret1", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(SandboxFileError.NotFound, "a\nb", "a\uFFFDb: It does not exist.")]
    [InlineData(SandboxFileError.NoSpace, "d", "d: The disk limit of the session is reached.")]
    [InlineData(SandboxFileError.Other, "d", "d: The operation failed in the sandbox.")]
    public void The_exception_of_a_file_has_the_path_and_the_reason(SandboxFileError reason, string path, string message)
    {
        SandboxFileException exception = new(path, reason);

        Assert.Equal((message, path, reason), (exception.PublicMessage, exception.Path, exception.Reason));
        Assert.Equal("d: Own.", new SandboxFileException("d", reason, "Own.").Message);
    }

    [Fact]
    public void A_result_can_say_what_was_left_behind() =>
        Assert.Equal(3, new SandboxResult(new SandboxResult(Termination.Exited(0)) { LeftBehind = 3 }).LeftBehind);

    private static SandboxSessionRequest WholeRequest() => new("python:3")
    {
        PullPolicy = Images.PullPolicy.Never,
        Environment = { ["TOKEN"] = "secret" },
        WorkingDirectory = "/d",
        User = "1",
        Network = "sandbox",
        Egress = new EgressPolicy { Allow = ["pypi.org"] },
        FairnessKey = "k",
        Limits = new ResourceLimits { Pids = 7 },
        Files = [SandboxFile.FromText("f", "secret")],
        Workspace = new SandboxWorkspace { Path = "/w" },
        Labels = { ["l"] = "secret" },
        IdleTimeout = TimeSpan.FromSeconds(2),
        Lifetime = TimeSpan.FromSeconds(3),
        FreezeAfter = null,
        KeepAliveWhileRunning = true,
    };

    private static SandboxCommand WholeCommand() => new("python3", "main.py")
    {
        Environment = { ["TOKEN"] = "secret" },
        WorkingDirectory = "d",
        User = "1",
        Limits = new ResourceLimits { Pids = 7 },
        StandardInput = "secret"u8.ToArray(),
        StandardInputStream = Stream.Null,
        MergeStandardError = true,
        KeepStandardOutput = false,
        StopGrace = TimeSpan.FromSeconds(1),
        Terminal = new SandboxTerminal(80, 24),
    };
}
