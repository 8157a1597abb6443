using System.Text.Json.Nodes;

namespace Boxer.Tests.Support;

/// <summary>One HTTP host for the tests of a class: its start takes more processor time than most tests.</summary>
public sealed class SharedHost(PythonImage image) : IAsyncDisposable
{
    private HostProcess? _host;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Starts the host if it does not run: before the first test, and after one that ended it.</summary>
    /// <param name="settings">More configuration keys, the same for all tests.</param>
    internal async Task<HostProcess> StartAsync(JsonObject settings)
    {
        image.Require();
        if (_host?.Process.HasExited == true)
        {
            await DisposeAsync();
        }

        return _host ??= await HostProcess.StartAsync(image, settings);
    }

    /// <summary>Closes all sessions that the test's client can list, and waits until no sandbox is left. The host of a failed test ends, so that its log is shown.</summary>
    internal async Task EndTestAsync()
    {
        if (_host is null || _host.Process.HasExited || TestContext.Current.TestState?.Result == TestResult.Failed)
        {
            await DisposeAsync();
            return;
        }

        JsonNode sessions = JsonNode.Parse(await _host.Client.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel))!;
        foreach (JsonNode? session in sessions.AsArray())
        {
            (await _host.Client.DeleteAsync(new Uri($"/sessions/{session!["id"]}", UriKind.Relative), Cancel)).Dispose();
        }

        await Until.IsSoAsync(async () => await HostState.CountSandboxesAsync() == 0, seconds: 60);
    }

    public async ValueTask DisposeAsync()
    {
        if (_host is { } host)
        {
            _host = null;
            await host.DisposeAsync();
        }
    }
}
