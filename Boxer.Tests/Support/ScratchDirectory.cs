using Boxer.Linux;

namespace Boxer.Tests.Support;

/// <summary>A directory of one test, removed with everything in it.</summary>
internal sealed class ScratchDirectory : IDisposable
{
    public ScratchDirectory()
    {
        Path = System.IO.Directory.CreateTempSubdirectory("boxer-images-").FullName;
    }

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => TreeRemover.Remove(Path);

    /// <summary>Lists every entry below a directory with type, mode, owner, target, links, size and time, to compare trees.</summary>
    public static Task<string> ListAsync(string root) => HostProgram.RunAsync(
        "sh", "-c", "cd \"$1\" && find . -mindepth 1 -printf '%p %y %m %U %G %l %n %s %T@\\n' | sed '/ d /s/ [0-9]* [0-9]* [0-9.]*$//' | LC_ALL=C sort", "sh", root);
}
