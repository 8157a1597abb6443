using System.Globalization;

namespace Boxer.Linux;

/// <summary>Reads the capabilities of this process (capabilities(7); proc(5), status).</summary>
internal static class ProcessCapabilities
{
    /// <summary>Finds the names of wanted capabilities that are not in the effective set.</summary>
    internal static IEnumerable<string> Lacking(IEnumerable<(int Bit, string Name)> wanted)
    {
        const string Field = "CapEff:";
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(Field, StringComparison.Ordinal));
        ulong effective = ulong.Parse(line.AsSpan(Field.Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return [.. wanted.Where(capability => (effective >> capability.Bit & 1) == 0).Select(capability => capability.Name)];
    }
}
