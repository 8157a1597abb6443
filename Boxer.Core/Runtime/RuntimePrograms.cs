using Boxer.Linux;

namespace Boxer.Runtime;

/// <summary>
/// The executables that the processes of one instance run: runsc and boxer-init. They are recorded in the directory of the instance. The clean-up of a
/// dead instance kills only processes that run one of them, and not every process that has the directory in its arguments.
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

    /// <summary>Adds the file of a path: a program, or the executable of a process.</summary>
    /// <param name="path">The path.</param>
    /// <exception cref="IOException">The record could not be written.</exception>
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

            // Atomically: after a record that is cut off, processes would be left behind.
            WholeFile.WriteLines(_file, _known.Append(found).Select(program => program.ToString()));
            _known.Add(found);
        }
    }

    /// <summary>Adds the executable of a process that this instance started. RunscPath may be a script, whose interpreter and programs are found only so.</summary>
    /// <param name="process">The process id.</param>
    internal void AddOf(int process) => Add(ProcessTable.ExecutablePath(process));

    /// <summary>Gets the executables added so far.</summary>
    internal IReadOnlySet<FileIdentity> Known()
    {
        lock (_lock)
        {
            return _known.ToHashSet();
        }
    }

    /// <summary>Reads the executables that an instance recorded.</summary>
    /// <param name="instanceDirectory">The directory of the instance.</param>
    internal static IReadOnlySet<FileIdentity> Read(string instanceDirectory)
    {
        string file = Path.Join(instanceDirectory, FileName);
        return File.Exists(file) ? File.ReadAllLines(file).Select(FileIdentity.Parse).OfType<FileIdentity>().ToHashSet() : new HashSet<FileIdentity>();
    }
}
