using System.Diagnostics;

namespace Boxer.Diagnostics;

/// <summary>
/// Adds the tag <c>runner</c> to the measurements of a runner that has a name, so that several runners of a process are told apart.
/// </summary>
internal sealed class RunnerTag
{
    /// <summary>Name of the runner; <see langword="null"/>: no tag is added.</summary>
    internal string? Name { get; set; }

    /// <summary>Adds the tag.</summary>
    /// <param name="tags">The other tags.</param>
    internal TagList Join(params ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var list = new TagList(tags);
        if (Name is not null)
        {
            list.Add("runner", Name);
        }

        return list;
    }
}
