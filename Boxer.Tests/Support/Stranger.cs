using System.Diagnostics;

namespace Boxer.Tests.Support;

/// <summary>Waiting process of another program, with any argument in its command line.</summary>
internal sealed class Stranger : IDisposable
{
    private readonly Process _process;

    /// <param name="argument">The argument.</param>
    /// <param name="user">Its user; <see langword="null"/>: this process's.</param>
    /// <param name="shell">Its executable, a shell.</param>
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
