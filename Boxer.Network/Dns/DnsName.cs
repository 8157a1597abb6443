using System.Globalization;
using System.Text;

namespace Boxer.Network.Dns;

/// <summary>Reads domain names in DNS messages (RFC 1035, sections 3.1 and 4.1.4).</summary>
internal static class DnsName
{
    private const int MaxNameBytes = 255;
    private const int MaxLabelBytes = 63;

    /// <summary>Reads a name.</summary>
    /// <param name="message">The message.</param>
    /// <param name="at">Position of the name; afterwards, the position behind it.</param>
    /// <param name="followPointers">Whether the name may end with a pointer to an earlier name in the message.</param>
    /// <returns>
    /// The name in lower case, without a dot at the end. Bytes that are not valid in a host name are written as \DDD. <see langword="null"/> if the
    /// name is malformed.
    /// </returns>
    internal static string? Read(ReadOnlySpan<byte> message, ref int at, bool followPointers)
    {
        var name = new StringBuilder();
        int nameBytes = 1;
        int position = at;
        int start = at;
        bool hasJumped = false;
        while (position < message.Length)
        {
            int length = message[position];
            if (length == 0)
            {
                at = hasJumped ? at : position + 1;
                return name.ToString();
            }

            if (length > MaxLabelBytes)
            {
                // A pointer must lead to before the labels that it follows. So none is followed twice, and reading ends.
                if (!followPointers || ReadPointer(message, position) is not { } target || target >= start)
                {
                    return null;
                }

                at = hasJumped ? at : position + 2;
                hasJumped = true;
                start = position = target;
                continue;
            }

            nameBytes += 1 + length;
            if (nameBytes > MaxNameBytes || position + 1 + length > message.Length)
            {
                return null;
            }

            AppendLabel(name, message.Slice(position + 1, length));
            position += 1 + length;
        }

        return null;
    }

    private static int? ReadPointer(ReadOnlySpan<byte> message, int position)
    {
        const int PointerBits = 0xC0;
        return message[position] >= PointerBits && position + 1 < message.Length
            ? ((message[position] & ~PointerBits) << 8) | message[position + 1]
            : null;
    }

    private static void AppendLabel(StringBuilder name, ReadOnlySpan<byte> label)
    {
        if (name.Length > 0)
        {
            name.Append('.');
        }

        foreach (byte value in label)
        {
            if (char.IsAsciiLetterOrDigit((char)value) || value is (byte)'-' or (byte)'_')
            {
                name.Append(char.ToLowerInvariant((char)value));
            }
            else
            {
                // A dot inside a label, for example, must not split it in two.
                name.Append(CultureInfo.InvariantCulture, $"\\{value:000}");
            }
        }
    }
}
