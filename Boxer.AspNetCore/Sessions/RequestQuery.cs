using System.Globalization;

namespace Boxer.AspNetCore.Sessions;

/// <summary>Reads the query of a request to a session. All faults are reported at once.</summary>
/// <param name="context">The request.</param>
internal sealed class RequestQuery(HttpContext context)
{
    private readonly List<string> _faults = [];

    /// <summary>Adds a fault: a sentence without subject and full stop.</summary>
    public void Fault(string name, string message) => _faults.Add($"{name}: {message}.");

    /// <summary>Reports the faults.</summary>
    /// <exception cref="HttpFaultException">There are faults (400).</exception>
    public void Check()
    {
        if (_faults.Count > 0)
        {
            throw HttpFaultException.BadRequest(string.Join(" ", _faults));
        }
    }

    /// <summary>Reads whether to resume a paused session, and reports all faults.</summary>
    /// <exception cref="HttpFaultException">There are faults (400).</exception>
    public bool CheckAndReadResume()
    {
        bool resume = Flag("resume");
        Check();
        return resume;
    }

    /// <summary>Reports all faults, and resumes the session if the query asks for it.</summary>
    /// <param name="session">The session.</param>
    /// <exception cref="HttpFaultException">There are faults (400).</exception>
    public Task CheckAndResumeAsync(ISandboxSession session) => CheckAndReadResume() ? session.ResumeAsync(context.RequestAborted) : Task.CompletedTask;

    /// <summary>Does the same for requests that a paused session would accept silently, and carry out only once it is resumed.</summary>
    /// <param name="session">The session.</param>
    /// <exception cref="HttpFaultException">There are faults (400).</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused, and the query does not ask to resume it.</exception>
    public Task CheckRunningAsync(ISandboxSession session) => CheckAndReadResume() ? session.ResumeAsync(context.RequestAborted)
        : session.State == SandboxSessionState.Paused ? throw new SandboxSessionPausedException(session.Id)
        : Task.CompletedTask;

    /// <summary>Reads true or false; the default is false.</summary>
    public bool Flag(string name)
    {
        if (Value(name) is not { } text)
        {
            return false;
        }

        if (!bool.TryParse(text, out bool flag))
        {
            Fault(name, $"must be true or false, not {StrictReader.Quote(text)}");
        }

        return flag;
    }

    /// <summary>Reads a path in the session.</summary>
    /// <param name="name">Name of the parameter.</param>
    /// <param name="absent">The default; <see langword="null"/> if the path is required.</param>
    public string Path(string name = "path", string? absent = null)
    {
        string? path = Value(name) ?? absent;
        if (path is null)
        {
            Fault(name, "is missing; name a path such as src/main.py or /tmp/data");
        }
        else if (SessionRequestReader.FindPathFault(path) is { } fault)
        {
            Fault(name, fault);
        }

        return path ?? "";
    }

    /// <summary>Reads a whole number.</summary>
    public long? Whole(string name, long least, long most) => Whole(name, Value(name), least, most);

    /// <summary>Reads a whole number from a header.</summary>
    public long? Header(string name, long least, long most) =>
        context.Request.Headers[name] is { Count: > 0 } values ? Whole(name, values.ToString(), least, most) : null;

    /// <summary>Reads permission bits in octal.</summary>
    public UnixFileMode? Mode(string name)
    {
        const int MaxDigits = 4;
        const int Octal = 8;
        if (Value(name) is not { } text)
        {
            return null;
        }

        if (text.Length is > 0 and <= MaxDigits && text.All(c => c is >= '0' and <= '7') && Convert.ToInt32(text, Octal) is var bits && bits <= 0b111_111_111)
        {
            return (UnixFileMode)bits;
        }

        Fault(name, $"must be permission bits in octal, such as 0644 or 755, not {StrictReader.Quote(text)}");
        return null;
    }

    private long? Whole(string name, string? text, long least, long most)
    {
        if (text is null)
        {
            return null;
        }

        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number >= least && number <= most)
        {
            return number;
        }

        Fault(name, string.Create(
            CultureInfo.InvariantCulture, $"must be a whole number {(most == long.MaxValue ? $"of at least {least}" : $"from {least} to {most}")}, not {StrictReader.Quote(text)}"));
        return null;
    }

    private string? Value(string name)
    {
        var values = context.Request.Query[name];
        if (values.Count > 1)
        {
            Fault(name, "appears twice; send it once");
        }

        return values.Count == 0 ? null : values[0] ?? "";
    }
}
