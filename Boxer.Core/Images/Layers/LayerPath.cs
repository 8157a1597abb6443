using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>Splits and joins names in a layer. Each part ends with NUL, ready for a system call.</summary>
internal static class LayerPath
{
    /// <summary>
    /// Splits a name into its parts. Leading, trailing and double slashes and <c>.</c> are ignored; <c>..</c> is rejected anywhere.
    /// </summary>
    /// <param name="name">The name, without NUL.</param>
    /// <returns>The parts; none for the root.</returns>
    /// <exception cref="InvalidDataException">The name is rejected.</exception>
    public static byte[][] Split(ReadOnlySpan<byte> name)
    {
        if (name.Length == 0)
        {
            throw new InvalidDataException("an entry has an empty name");
        }

        if (name.Length > CleanPath.MaxBytes)
        {
            throw new InvalidDataException($"a name is longer than {CleanPath.MaxBytes} bytes");
        }

        var parts = new List<byte[]>();
        foreach (Range range in name.Split((byte)'/'))
        {
            ReadOnlySpan<byte> part = name[range];
            if (part.Length == 0 || part.SequenceEqual("."u8))
            {
                continue;
            }

            if (part.SequenceEqual(".."u8))
            {
                throw new InvalidDataException("a name has \"..\" in it");
            }

            if (part.Length > CleanPath.MaxNameBytes)
            {
                throw new InvalidDataException($"a part of a name is longer than {CleanPath.MaxNameBytes} bytes");
            }

            parts.Add([.. part, 0]);
        }

        return [.. parts];
    }

    /// <summary>Joins parts to one path that ends with NUL, relative to the root.</summary>
    /// <param name="parts">The parts.</param>
    public static byte[] Join(ReadOnlySpan<byte[]> parts)
    {
        if (parts.Length == 0)
        {
            return "."u8.ToArray().Append((byte)0).ToArray();
        }

        var path = new List<byte>();
        foreach (byte[] part in parts)
        {
            path.AddRange(part.AsSpan(0, part.Length - 1));
            path.Add((byte)'/');
        }

        path[^1] = 0;
        return [.. path];
    }

    /// <summary>Formats a name for a message: printable, at most 200 characters.</summary>
    /// <param name="name">The name as bytes.</param>
    public static string Show(ReadOnlySpan<byte> name) =>
        $"\"{UntrustedText.Show(name.TrimEnd((byte)0))}\"";
}
