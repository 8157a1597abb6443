namespace Boxer.Tests.Support;

/// <summary>Replaces runsc by a script that runs commands of the test before the real runsc.</summary>
internal sealed class StandInRunsc : IDisposable
{
    /// <summary>Python functions that send frames of PID 1 on descriptor 0.</summary>
    private const string Frames = """
        import os, socket, struct, sys, time
        s = socket.socket(fileno=os.dup(0))
        def send(kind, payload=b"", version=1): s.sendall(struct.pack("<IHH", len(payload), 0x8000 | kind, version) + payload)
        def text(t): return struct.pack("<I", len(t.encode())) + t.encode() + b"\0"
        def read(n):
            data = b""
            while len(data) < n:
                piece, streams, _, _ = socket.recv_fds(s, n - len(data), 3)
                if not piece: sys.exit(0)
                for number, stream in enumerate(streams): os.dup2(stream, number); os.close(stream)
                data += piece
            return data
        def until(wanted, descriptors=1):
            while True:
                length, kind, _ = struct.unpack("<IHH", read(8))
                read(length)
                if kind == 14: probed(descriptors)
                if kind == wanted: return
        def ready(version=5): send(1, struct.pack("<I", version))
        def probed(descriptors): send(15, struct.pack("<I", descriptors))
        def started(): send(2)
        def ended(code=0): send(5, struct.pack("<IIQQQII", 0, code, 0, 0, 0, 0, 0), 2)
        def directory(path): send(6, struct.pack("<I", 0o755) + text(path))
        def file(path, size): send(7, struct.pack("<IQqI", 0o644, size, 1000000000, 0) + text(path), 2)
        def link(path, target): send(13, text(target) + text(path))
        def done(): send(10)
        def go(): ready(); until(5)
        def silence(): time.sleep(1000)

        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-standin-").FullName;

    public StandInRunsc()
    {
        PutBack();
        Do("");
    }

    public string Path => System.IO.Path.Join(_directory, "runsc");

    /// <summary>Number of calls with <c>--version</c>.</summary>
    public int Probes => File.Exists(ProbesPath) ? File.ReadAllLines(ProbesPath).Length : 0;

    private string ProbesPath => System.IO.Path.Join(_directory, "probes");

    /// <summary>Sets the shell script that each call runs before runsc; empty for none.</summary>
    public void Do(string script) => Replace("mode", script);

    /// <summary>Sets the shell script that each call with <c>--version</c> runs before runsc; empty for none.</summary>
    public void DoWhenProbed(string script) => Replace("probe", script);

    /// <summary>Makes the next calls run this Python program in place of PID 1, without a sandbox.</summary>
    /// <param name="program">The program.</param>
    /// <param name="unless">Pattern of the shell for the arguments of calls that run the real runsc; null for none.</param>
    public void Lie(string program, string? unless = null)
    {
        Replace("lie.py", Frames + program + "\n");
        Do($"case \"$*\" in {unless ?? "''"}) ;; *) exec /usr/bin/python3 {_directory}/lie.py ;; esac");
    }

    public void Remove() => File.Delete(Path);

    public void PutBack()
    {
        Replace("probe", "");
        File.WriteAllText(Path + ".new", $"""
            #!/bin/sh
            if [ "$1" = --version ]; then echo >>{ProbesPath}; . {_directory}/probe; exec runsc --version; fi
            . {_directory}/mode
            exec runsc "$@"

            """);
        File.SetUnixFileMode(Path + ".new", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Move(Path + ".new", Path, overwrite: true);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void Replace(string name, string content)
    {
        string path = System.IO.Path.Join(_directory, name);
        File.WriteAllText(path + ".new", content + "\n");
        File.Move(path + ".new", path, overwrite: true);
    }
}
