using System.IO.Pipelines;
using System.Text;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>MergeStandardError delivers standard output and error in the order in which they were written.</summary>
[Collection(Sandboxes.Name)]
public sealed class MergeOutputTests(SharedRunner shared)
{
    private const string Alternates = "import os\nfor i in range(500): os.write(1 + i % 2, b'%d\\n' % i)";
    private static readonly string Numbers = string.Concat(Enumerable.Range(0, 500).Select(number => $"{number}\n"));

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("65534", true)]
    public async Task MergeStandardError_merges_both_streams_in_their_order(string user, bool pooled)
    {
        SandboxRequest request = Python(Alternates);
        (request.MergeStandardError, request.User) = (true, user);

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal((Numbers, ""), (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task Without_MergeStandardError_the_streams_stay_separate()
    {
        SandboxResult result = await shared.Runner.RunAsync(Python(Alternates), Cancel);

        Assert.Equal((250, 250), (result.StandardOutput.Count(c => c == '\n'), result.StandardError.Count(c => c == '\n')));
    }

    [Fact]
    public async Task A_stream_delivers_output_as_it_is_written()
    {
        // The command waits until its output has arrived.
        var pipe = new Pipe();
        SandboxRequest request = Shell("echo one; echo two >&2; read line; echo three >&2").WithStandardInput(pipe.Reader);
        request.MergeStandardError = true;
        var said = new StringBuilder();
        List<string> states = [];
        await foreach (SandboxEvent item in shared.Runner.StreamAsync(request, Cancel))
        {
            if (item is SandboxDataReceived output)
            {
                Assert.Equal(SandboxStream.StandardOutput, output.Stream);
                states.Add(said.Append(Encoding.UTF8.GetString(output.Data.Span)).ToString());
                if (states[^1] == "one\ntwo\n")
                {
                    await pipe.Writer.CompleteAsync();
                }
            }
        }

        Assert.Contains("one\ntwo\n", states);
        Assert.Equal("one\ntwo\nthree\n", states[^1]);
    }
}
