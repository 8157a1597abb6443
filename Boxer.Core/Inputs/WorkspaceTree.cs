using System.Text;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Validation;

namespace Boxer.Inputs;

/// <summary>
/// The entries of a workspace so far, by path; checks each new one and the limits of all together. Paths are relative, with <c>/</c> between names.
/// The message of an <see cref="InvalidDataException"/> is the end of a sentence for clients; the sentence begins with the entry.
/// </summary>
internal sealed class WorkspaceTree
{
    /// <summary>Maximum number of names in a path.</summary>
    internal const int MaxDepth = 64;

    // Maximum average length of name and target of an entry. They are kept in memory until the workspace is filled.
    private const int TextLengthOfEntry = 256;
    private const int MinTextLength = 1 << 20;
    private readonly Dictionary<string, Node> _nodes = new(StringComparer.Ordinal);
    private readonly CheckedWorkspace _workspace;
    private readonly long _maxTextLength;
    private long _bytes;
    private long _textLength;
    private int _entries;

    /// <param name="workspace">The path and the limits of the workspace.</param>
    internal WorkspaceTree(CheckedWorkspace workspace)
    {
        _workspace = workspace;
        _maxTextLength = Math.Max(MinTextLength, (long)workspace.MaxEntries * TextLengthOfEntry);
    }

    private enum Kind
    {
        Directory,
        File,
        Link,
    }

    /// <summary>Parses a name of an archive.</summary>
    /// <param name="name">The name.</param>
    /// <returns>The path; empty for the workspace itself.</returns>
    /// <exception cref="InvalidDataException">The name is rejected.</exception>
    internal static string Parse(ReadOnlySpan<byte> name) => string.Join('/', LayerPath.Split(name).Select(part => Decode(part.AsSpan(0, part.Length - 1))));

    /// <summary>Decodes a name of an archive.</summary>
    /// <param name="name">The name.</param>
    /// <exception cref="InvalidDataException">The name is not UTF-8.</exception>
    internal static string Decode(ReadOnlySpan<byte> name) =>
        UntrustedText.TryDecode(name, out string? text) ? text : throw new InvalidDataException("a name is not UTF-8");

    /// <summary>Adds a directory.</summary>
    /// <param name="path">The path.</param>
    /// <returns>The new directories above it, from the top.</returns>
    /// <exception cref="InvalidDataException">The entry is rejected.</exception>
    internal IReadOnlyList<string> AddDirectory(string path) => Add(path, new Node(Kind.Directory, 0, null));

    /// <summary>Adds an empty file; <see cref="Grow"/> counts its content.</summary>
    /// <inheritdoc cref="AddDirectory"/>
    internal IReadOnlyList<string> AddFile(string path) => Add(path, new Node(Kind.File, 0, null));

    /// <summary>Adds a symbolic link.</summary>
    /// <param name="path">The path.</param>
    /// <param name="target">The target of the link.</param>
    /// <inheritdoc cref="AddDirectory"/>
    internal IReadOnlyList<string> AddLink(string path, string target)
    {
        if (target.Length == 0 || Encoding.UTF8.GetByteCount(target) > CleanPath.MaxRelativeBytes)
        {
            throw new InvalidDataException($"it is a link to nothing, or to a path of more than {CleanPath.MaxRelativeBytes} bytes");
        }

        CountText(target);
        return StaysInside(path, target, _workspace.Path.Text)
            ? Add(path, new Node(Kind.Link, 0, target))
            : throw new InvalidDataException($"it is a link to \"{UntrustedText.Show(target)}\", which is outside of the workspace");
    }

    /// <summary>Counts content of a file.</summary>
    /// <param name="path">The path of the file.</param>
    /// <param name="bytes">The number of bytes.</param>
    /// <exception cref="InvalidDataException">The workspace gets too large.</exception>
    internal void Grow(string path, long bytes)
    {
        if (bytes > _workspace.MaxBytes - _bytes)
        {
            throw new InvalidDataException($"with it there are more than {_workspace.MaxBytes} bytes, the most that a workspace may have here");
        }

        _bytes += bytes;
        Node file = _nodes[path];
        _nodes[path] = file with { Size = file.Size + bytes };
    }

    /// <summary>Finds the entry that a hard link names.</summary>
    /// <param name="path">The path of the entry.</param>
    /// <returns>The size of a file, or the target of a symbolic link.</returns>
    /// <exception cref="InvalidDataException">There is no such entry, or it is a directory.</exception>
    internal (long Size, string? Target) FindLinked(string path) => _nodes.TryGetValue(path, out Node? node) && node.Kind != Kind.Directory
        ? (node.Size, node.Target)
        : throw new InvalidDataException($"it is a hard link to \"{UntrustedText.Show(path)}\", which is no file or link that came before it");

    /// <summary>Whether a link leads to a path in the workspace, by its text alone: links on the way are not followed.</summary>
    /// <param name="path">The path of the link.</param>
    /// <param name="target">The target.</param>
    /// <param name="workspace">The absolute path of the workspace.</param>
    internal static bool StaysInside(string path, string target, string workspace)
    {
        int depth = path.AsSpan().Count('/');
        if (target.StartsWith('/'))
        {
            workspace = workspace.TrimEnd('/');
            if (target != workspace && !target.StartsWith(workspace + "/", StringComparison.Ordinal))
            {
                return false;
            }

            (depth, target) = (0, target[workspace.Length..]);
        }

        foreach (string name in target.Split('/'))
        {
            depth += name is "" or "." ? 0 : name == ".." ? -1 : 1;
            if (depth < 0)
            {
                return false;
            }
        }

        return true;
    }

    private List<string> Add(string path, Node node)
    {
        PathFaults faults = CleanPath.TryParse(path, PathKind.BelowRoot, out CleanPath clean);
        if (faults != PathFaults.None)
        {
            throw new InvalidDataException(faults.HasFlag(PathFaults.TooLong) ? $"its path has more than {CleanPath.MaxRelativeBytes} bytes" : "its path is not clean");
        }

        if (clean.Names > MaxDepth)
        {
            throw new InvalidDataException($"it is nested {clean.Names} deep; {MaxDepth} are allowed");
        }

        List<string> above = [];
        for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            string directory = path[..slash];
            if (!_nodes.TryGetValue(directory, out Node? there))
            {
                Count(directory);
                _nodes[directory] = new Node(Kind.Directory, 0, null);
                above.Add(directory);
            }
            else if (there.Kind != Kind.Directory)
            {
                throw new InvalidDataException($"it is below \"{UntrustedText.Show(directory)}\", which is {(there.Kind == Kind.Link ? "a symbolic link" : "a file")}");
            }
        }

        Count(path);
        if (_nodes.TryGetValue(path, out Node? old) && (old.Kind == Kind.Directory) != (node.Kind == Kind.Directory))
        {
            throw new InvalidDataException(old.Kind == Kind.Directory ? "there is a directory of this name already" : "there is a file or link of this name already");
        }

        _nodes[path] = node;
        return above;
    }

    private void Count(string path)
    {
        CountText(path);
        if (++_entries > _workspace.MaxEntries)
        {
            throw new InvalidDataException($"with it there are more than {_workspace.MaxEntries} entries, the most that a workspace may have here");
        }
    }

    private void CountText(string text)
    {
        _textLength += text.Length;
        if (_textLength > _maxTextLength)
        {
            throw new InvalidDataException($"with it names and links have more than {_maxTextLength} characters together, the most that a workspace may have here");
        }
    }

    private sealed record Node(Kind Kind, long Size, string? Target);
}
