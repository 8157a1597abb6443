using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost;

/// <summary>A client that sends raw bytes at the pace of the test.</summary>
internal sealed class RawClient : IDisposable
{
    private readonly TcpClient _client = new();

    public TcpClient Tcp => _client;

    public static async Task<RawClient> ConnectAsync(Uri address)
    {
        RawClient client = new();
        await client._client.ConnectAsync(address.Host, address.Port, TestContext.Current.CancellationToken);
        return client;
    }

    public async Task SendAsync(string text) => await SendAsync(Encoding.Latin1.GetBytes(text));

    public async Task SendAsync(byte[] bytes) => await _client.GetStream().WriteAsync(bytes, TestContext.Current.CancellationToken);

    /// <summary>Reads until the server closes or resets the connection.</summary>
    public async Task<string> ReadToEndAsync()
    {
        MemoryStream all = new();
        byte[] buffer = new byte[64 << 10];
        try
        {
            int read;
            while ((read = await _client.GetStream().ReadAsync(buffer, TestContext.Current.CancellationToken)) > 0)
            {
                all.Write(buffer, 0, read);
            }
        }
        catch (IOException)
        {
            // A reset ends the response too.
        }

        return Encoding.UTF8.GetString(all.ToArray());
    }

    /// <summary>
    /// Reads until the server closes or resets the connection, and meanwhile advances its clock. The server has more time for each step than for the one
    /// before: on a busy machine, what it does late must not look like a slow client.
    /// </summary>
    /// <param name="time">The clock.</param>
    /// <param name="step">The time of a step.</param>
    public async Task<string> ReadToEndAsync(FakeTimeProvider time, TimeSpan step)
    {
        const int Steps = 20;
        TimeSpan pause = TimeSpan.FromMilliseconds(50);
        Task<string> answer = ReadToEndAsync();
        for (int i = 0; i < Steps && !answer.IsCompleted; i++)
        {
            time.Advance(step);
            await Task.WhenAny(answer, Task.Delay(pause, TimeProvider.System, TestContext.Current.CancellationToken));
            pause = TimeSpan.FromTicks(Math.Min(2 * pause.Ticks, TimeSpan.FromSeconds(5).Ticks));
        }

        Assert.True(answer.IsCompleted, "There is no answer.");
        return await answer;
    }

    /// <summary>Reads the first line of the response.</summary>
    public async Task<string?> ReadStatusAsync()
    {
        using StreamReader reader = new(_client.GetStream(), Encoding.ASCII, leaveOpen: true);
        return await reader.ReadLineAsync(TestContext.Current.CancellationToken);
    }

    public void Dispose() => _client.Dispose();
}
