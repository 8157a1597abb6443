using System.Globalization;

namespace Boxer.AspNetCore.Files;

/// <summary>Finds the uploads of one run in the index of a <see cref="FileSpace"/>, and collects all faults.</summary>
/// <param name="index">The files of the space by path. The caller holds the space's lock.</param>
internal sealed class UploadLookup(IReadOnlyDictionary<string, StoredFile> index)
{
    private readonly List<SandboxFault> _faults = [];

    /// <summary>Uploads that appear at <c>/</c> and their path.</summary>
    public List<StoredFile> Files { get; } = [];

    /// <summary>Uploads that are copied into the workspace.</summary>
    public List<StoredFile> Workspace { get; } = [];

    /// <summary>The archive that is unpacked into the workspace; none or one.</summary>
    public List<StoredFile> Archives { get; } = [];

    /// <summary>Finds all uploads.</summary>
    /// <exception cref="InvalidSandboxRequestException">Some do not exist or cannot be used; all faults are listed.</exception>
    public void Find(RunUploads uploads)
    {
        FindAll("Files", uploads.Files, Files, directories: null);
        FindAll("Workspace.Uploads", uploads.Workspace, Workspace, FindDirectories(uploads.Workspace));
        if (uploads.WorkspaceArchive is { } archive)
        {
            FindOne("Workspace.Archive", archive, Archives, directories: null);
        }

        if (_faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(_faults);
        }
    }

    private void FindAll(string field, IReadOnlyList<string> paths, List<StoredFile> found, Dictionary<string, List<StoredFile>>? directories)
    {
        HashSet<string> seen = new(StringComparer.Ordinal);
        for (int i = 0; i < paths.Count; i++)
        {
            string item = string.Create(CultureInfo.InvariantCulture, $"{field}[{i}]");
            string path = directories is null ? paths[i] : WithoutTrailingSlash(paths[i]);
            if (!seen.Add(path))
            {
                _faults.Add(new(item, $"'{path}' is listed twice; list each file once."));
            }
            else
            {
                FindOne(item, path, found, directories);
            }
        }

        // A file may be listed by itself and below a directory.
        StoredFile[] distinct = [.. found.Distinct()];
        found.Clear();
        found.AddRange(distinct);
    }

    private void FindOne(string field, string path, List<StoredFile> found, Dictionary<string, List<StoredFile>>? directories)
    {
        if (StoredPath.FindFault(path) is { } fault)
        {
            _faults.Add(new(field, $"The path {fault}"));
        }
        else if (StoredPath.IsOutput(path))
        {
            _faults.Add(new(field, $"'{path}' is an output; download it and upload it under another path."));
        }
        else if (index.TryGetValue(path, out StoredFile? file))
        {
            found.Add(file);
        }
        else if (directories?.GetValueOrDefault(path) is { Count: > 0 } below)
        {
            found.AddRange(below);
        }
        else
        {
            _faults.Add(new(field, $"'{path}' was not uploaded, or was deleted after a run that did not persist; upload it first."));
        }
    }

    // One pass over the index for all directories: both may be very many.
    private Dictionary<string, List<StoredFile>> FindDirectories(IReadOnlyList<string> paths)
    {
        Dictionary<string, List<StoredFile>> directories = paths.Select(WithoutTrailingSlash).Distinct(StringComparer.Ordinal)
            .Where(path => !index.ContainsKey(path)).ToDictionary(path => path, _ => new List<StoredFile>(), StringComparer.Ordinal);
        foreach (StoredFile file in directories.Count > 0 ? index.Values : [])
        {
            for (int slash = file.Path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = file.Path.IndexOf('/', slash + 1))
            {
                directories.GetValueOrDefault(file.Path[..slash])?.Add(file);
            }
        }

        return directories;
    }

    private static string WithoutTrailingSlash(string path) => path.Length > 1 ? path.TrimEnd('/') : path;
}
