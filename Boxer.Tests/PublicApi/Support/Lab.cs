using System.Diagnostics;

namespace Boxer.PublicApi.Tests.Support;

/// <summary>A network of a test's own, as docs/network.md prepares it: a namespace with a bridge, and a web server at 10.77.0.1.</summary>
internal sealed class Lab : IAsyncDisposable
{
    internal const string Network = "10.77.0";
    internal const string Bridge = "br0";
    private Process? _server;

    private Lab()
    {
    }

    internal string Name { get; } = $"testlab{Environment.ProcessId}";

    internal static async Task<Lab> StartAsync()
    {
        var lab = new Lab();
        foreach (string line in (await File.ReadAllLinesAsync(Path.Join(AppContext.BaseDirectory, "pages", "docs", "network.md"))).Where(line => line.StartsWith("ip ", StringComparison.Ordinal) && !line.EndsWith('&')))
        {
            await RunAsync(line.Replace("mylab", lab.Name, StringComparison.Ordinal));
        }

        lab._server = Process.Start(new ProcessStartInfo("ip", ["netns", "exec", lab.Name, "/usr/bin/python3", "-u", "-c", """
            import http.server
            class Page(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b"from the lab")
                def log_message(self, *arguments):
                    pass
            server = http.server.ThreadingHTTPServer(("10.77.0.1", 80), Page)
            print("ready")
            server.serve_forever()
            """]) { UseShellExecute = false, RedirectStandardOutput = true })!;
        Assert.Equal("ready", await lab._server.StandardOutput.ReadLineAsync());
        return lab;
    }

    /// <summary>Runs a line of shell.</summary>
    internal static async Task RunAsync(string line)
    {
        using Process process = Process.Start(new ProcessStartInfo("sh", ["-ec", line]))!;
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, line);
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            _server.Kill();
            await _server.WaitForExitAsync();
            _server.Dispose();
        }

        await RunAsync($"ip netns delete {Name}");
    }
}
