using System.Globalization;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Divides this process's descriptors (RLIMIT_NOFILE) among sandboxes and connections. The .NET runtime raises the soft limit to the hard one, and
/// a process that runs out of descriptors crashes.
/// </summary>
internal static class DescriptorLimit
{
    // The runtime keeps two descriptors per assembly open; pulls, the image store and the log use the rest.
    private const int PerHost = 400;
    private const int PerSandbox = 16;

    // The resolver of a run with an allow-list: its listening sockets, the sandbox's connections and the upstream sockets.
    private const int PerResolver = 20;

    // The channel of its sandbox, and the kernel's notifications about its memory while something runs in it.
    private const int PerSession = 3;

    // The socket, and the pipes of a session's command, or the file that is sent or received.
    private const int PerConnection = 4;
    private const int MinConnections = 64;
    private const int MaxConnections = 4_096;
    private static readonly long MaxDescriptors = ReadLimit();

    /// <summary>Gets the number of connections that leaves enough descriptors for all running, pooled and kept sandboxes.</summary>
    internal static int ConnectionsOf(BoxerOptions options, BoxerHttpOptions http) =>
        (int)Math.Clamp((MaxDescriptors - WithoutConnections(options, http)) / PerConnection, MinConnections, MaxConnections);

    /// <summary>Returns a message if the limit is too low for the options, otherwise <see langword="null"/>.</summary>
    internal static string? FindFault(BoxerOptions options, BoxerHttpOptions http)
    {
        long needed = WithoutConnections(options, http) + (PerConnection * MinConnections);
        return MaxDescriptors < needed
            ? $"this process can have {MaxDescriptors} descriptors open, but it needs {needed} for the configured numbers of running, pooled and kept sandboxes: raise its limit (ulimit -n, LimitNOFILE), or lower MaxConcurrentRuns, Pool.MaxSandboxes and Sessions.MaxMemoryBytes."
            : null;
    }

    private static long WithoutConnections(BoxerOptions options, BoxerHttpOptions http)
    {
        SandboxCounts counts = SandboxCounts.Of(options);
        return PerHost + (PerSandbox * (counts.Running + counts.Pooled)) + (PerResolver * counts.Running) + (http.AllowSessions ? PerSession * counts.Sessions : 0);
    }

    // proc_pid_limits(5).
    private static long ReadLimit()
    {
        const string Line = "Max open files";
        string? limit = File.ReadLines("/proc/self/limits").FirstOrDefault(line => line.StartsWith(Line, StringComparison.Ordinal));
        return long.TryParse(limit?[Line.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture, out long most) ? most : long.MaxValue;
    }
}
