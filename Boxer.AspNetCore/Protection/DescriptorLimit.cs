using System.Globalization;

namespace Boxer.AspNetCore.Protection;

/// <summary>RLIMIT_NOFILE of this process. The .NET runtime raises its soft limit to the hard one, and ends a process that has none left.</summary>
internal static class DescriptorLimit
{
    // The runtime keeps two for each assembly; pulls, the store and the log have the rest.
    private const int ForTheHost = 400;
    private const int ForEachSandbox = 16;

    // The sockets of the resolver of a run with an allow-list: those that it listens at, of its sandbox's connections, and upstream.
    private const int ForEachResolver = 20;

    // Its socket, and the file that is sent or received over it.
    private const int ForEachConnection = 2;
    private const int FewestConnections = 64;
    private const int MostConnections = 4_096;
    private static readonly long Most = Read();

    /// <summary>How many connections leave enough for the sandboxes that may run and wait.</summary>
    internal static int ConnectionsOf(BoxerOptions options) =>
        (int)Math.Clamp((Most - ForWork(options)) / ForEachConnection, FewestConnections, MostConnections);

    /// <summary>What is wrong with the limit, or <see langword="null"/>.</summary>
    internal static string? FindFault(BoxerOptions options)
    {
        long needed = ForWork(options) + (ForEachConnection * FewestConnections);
        return Most < needed
            ? $"this process can have {Most} descriptors open, and with the number of sandboxes that may run and wait it needs {needed}: raise its limit (ulimit -n, LimitNOFILE), or lower MaxConcurrentRuns and MaxSandboxes."
            : null;
    }

    private static long ForWork(BoxerOptions options)
    {
        SandboxCounts counts = SandboxCounts.Of(options);
        return ForTheHost + (ForEachSandbox * (counts.Running + counts.Waiting)) + (ForEachResolver * counts.Running);
    }

    // proc_pid_limits(5).
    private static long Read()
    {
        const string Line = "Max open files";
        string? limit = File.ReadLines("/proc/self/limits").FirstOrDefault(line => line.StartsWith(Line, StringComparison.Ordinal));
        return long.TryParse(limit?[Line.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture, out long most) ? most : long.MaxValue;
    }
}
