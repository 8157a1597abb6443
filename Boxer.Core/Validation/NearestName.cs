namespace Boxer.Validation;

/// <summary>Suggests a known name for a misspelt one.</summary>
internal static class NearestName
{
    private const int MaxLength = 64;

    /// <summary>Finds the known name with the fewest edits (a character inserted, removed or replaced, or two neighbours swapped), ignoring case.</summary>
    /// <returns>The name, or <see langword="null"/> if more than a third of its characters differ.</returns>
    internal static string? Find(string name, IEnumerable<string> known)
    {
        if (name.Length > MaxLength)
        {
            return null;
        }

        (string Name, int Edits)? nearest = known
            .Select(candidate => ((string, int)?)(candidate, CountEdits(name, candidate)))
            .MinBy(candidate => candidate!.Value.Item2);
        return nearest is { } found && found.Edits <= Math.Max(1, Math.Max(name.Length, found.Name.Length) / 3) ? found.Name : null;
    }

    private static int CountEdits(string from, string to)
    {
        int[,] edits = new int[from.Length + 1, to.Length + 1];
        for (int i = 0; i <= from.Length; i++)
        {
            for (int j = 0; j <= to.Length; j++)
            {
                edits[i, j] = i == 0 || j == 0 ? i + j : Math.Min(
                    edits[i - 1, j - 1] + (IsSame(i, j) ? 0 : 1),
                    Math.Min(edits[i - 1, j], edits[i, j - 1]) + 1);
                if (i > 1 && j > 1 && IsSame(i, j - 1) && IsSame(i - 1, j))
                {
                    edits[i, j] = Math.Min(edits[i, j], edits[i - 2, j - 2] + 1);
                }
            }
        }

        return edits[from.Length, to.Length];

        bool IsSame(int i, int j) => char.ToUpperInvariant(from[i - 1]) == char.ToUpperInvariant(to[j - 1]);
    }
}
