using System.IO.Pipelines;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Runs with a terminal, as a program sees it.</summary>
[Collection(Sandboxes.Name)]
public sealed class TerminalTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null)]
    [InlineData("0")]
    public async Task Terminal_is_the_controlling_terminal_of_the_command(string? user)
    {
        SandboxRequest request = Shell("test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && echo err >&2 && echo named >$(tty); exit 3");
        request.User = user;
        request.Terminal = new SandboxTerminal(120, 40);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("40 120\r\nxterm\r\nerr\r\nnamed\r\n", result.StandardOutput);
        Assert.Equal(("", 3), (result.StandardError, result.ExitCode));
    }

    [Fact]
    public async Task Terminal_types_the_input_and_its_end()
    {
        SandboxRequest request = Shell("stty -echo; cat; echo over");
        request.Terminal = new SandboxTerminal(80, 24);
        request.WithStandardInput("one\ntwo\n");

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.EndsWith("one\r\ntwo\r\nover\r\n", result.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Terminal_turns_the_interrupt_character_into_a_signal()
    {
        var typed = new Pipe();
        SandboxRequest request = Shell("trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.1; done").WithStandardInput(typed.Reader);
        request.Terminal = new SandboxTerminal(80, 24);
        SandboxResult? result = null;
        await foreach (SandboxEvent item in shared.Runner.StreamAsync(request, Cancel))
        {
            if (item is SandboxDataReceived)
            {
                await typed.Writer.WriteAsync(new byte[] { 3 }, Cancel);
            }

            result = (item as SandboxEnded)?.Result;
        }

        Assert.Equal(7, result!.ExitCode);
        Assert.Contains("interrupted", result.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Terminal_shows_all_of_a_long_output_also_of_background_processes()
    {
        SandboxRequest request = Shell("seq 1 20000; (echo behind; sleep 1000) & sleep 0.3");
        request.Terminal = new SandboxTerminal(80, 24);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.Exited, result.Termination.Kind);
        Assert.Equal(20_001, result.StandardOutput.Count(character => character == '\n'));
        Assert.EndsWith("20000\r\nbehind\r\n", result.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Terminal_of_no_size_is_a_fault_of_the_request()
    {
        SandboxRequest request = Shell("true");
        request.Terminal = new SandboxTerminal(0, 70_000);

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Equal(["Terminal.Columns", "Terminal.Rows"], fault.Faults.Select(item => item.Field));
    }
}
