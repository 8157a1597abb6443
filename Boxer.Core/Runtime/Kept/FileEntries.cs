namespace Boxer.Runtime.Kept;

/// <summary>
/// Checks the entries of one list or tree: their number and depth, and that each directory comes before its entries. An entry that is replaced during the
/// walk can come twice; only the first one counts, because a link and then an entry below it would lead an unpacker out of its directory.
/// </summary>
/// <param name="maxEntries">Maximum number of entries.</param>
/// <param name="maxDepth">Maximum number of names in a path.</param>
internal sealed class FileEntries(int maxEntries, int maxDepth)
{
    // Average length of a path and its target. They are kept in memory.
    private const int TextOfEntry = 256;
    private const int MinText = 1 << 20;
    private readonly Dictionary<string, GuestFileKind> _kinds = new(StringComparer.Ordinal);
    private long _text;
    private int _count;

    /// <summary>Whether the names and targets take more memory than the entries may.</summary>
    internal bool IsFull => _text > Math.Max(MinText, (long)maxEntries * TextOfEntry);

    /// <summary>Checks the next entry.</summary>
    /// <param name="entry">The entry.</param>
    /// <returns>Whether it counts.</returns>
    /// <exception cref="IOException">The worker violated the protocol.</exception>
    internal bool Accept(GuestFile entry)
    {
        _text += entry.Path.Length + (entry.LinkTarget?.Length ?? 0);
        if (++_count > maxEntries || entry.Path.Length == 0 || entry.Path.AsSpan().Count('/') >= maxDepth)
        {
            throw FileChannel.Violation("it sent too many or too deep entries, or one without a path.");
        }

        int slash = entry.Path.LastIndexOf('/');
        if (slash >= 0)
        {
            if (!_kinds.TryGetValue(entry.Path[..slash], out GuestFileKind parent))
            {
                throw FileChannel.Violation("it sent an entry before its directory.");
            }

            if (parent != GuestFileKind.Directory)
            {
                // Also remembered as no directory, for the entries below it.
                _kinds.TryAdd(entry.Path, GuestFileKind.Other);
                return false;
            }
        }

        return _kinds.TryAdd(entry.Path, entry.Kind);
    }
}
