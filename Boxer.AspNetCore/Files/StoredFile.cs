namespace Boxer.AspNetCore.Files;

/// <summary>A file of a space. Its members change under the space's lock only.</summary>
internal sealed class StoredFile(string path, string location, long size)
{
    internal string Path { get; } = path;

    internal long Size { get; } = size;

    /// <summary>Where it is on this host now.</summary>
    internal string Location { get; set; } = location;

    /// <summary>Runs that may still read it.</summary>
    internal int Leases { get; set; }

    /// <summary>Replaced or deleted: its content waits in staging for the last run that may read it.</summary>
    internal bool Detached { get; set; }
}
