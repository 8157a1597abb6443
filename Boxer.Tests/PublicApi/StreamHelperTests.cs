using System.Runtime.CompilerServices;
using System.Text;

namespace Boxer.PublicApi.Tests;

/// <summary>Stream helpers read the events of a custom runner.</summary>
public sealed class StreamHelperTests
{
    private static readonly byte[] Text = Encoding.UTF8.GetBytes("aé€😀z");
    private readonly SandboxResult _result = new(Termination.Exited(0));

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CopyToAsync_writes_each_stream_to_its_target_and_returns_the_result()
    {
        using MemoryStream stdout = new();
        using MemoryStream stderr = new();

        SandboxResult result = await Events(
            new SandboxStarted("boxer-1"),
            Data(SandboxStream.StandardOutput, [1, 2]),
            Data(SandboxStream.StandardError, [3]),
            new SandboxTextReceived(SandboxStream.StandardOutput, "é"),
            new SandboxEnded(_result)).CopyToAsync(stdout, stderr, Cancel);

        Assert.Same(_result, result);
        Assert.Equal([1, 2, 0xC3, 0xA9], stdout.ToArray());
        Assert.Equal([3], stderr.ToArray());
    }

    [Fact]
    public async Task CopyToAsync_decodes_characters_that_are_cut_between_events()
    {
        StringWriter stdout = new();
        StringWriter stderr = new();

        SandboxResult result = await Events(
            [.. Text.SelectMany(one => new[] { Data(SandboxStream.StandardOutput, [one]), Data(SandboxStream.StandardError, [one]) }), new SandboxEnded(_result)])
            .CopyToAsync(stdout, stderr, Cancel);

        Assert.Same(_result, result);
        Assert.Equal(("aé€😀z", "aé€😀z"), (stdout.ToString(), stderr.ToString()));
    }

    [Fact]
    public async Task DecodeText_returns_each_character_once_it_is_complete()
    {
        List<SandboxEvent> events = await ReadAsync(Events([.. Text.Select(one => Data(SandboxStream.StandardOutput, [one])), new SandboxEnded(_result)]).DecodeText(Cancel));

        Assert.Equal(["a", "é", "€", "😀", "z"], events.OfType<SandboxTextReceived>().Select(text => text.Text));
        Assert.Same(_result, Assert.IsType<SandboxEnded>(events[^1]).Result);
    }

    [Fact]
    public async Task DecodeText_replaces_invalid_bytes()
    {
        List<SandboxEvent> events = await ReadAsync(Events(
            Data(SandboxStream.StandardOutput, [0x61, 0xFF]),
            Data(SandboxStream.StandardError, [0xE2, 0x82]),
            new SandboxEnded(_result)).DecodeText(Cancel));

        Assert.Equal(["StandardOutput a\uFFFD", "StandardError \uFFFD"], events.OfType<SandboxTextReceived>().Select(text => $"{text.Stream} {text.Text}"));
    }

    [Fact]
    public async Task DecodeText_returns_the_rest_before_a_failure()
    {
        SandboxRuntimeException failure = new("broke");
        List<SandboxEvent> events = [];

        SandboxRuntimeException thrown = await Assert.ThrowsAsync<SandboxRuntimeException>(async () =>
        {
            await foreach (SandboxEvent item in Failing(failure, Data(SandboxStream.StandardOutput, [0xE2]), Cancel).DecodeText(Cancel))
            {
                events.Add(item);
            }
        });

        Assert.Same(failure, thrown);
        Assert.Equal("\uFFFD", Assert.IsType<SandboxTextReceived>(Assert.Single(events)).Text);
    }

    [Fact]
    public async Task Events_without_SandboxEnded_are_a_fault_of_their_runner()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => Events(new SandboxStarted("boxer-1")).CopyToAsync(Stream.Null, Stream.Null, Cancel));
        await Assert.ThrowsAsync<InvalidOperationException>(() => Events(new SandboxStarted("boxer-1")).CopyToAsync(TextWriter.Null, TextWriter.Null, Cancel));
    }

    [Fact]
    public async Task Helpers_leave_the_enumeration_when_a_target_fails()
    {
        bool isLeft = false;

        await Assert.ThrowsAsync<NotSupportedException>(() => Noted().CopyToAsync(new MemoryStream([], writable: false), Stream.Null, Cancel));

        Assert.True(isLeft);

        async IAsyncEnumerable<SandboxEvent> Noted()
        {
            try
            {
                await Task.Yield();
                yield return Data(SandboxStream.StandardOutput, [1]);
                yield return new SandboxEnded(_result);
            }
            finally
            {
                isLeft = true;
            }
        }
    }

    private static SandboxDataReceived Data(SandboxStream stream, byte[] bytes) => new(stream, bytes);

    private static async IAsyncEnumerable<SandboxEvent> Events(params SandboxEvent[] events)
    {
        await Task.Yield();
        foreach (SandboxEvent item in events)
        {
            yield return item;
        }
    }

    private static async IAsyncEnumerable<SandboxEvent> Failing(Exception failure, SandboxEvent first, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Task.Yield();
        cancellationToken.ThrowIfCancellationRequested();
        yield return first;
        throw failure;
    }

    private static async Task<List<SandboxEvent>> ReadAsync(IAsyncEnumerable<SandboxEvent> events)
    {
        List<SandboxEvent> all = [];
        await foreach (SandboxEvent item in events)
        {
            all.Add(item);
        }

        return all;
    }
}
