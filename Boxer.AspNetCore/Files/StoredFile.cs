namespace Boxer.AspNetCore.Files;

/// <summary>A file of a space. Its members change only under the space's lock.</summary>
internal sealed class StoredFile(string path, string location, long size)
{
    internal string Path { get; } = path;

    internal long Size { get; } = size;

    /// <summary>Current location on this host.</summary>
    internal string Location { get; set; } = location;

    /// <summary>Number of runs that may still read the file.</summary>
    internal int Leases { get; set; }

    /// <summary>Whether the file was replaced or deleted. Its content stays in the staging directory until the last run that may read it has ended.</summary>
    internal bool Detached { get; set; }
}
