namespace Boxer.Tests.Support;

/// <summary>
/// Reads which descriptors a process of this host has open. It leaves out two kinds that grow up to a bound of their own: assemblies that .NET has
/// loaded, and locks of address ranges, because an address is not used again for a minute.
/// </summary>
internal static class HostDescriptors
{
    private const int Attempts = 1_200;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    /// <summary>Counts the open descriptors of a process as soon as the number has not changed for a second: work that just ended has some for a moment.</summary>
    internal static async Task<int> CountAsync(int process)
    {
        const int Same = 20;
        int count = Read(process).Length;
        for (int attempt = 0, same = 0; same < Same; attempt++)
        {
            Assert.True(attempt < Attempts, $"The number of descriptors of process {process} changes: {Describe(process)}");
            await Task.Delay(Pause, TestContext.Current.CancellationToken);
            int now = Read(process).Length;
            same = now == count ? same + 1 : 0;
            count = now;
        }

        return count;
    }

    /// <summary>Describes the open descriptors of a process: how many there are of each kind, and paths.</summary>
    internal static string Describe(int process) =>
        string.Join(", ", Read(process).CountBy(target => target).OrderBy(kind => kind.Key, StringComparer.Ordinal).Select(kind => $"{kind.Value} {kind.Key}"));

    private static string[] Read(int process) =>
    [
        .. Directory.EnumerateFileSystemEntries($"/proc/{process}/fd").Select(path => new FileInfo(path).LinkTarget).OfType<string>()
            .Where(target => !target.EndsWith(".dll", StringComparison.Ordinal) && !target.StartsWith("/run/boxer/network/addresses/", StringComparison.Ordinal))
            .Select(target => target.StartsWith("socket:", StringComparison.Ordinal) || target.StartsWith("pipe:", StringComparison.Ordinal) ? target.Split(':')[0] : target),
    ];
}
