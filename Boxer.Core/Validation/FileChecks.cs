using Boxer.Common;

namespace Boxer.Validation;

/// <summary>Checks and parses the parts of a request that describe its files: input files, workspace, and output files.</summary>
internal static class FileChecks
{
    private const int MaxFiles = 10_000;
    private static readonly string[] ReservedDirectories = ["output", "proc", "sys", "dev", ".boxer"];

    /// <summary>Parses the workspace and checks its inputs.</summary>
    /// <returns><see langword="null"/> for a request without one; meaningless if there are faults.</returns>
    internal static CheckedWorkspace? ParseWorkspace(SandboxWorkspace? workspace, IList<SandboxFile> files, RequestFaults faults)
    {
        if (workspace is null)
        {
            return null;
        }

        if (FindWorkspaceFault(workspace.Path, out CleanPath path) is { } fault)
        {
            faults.Add("Workspace.Path", fault);
        }

        faults.AddIfOutOfRange("Workspace.MaxBytes", workspace.MaxBytes, 1, 64L << 30, "bytes");
        faults.AddIfOutOfRange("Workspace.MaxEntries", workspace.MaxEntries, 1, 100_000, "entries");
        faults.AddIfOutOfRange("Workspace.MaxChangesBytes", workspace.MaxChangesBytes, 0, 1 << 30, "bytes");
        foreach ((int i, SandboxFile? file) in files.Index())
        {
            if (file is not null && ("/" + file.Path + "/").StartsWith(workspace.Path + "/", StringComparison.Ordinal))
            {
                faults.Add($"Files[{i}].Path", $"'{RequestFaults.Shorten(file.Path)}' is in the workspace; add it to the workspace's inputs.");
            }
        }

        for (int i = 0; i < workspace.Inputs.Count; i++)
        {
            if (workspace.Inputs[i] is { } input)
            {
                CheckFiles([.. input.Files], $"Workspace.Inputs[{i}].Files", isWorkspace: true, faults);
            }
            else
            {
                faults.Add($"Workspace.Inputs[{i}]", "must not be null.");
            }
        }

        return new CheckedWorkspace(path, workspace.Inputs.AsReadOnly(), workspace.MaxBytes, workspace.MaxEntries, workspace.MaxChangesBytes);
    }

    /// <summary>Checks a list of input files: their number and their paths.</summary>
    /// <param name="files">The files.</param>
    /// <param name="list">The property that has the list.</param>
    /// <param name="isWorkspace">Whether the files appear in the workspace instead of below the root.</param>
    /// <param name="faults">Receives the faults.</param>
    internal static void CheckFiles(IList<SandboxFile> files, string list, bool isWorkspace, RequestFaults faults)
    {
        if (files.Count > MaxFiles)
        {
            faults.Add(list, $"must have at most {MaxFiles} entries; pack them into an archive.");
            return;
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < files.Count; i++)
        {
            string field = $"{list}[{i}].Path";
            if (files[i] is not { Path: var path })
            {
                faults.Add($"{list}[{i}]", "must not be null.");
            }
            else if (FindPathFault(path, isWorkspace) is { } fault)
            {
                faults.Add(field, fault);
            }
            else if (!seen.Add(path))
            {
                faults.Add(field, $"'{RequestFaults.Shorten(path)}' is listed twice.");
            }
        }

        foreach (string path in seen)
        {
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash >= 0; slash = path.IndexOf('/', slash + 1))
            {
                if (seen.Contains(path[..slash]))
                {
                    faults.Add(list, $"'{RequestFaults.Shorten(path[..slash])}' is both a file and the directory of another file.");
                }
            }
        }
    }

    /// <summary>Checks the destination of the output files.</summary>
    internal static void CheckOutputs(OutputFilePolicy? outputs, ResourceLimits limits, RequestFaults faults)
    {
        if (outputs is null)
        {
            faults.Add("OutputFiles", "must not be null.");
            return;
        }

        if (outputs.Directory is not { } directory)
        {
            if (outputs.Collects && limits.OutputFilesBytes > Array.MaxLength)
            {
                faults.Add(new SandboxFault("Limits.OutputFilesBytes", $"must be at most {Array.MaxLength} where {{0}} are kept in memory; name a directory for more.", ["OutputFiles"]));
            }

            return;
        }

        if (!Path.IsPathFullyQualified(directory))
        {
            faults.Add("OutputFiles", "must be an absolute path of this host.");
        }
        else if (Path.Exists(directory))
        {
            faults.Add("OutputFiles", "must be a directory that does not exist yet.");
        }
        else if (!Directory.Exists(Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(directory))))
        {
            faults.Add("OutputFiles", "must be a directory whose parent exists.");
        }
    }

    private static string? FindWorkspaceFault(string? text, out CleanPath path)
    {
        PathFaults found = CleanPath.TryParse(text, PathKind.Absolute, out path);
        return (found & (PathFaults.Empty | PathFaults.WrongKind | PathFaults.Nul | PathFaults.NotUnicode)) != PathFaults.None || text == "/"
            ? "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL."
            : found != PathFaults.None
            ? $"'{RequestFaults.Shorten(text)}' must be clean: no '..', '.', or empty names, at most {CleanPath.MaxNameBytes} bytes between slashes and {CleanPath.MaxBytes} in all."
            : IsReserved(path)
            ? $"'{RequestFaults.Shorten(text)}' is '/{path.FirstName}' or below it, which is reserved; choose another directory."
            : null;
    }

    private static string? FindPathFault(string text, bool isWorkspace)
    {
        PathFaults found = CleanPath.TryParse(text, PathKind.BelowRoot, out CleanPath path);
        return found.HasFlag(PathFaults.Empty) ? "must not be empty."
            : found.HasFlag(PathFaults.Nul) ? RequestFaults.NoNul
            : found.HasFlag(PathFaults.NotUnicode) ? RequestFaults.NoUnicode
            : found.HasFlag(PathFaults.WrongKind) ? $"'{RequestFaults.Shorten(text)}' must be relative: it appears at {(isWorkspace ? "the workspace" : "'/'")} and that path."
            : (found & PathFaults.Unclean) != PathFaults.None ? $"'{RequestFaults.Shorten(text)}' must be clean: no '..', '.', or empty names between slashes."
            : found != PathFaults.None ? $"must have at most {CleanPath.MaxRelativeBytes} bytes, and {CleanPath.MaxNameBytes} between slashes."
            : !isWorkspace && IsReserved(path) ? $"'{RequestFaults.Shorten(text)}' is under '{path.FirstName}/', which is reserved; choose another directory."
            : null;
    }

    private static bool IsReserved(CleanPath path) => ReservedDirectories.Contains(path.FirstName.ToString(), StringComparer.Ordinal);
}
