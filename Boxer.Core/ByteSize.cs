namespace Boxer;

/// <summary>Units of sizes, for options and limits in bytes: <c>MemoryBytes = 512 * ByteSize.MiB</c>.</summary>
public static class ByteSize
{
    /// <summary>One kibibyte: 1,024 bytes.</summary>
    public const long KiB = 1024;

    /// <summary>One mebibyte: 1,048,576 bytes.</summary>
    public const long MiB = 1024 * KiB;

    /// <summary>One gibibyte: 1,073,741,824 bytes.</summary>
    public const long GiB = 1024 * MiB;

    /// <summary>One tebibyte: 1,099,511,627,776 bytes.</summary>
    public const long TiB = 1024 * GiB;

    private static readonly (long Bytes, string Name)[] Units = [(1024 * 1024 * TiB, "EiB"), (1024 * TiB, "PiB"), (TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")];

    /// <summary>Formats a size exactly, in the largest unit that divides it.</summary>
    internal static string Format(long bytes)
    {
        foreach ((long unit, string name) in Units)
        {
            if (bytes != 0 && bytes % unit == 0)
            {
                return string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{bytes / unit} {name}");
            }
        }

        return string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{bytes} {(bytes is 1 or -1 ? "byte" : "bytes")}");
    }

    /// <summary>Formats a size like <see cref="Format"/>, rounded down to whole MiB.</summary>
    internal static string Round(long bytes) => bytes < MiB ? Format(bytes) : Format(bytes / MiB * MiB);
}
