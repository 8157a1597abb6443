using System.Diagnostics;

namespace Boxer.Tests.Support;

/// <summary>A waiting process of another program, with a chosen argument in its command line.</summary>
internal sealed class Stranger : IDisposable
{
    private readonly Process _process;

    /// <param name="argument">Argument in its command line.</param>
    /// <param name="user">User id; <see langword="null"/> for that of this process.</param>
    /// <param name="shell">Path of the shell that it executes.</param>
    public Stranger(string argument, int? user = null, string shell = "/bin/sh")
    {
        string[] wait = [shell, "-c", "echo up; read line", "sh", argument];
        _process = user is null
            ? HostProgram.Start(wait[0], wait[1..])
            : HostProgram.Start("setpriv", [$"--reuid={user}", $"--regid={user}", "--clear-groups", "--", .. wait]);
        Assert.Equal("up", _process.StandardOutput.ReadLine());
    }

    public bool IsAlive => !_process.HasExited;

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }
}
