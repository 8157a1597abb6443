using System.Runtime.CompilerServices;
using System.Text;

namespace Boxer;

/// <summary>Copies or decodes the events of <see cref="ISandboxRunner.StreamAsync"/>.</summary>
public static class SandboxEventExtensions
{
    /// <summary>
    /// Writes the output of the command to two streams as it arrives, and returns the result. Set <see cref="SandboxRequest.KeepStandardOutput"/>
    /// to <see langword="false"/> if the result need not contain the output again.
    /// </summary>
    /// <param name="events">The events of one run.</param>
    /// <param name="standardOutput">
    /// Receives standard output; flushed after each write and not closed. May be the same as <paramref name="standardError"/>.
    /// </param>
    /// <param name="standardError">Receives standard error; flushed after each write and not closed.</param>
    /// <param name="cancellationToken">Ends the run, as the token of <see cref="ISandboxRunner.StreamAsync"/> does.</param>
    /// <returns>The result of the run.</returns>
    /// <exception cref="InvalidOperationException">The events end without <see cref="SandboxEnded"/>.</exception>
    public static async Task<SandboxResult> CopyToAsync(
        this IAsyncEnumerable<SandboxEvent> events, Stream standardOutput, Stream standardError, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(events);
        ArgumentNullException.ThrowIfNull(standardOutput);
        ArgumentNullException.ThrowIfNull(standardError);
        await foreach (SandboxEvent item in events.WithCancellation(cancellationToken).ConfigureAwait(false))
        {
            (SandboxStream stream, ReadOnlyMemory<byte> data) = item switch
            {
                SandboxDataReceived received => (received.Stream, received.Data),
                SandboxTextReceived received => (received.Stream, Encoding.UTF8.GetBytes(received.Text)),
                _ => default,
            };
            if (!data.IsEmpty)
            {
                Stream target = stream == SandboxStream.StandardOutput ? standardOutput : standardError;
                await target.WriteAsync(data, cancellationToken).ConfigureAwait(false);
                await target.FlushAsync(cancellationToken).ConfigureAwait(false);
            }

            if (item is SandboxEnded ended)
            {
                return ended.Result;
            }
        }

        throw WithoutEnd();
    }

    /// <summary>Writes the output of the command to two writers as it arrives, decoded as UTF-8 across events, and returns the result.</summary>
    /// <param name="events">The events of one run.</param>
    /// <param name="standardOutput">
    /// Receives standard output; flushed after each write and not closed. May be the same as <paramref name="standardError"/>.
    /// </param>
    /// <param name="standardError">Receives standard error; flushed after each write and not closed.</param>
    /// <param name="cancellationToken">Ends the run, as the token of <see cref="ISandboxRunner.StreamAsync"/> does.</param>
    /// <returns>The result of the run.</returns>
    /// <exception cref="InvalidOperationException">The events end without <see cref="SandboxEnded"/>.</exception>
    public static async Task<SandboxResult> CopyToAsync(
        this IAsyncEnumerable<SandboxEvent> events, TextWriter standardOutput, TextWriter standardError, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(events);
        ArgumentNullException.ThrowIfNull(standardOutput);
        ArgumentNullException.ThrowIfNull(standardError);
        await foreach (SandboxEvent item in events.DecodeText(cancellationToken).ConfigureAwait(false))
        {
            switch (item)
            {
                case SandboxTextReceived received:
                    TextWriter target = received.Stream == SandboxStream.StandardOutput ? standardOutput : standardError;
                    await target.WriteAsync(received.Text.AsMemory(), cancellationToken).ConfigureAwait(false);
                    await target.FlushAsync(cancellationToken).ConfigureAwait(false);
                    break;
                case SandboxEnded ended:
                    return ended.Result;
            }
        }

        throw WithoutEnd();
    }

    /// <summary>
    /// Replaces each <see cref="SandboxDataReceived"/> by a <see cref="SandboxTextReceived"/>. A character whose bytes are split between events is
    /// in the last of them. An incomplete character at the end of a stream becomes U+FFFD, in one more event before <see cref="SandboxEnded"/> or
    /// before the exception that ends the run. Other events are passed on unchanged.
    /// </summary>
    /// <param name="events">The events of one run.</param>
    /// <param name="cancellationToken">Ends the run, as the token of <see cref="ISandboxRunner.StreamAsync"/> does.</param>
    public static IAsyncEnumerable<SandboxEvent> DecodeText(this IAsyncEnumerable<SandboxEvent> events, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(events);
        return DecodeCoreAsync(events, cancellationToken);
    }

    private static async IAsyncEnumerable<SandboxEvent> DecodeCoreAsync(IAsyncEnumerable<SandboxEvent> events, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        (SandboxStream Stream, Decoder Decoder)[] streams =
            [(SandboxStream.StandardOutput, Encoding.UTF8.GetDecoder()), (SandboxStream.StandardError, Encoding.UTF8.GetDecoder())];
        IAsyncEnumerator<SandboxEvent> reader = events.GetAsyncEnumerator(cancellationToken);
        await using ConfiguredAsyncDisposable reading = reader.ConfigureAwait(false);
        while (true)
        {
            // An iterator cannot yield in a catch block: the failure is awaited again after the rest of the text.
            Task<bool> next = reader.MoveNextAsync().AsTask();
            await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            SandboxEvent? item = next.IsCompletedSuccessfully && await next.ConfigureAwait(false) ? reader.Current : null;
            if (item is SandboxDataReceived received)
            {
                string text = Decode(streams[received.Stream == SandboxStream.StandardOutput ? 0 : 1].Decoder, received.Data.Span, flush: false);
                if (text.Length > 0)
                {
                    yield return new SandboxTextReceived(received.Stream, text);
                }

                continue;
            }

            if (item is null or SandboxEnded)
            {
                foreach ((SandboxStream stream, Decoder decoder) in streams)
                {
                    string rest = Decode(decoder, [], flush: true);
                    if (rest.Length > 0)
                    {
                        yield return new SandboxTextReceived(stream, rest);
                    }
                }
            }

            if (item is null)
            {
                await next.ConfigureAwait(false);
                yield break;
            }

            yield return item;
        }
    }

    private static string Decode(Decoder decoder, ReadOnlySpan<byte> bytes, bool flush)
    {
        char[] text = new char[decoder.GetCharCount(bytes, flush)];
        return new string(text, 0, decoder.GetChars(bytes, text, flush));
    }

    private static InvalidOperationException WithoutEnd() => new($"The events ended without {nameof(SandboxEnded)}: the runner that made them is broken.");
}
