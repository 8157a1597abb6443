using Boxer.Linux;

namespace Boxer.Runtime;

/// <summary>
/// The executables that processes of one instance run: runsc and boxer-init. They are written down in the instance's directory, so that
/// whoever cleans up after a dead instance knows its processes from those of others that only carry its directory in their arguments.
/// </summary>
internal sealed class RuntimePrograms
{
    private const string FileName = "programs";
    private readonly string _file;
    private readonly Lock _lock = new();
    private readonly HashSet<FileIdentity> _known = [];

    /// <param name="instanceDirectory">The directory of the instance.</param>
    internal RuntimePrograms(string instanceDirectory)
    {
        _file = Path.Join(instanceDirectory, FileName);
    }

    /// <summary>Adds the file that a path leads to: a program, or the executable of a process.</summary>
    /// <exception cref="IOException">It could not be written down.</exception>
    internal void Add(string path)
    {
        if (FileIdentity.Of(path) is not { } found)
        {
            return;
        }

        lock (_lock)
        {
            if (_known.Contains(found))
            {
                return;
            }

            // Whole or not at all: what is half written, or never written again, would leave processes behind.
            WholeFile.WriteLines(_file, _known.Append(found).Select(program => program.ToString()));
            _known.Add(found);
        }
    }

    /// <summary>Adds the executable of a process that this instance started. A script in place of runsc shows only so what it runs.</summary>
    internal void AddOf(int process) => Add(ProcessTable.ExecutablePath(process));

    /// <summary>The executables known until now.</summary>
    internal IReadOnlySet<FileIdentity> Known()
    {
        lock (_lock)
        {
            return _known.ToHashSet();
        }
    }

    /// <summary>Reads those of an instance that is dead.</summary>
    /// <param name="instanceDirectory">Its directory.</param>
    internal static IReadOnlySet<FileIdentity> Read(string instanceDirectory)
    {
        string file = Path.Join(instanceDirectory, FileName);
        return File.Exists(file) ? File.ReadAllLines(file).Select(FileIdentity.Parse).OfType<FileIdentity>().ToHashSet() : new HashSet<FileIdentity>();
    }
}
