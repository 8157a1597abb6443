namespace Boxer.Validation;

/// <summary>Finds the name that somebody may have meant.</summary>
internal static class NearestName
{
    private const int MaxLength = 64;

    /// <summary>Finds the known name with the fewest edits (insertion, removal or replacement of a character), upper and lower case being the same.</summary>
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
        int[] previous = [.. Enumerable.Range(0, to.Length + 1)];
        int[] current = new int[to.Length + 1];
        for (int i = 0; i < from.Length; i++)
        {
            current[0] = i + 1;
            for (int j = 0; j < to.Length; j++)
            {
                int replaced = previous[j] + (char.ToUpperInvariant(from[i]) == char.ToUpperInvariant(to[j]) ? 0 : 1);
                current[j + 1] = Math.Min(replaced, Math.Min(previous[j + 1], current[j]) + 1);
            }

            (previous, current) = (current, previous);
        }

        return previous[to.Length];
    }
}
