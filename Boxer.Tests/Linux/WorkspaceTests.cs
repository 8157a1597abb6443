using System.Formats.Tar;
using System.Globalization;
using System.Text;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>The workspace in the sandbox, rejected inputs, and returned changes.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class WorkspaceTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("12345:12346", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("12345:12346", true)]
    [InlineData("65534", true)]
    public async Task A_tree_belongs_to_the_user_and_keeps_modes_times_links_and_empty_directories(string user, bool pooled)
    {
        byte[] tree = new Archive()
            .Directory("./", mode: 0b111_000_000)
            .Directory("src", mode: 0b111_101_000)
            .File("src/main.c", "int main;\n", mode: 0b110_100_000, uid: 7, gid: 8)
            .File("run.sh", "#!/bin/sh\necho ran $PWD\n", mode: 0b111_101_101)
            .Directory("empty", mode: 0b101_101_101)
            .Link("latest", "src/main.c")
            .Link("src/up", "../run.sh")
            .Link("absolute", "/workspace/run.sh")
            .Link("dangling", "nothing")
            .HardLink("src/hard", "run.sh")
            .File("setuid", "x", mode: 0b100_111_101_101)
            .File("deep/er/implied", "deep")
            .ToBytes();
        SandboxRequest request = Shell("""
            pwd; id -u; ./run.sh; cat latest deep/er/implied
            stat -c '%n %u:%g %a %Y' . run.sh src src/main.c empty setuid latest src/hard
            stat -c '%n %u:%g %a' deep/er
            readlink latest src/up absolute dangling; stat -c %h run.sh
            echo new >> src/hard; cat run.sh | wc -l
            rmdir empty; mkdir made; echo x > made/file; mv made moved; cat moved/file; rm run.sh; sed -i s/main/other/ src/main.c; cat src/main.c
            df --output=target . | tail -1
            """);
        request.User = user;
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(tree) } };

        SandboxResult result = await shared.RunAsync(request, pooled);

        string id = user.Contains(':', StringComparison.Ordinal) ? user : $"{user}:{user}";
        string expected = $"""
            /workspace
            {user.Split(':')[0]}
            ran /workspace
            int main;
            deep
            """.ReplaceLineEndings("\n");
        Assert.Equal("", result.StandardError);
        string[] lines = result.StandardOutput.Split('\n');
        Assert.Equal(expected.Split('\n')[..4], lines[..4]);
        Assert.Matches($"^deep\\. {id} 755 [0-9]+$", lines[4]);
        Assert.Equal(
            [
                $"run.sh {id} 755 1000000000", $"src {id} 750 1000000000", $"src/main.c {id} 640 1000000000", $"empty {id} 555 1000000000",
                $"setuid {id} 755 1000000000", $"latest {id} 777 1000000000", $"src/hard {id} 644 1000000000", $"deep/er {id} 755",
                "src/main.c", "../run.sh", "/workspace/run.sh", "nothing", "1", "2", "x", "int other;", "/workspace", "",
            ],
            lines[5..]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Files_come_in_the_order_of_the_inputs_and_the_last_one_of_a_path_counts(bool pooled)
    {
        byte[] archive = Archive.Gzip(new Archive().File("a", "of the archive\n").Link("b", "a").File("only", "archive\n").ToBytes());
        SandboxRequest request = Shell("cat a b c only; stat -c '%a %F' a b c; ls");
        request.Workspace = new()
        {
            Path = "/srv/project",
            Inputs =
            {
                SandboxInput.FromFiles(SandboxFile.FromText("a", "first\n"), SandboxFile.FromText("b", "first\n"), SandboxFile.FromText("c", "first\n")),
                SandboxInput.FromFiles(new SandboxFile[] { SandboxFile.FromText("c", "second\n") }.Select(file => { file.Executable = true; return file; })),
                SandboxInput.FromTar(archive),
            },
        };

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal(("of the archive\nof the archive\nsecond\narchive\n644 regular file\n777 symbolic link\n755 regular file\na\nb\nc\nonly\n", "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }

    [Theory]
    [InlineData("/workspace", null, "/workspace")]
    [InlineData("/tmp", null, "/tmp")]
    [InlineData("/tmp/a/b", null, "/tmp/a/b")]
    [InlineData("/home/boxer", null, "/home/boxer")]
    [InlineData("/home/boxer/src", null, "/home/boxer/src")]
    [InlineData("/usr/local/lib", "/usr", "/usr")]
    [InlineData("/workspace", "/workspace/sub", "/workspace/sub")]
    public async Task A_workspace_is_at_its_path_and_is_the_default_working_directory(string path, string? directory, string expected)
    {
        SandboxRequest request = Shell($"pwd; cat {path}/sub/file; echo more >> {path}/sub/file; echo own > {path}/own; touch /tmp/x ~/y /dev/shm/z /output/w; cat {path}/sub/file");
        request.WorkingDirectory = directory;
        request.Workspace = new() { Path = path, Inputs = { SandboxInput.FromFiles(SandboxFile.FromText("sub/file", "here\n")) } };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((expected + "\nhere\nhere\nmore\n", "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }

    [Fact]
    public async Task An_empty_workspace_can_be_written_and_shares_the_disk_limit()
    {
        SandboxRequest request = Shell("touch here && df --output=size -m . /tmp | tail -2; head -c 9M /dev/zero > big");
        request.Limits.DiskBytes = 8 * ByteSize.MiB;
        request.Workspace = new();

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(["8", "8"], result.StandardOutput.Split((char[])['\n', ' '], StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(TerminationKind.DiskLimit, result.Termination.Kind);
        Assert.EndsWith("(/tmp, $HOME, /dev/shm, the workspace and /output have 8 MiB together)", result.Termination.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_input_beyond_the_disk_limit_is_reported_by_its_path()
    {
        SandboxRequest request = Shell("true");
        request.Limits.DiskBytes = 8 * ByteSize.MiB;
        request.Workspace = new() { Inputs = { SandboxInput.FromFiles(SandboxFile.FromBytes("big/file", new byte[9 << 20])) } };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(
            (TerminationKind.NotStarted, "\"big/file\" could not be put into the workspace: No space left on device (/tmp, $HOME, /dev/shm, the workspace and /output have 8 MiB together)"),
            (result.Termination.Kind, result.Termination.Message));
    }

    [Fact]
    public async Task A_path_that_is_a_file_of_the_image_is_an_error_of_the_request()
    {
        SandboxRequest request = Shell("true");
        request.Workspace = new() { Path = "/etc/passwd" };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(
            (TerminationKind.NotStarted, "the workspace /etc/passwd cannot be made in this image: Not a directory; choose another path"),
            (result.Termination.Kind, result.Termination.Message));
    }

    public static TheoryData<string, string> Attacks => new()
    {
        { "dots", "the entry \"a/../../x\" is refused: a name has \"..\" in it." },
        { "long name", $"the entry \"{new string('n', 200)}\" is refused: a part of a name is longer than 255 bytes." },
        { "bytes", "the entry \"x\uFFFD\" is refused: a name is not UTF-8." },
        { "link out", "the entry \"l\" is refused: it is a link to \"../etc\", which is outside of the workspace." },
        { "absolute link out", "the entry \"l\" is refused: it is a link to \"/etc/passwd\", which is outside of the workspace." },
        { "neighbour link", "the entry \"l\" is refused: it is a link to \"/workspace2/x\", which is outside of the workspace." },
        { "long way out", "the entry \"d/l\" is refused: it is a link to \"x/../../../etc\", which is outside of the workspace." },
        { "empty link", "the entry \"l\" is refused: it is a link to nothing, or to a path of more than 4094 bytes." },
        { "below a link", "the entry \"l/x\" is refused: it is below \"l\", which is a symbolic link." },
        { "below a file", "the entry \"f/x\" is refused: it is below \"f\", which is a file." },
        { "file over directory", "the entry \"d\" is refused: there is a directory of this name already." },
        { "directory over link", "the entry \"l\" is refused: there is a file or link of this name already." },
        { "hard link out", "the entry \"h\" is refused: a name has \"..\" in it." },
        { "hard link to nothing", "the entry \"h\" is refused: it is a hard link to \"etc/passwd\", which is no file or link that came before it." },
        { "hard link to itself", "the entry \"f\" is refused: it is a hard link to itself." },
        { "hard link that moves a link", "the entry \"l\" is refused: it is a link to \"../f\", which is outside of the workspace." },
        { "device", "the entry \"dev\" is refused: it is a device or a FIFO, which a workspace cannot have." },
        { "fifo", "the entry \"fifo\" is refused: it is a device or a FIFO, which a workspace cannot have." },
        { "root", "the entry \".\" is refused: only a directory can be the workspace itself." },
        { "deep", $"the entry \"{string.Join('/', Enumerable.Repeat("d", 65))}\" is refused: it is nested 65 deep; 64 are allowed." },
        { "large", "the entry \"big\" is refused: with it there are more than 1000 bytes, the most that a workspace may have here." },
        { "sparse", "the entry \"holes\" is refused: with it there are more than 1000 bytes, the most that a workspace may have here." },
        { "copies", "the entry \"c\" is refused: with it there are more than 1000 bytes, the most that a workspace may have here." },
        { "many", "the entry \"20\" is refused: with it there are more than 20 entries, the most that a workspace may have here." },
        { "implied", "the entry \"a1/b/c/d/e/f/g/h/i/j/k\" is refused: with it there are more than 20 entries, the most that a workspace may have here." },
        { "bomb", "the archive is refused: unpacked it is larger than a workspace may be here." },
        { "longest path", "the entry \"" + new string('n', 200) + "\" is refused: its path has more than 4094 bytes." },
        { "no end", "the archive is empty or cut off: it has no end-of-archive mark." },
        { "empty", "the archive is empty or cut off: it has no end-of-archive mark." },
        { "xz", "the archive is refused: it is neither a tar archive nor one compressed with gzip: the archive ends within a header." },
        { "cut gzip", "the archive is refused: the archive ends within a header." },
        { "gzip with another checksum", "the archive is refused: its gzip data is damaged or cut off." },
        { "no tar", "the archive is refused: it is neither a tar archive nor one compressed with gzip: a header has a wrong checksum: the archive is not a tar archive, or damaged." },
        { "cut", "the entry \"f\" is refused: the archive ends within a file." },
        { "broken gzip", "the archive is refused: its gzip data is damaged or cut off." },
    };

    [Theory]
    [MemberData(nameof(Attacks))]
    public async Task A_hostile_archive_is_rejected_with_the_name_of_its_entry_and_nothing_runs(string attack, string expected)
    {
        SandboxRequest request = Shell("echo ran");
        request.Workspace = new() { Inputs = { SandboxInput.FromFiles(), SandboxInput.FromTar(Make(attack)) }, MaxBytes = 1_000, MaxEntries = 20 };

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        SandboxFault one = Assert.Single(fault.Faults);
        Assert.Equal("Workspace.Inputs[1]", one.Field);
        Assert.StartsWith(expected, one.Message, StringComparison.Ordinal);
        Assert.Equal(fault.Message, fault.PublicMessage);
    }

    private static byte[] Make(string attack)
    {
        var archive = new Archive();
        return attack switch
        {
            "dots" => archive.File("a/../../x").ToBytes(),
            "long name" => archive.File(new string('n', 256)).ToBytes(),
            "bytes" => archive.File("x\u00FF").ToBytes(),
            "link out" => archive.Link("l", "../etc").ToBytes(),
            "absolute link out" => archive.Link("l", "/etc/passwd").ToBytes(),
            "neighbour link" => archive.Link("l", "/workspace2/x").ToBytes(),
            "long way out" => archive.Link("d/l", "x/../../../etc").ToBytes(),
            "empty link" => archive.Link("l", "").ToBytes(),
            "below a link" => archive.Directory("d").Link("l", "d").File("l/x").ToBytes(),
            "below a file" => archive.File("f").File("f/x").ToBytes(),
            "file over directory" => archive.File("d/x").File("d").ToBytes(),
            "directory over link" => archive.Link("l", "d").Directory("l").ToBytes(),
            "hard link out" => archive.HardLink("h", "../etc/passwd").ToBytes(),
            "hard link to nothing" => archive.HardLink("h", "/etc/passwd").ToBytes(),
            "hard link to itself" => archive.File("f").HardLink("f", "f").ToBytes(),
            "hard link that moves a link" => archive.File("f").Link("d/l", "../f").HardLink("l", "d/l").ToBytes(),
            "device" => archive.Device("dev").ToBytes(),
            "fifo" => archive.Device("fifo", '6').ToBytes(),
            "root" => archive.File(".").ToBytes(),
            "deep" => archive.Directory(string.Join('/', Enumerable.Repeat("d", 65))).ToBytes(),
            "large" => archive.Add('0', "big", content: new byte[1_001]).ToBytes(),
            "sparse" => archive.Pax('x', ("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1"), ("GNU.sparse.name", "holes"), ("GNU.sparse.size", "100000000000"), ("GNU.sparse.map", "0,1")).Add('0', "holes", content: [1]).ToBytes(),
            "copies" => archive.Add('0', "f", content: new byte[400]).HardLink("b", "f").HardLink("c", "f").ToBytes(),
            "many" => Enumerable.Range(0, 30).Aggregate(archive, (all, i) => all.File(i.ToString(CultureInfo.InvariantCulture))).ToBytes(),
            "implied" => archive.File("a/b/c/d/e/f/g/h/i/j/k").File("a1/b/c/d/e/f/g/h/i/j/k").ToBytes(),
            "bomb" => Archive.Gzip(Enumerable.Range(0, 15).Aggregate(archive, (all, i) => all.Pax('x', ("comment", new string('c', 900_000))).File($"f{i}")).ToBytes()),
            "longest path" => archive.File(string.Join('/', Enumerable.Repeat(new string('n', 255), 16))).ToBytes(),
            "no end" => archive.File("f").ToEntries(),
            "empty" => [],
            "xz" => [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, .. new byte[100]],
            "cut gzip" => Archive.Gzip(archive.File("f").ToBytes())[..^20],
            "gzip with another checksum" => Damaged(Archive.Gzip(archive.File("f").ToBytes())),
            "no tar" => Encoding.ASCII.GetBytes(new string('7', 2_000)),
            "cut" => archive.Entry('0', "f", [1], size: 900).ToEntries()[..600],
            "broken gzip" => [0x1f, 0x8b, 8, 0, .. new byte[100]],
            _ => throw new ArgumentException(attack),
        };
    }

    [Fact]
    public async Task Names_of_a_workspace_take_a_bounded_part_of_this_hosts_memory()
    {
        string directory = string.Join('/', Enumerable.Repeat(new string('n', 250), 16));
        Archive archive = Enumerable.Range(0, 500).Aggregate(new Archive(), (all, i) => all.File(directory + i));
        SandboxRequest request = Shell("true");
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(archive.ToBytes()) }, MaxEntries = 1_000 };

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.EndsWith(": with it names and links have more than 1048576 characters together, the most that a workspace may have here.", fault.Message, StringComparison.Ordinal);
    }

    private static byte[] Damaged(byte[] gzip)
    {
        gzip[^8] ^= 1;
        return gzip;
    }

    [Fact]
    public async Task Links_inside_a_workspace_do_not_redirect_its_files_outside()
    {
        // The target of a/b/l2 is above the workspace. The command may read there; inputs are not written through it.
        byte[] archive = new Archive().Link("a/b/l1", "../..").Link("a/b/l2", "l1/../..").ToBytes();
        SandboxRequest request = Shell("readlink -f a/b/l2");
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(archive), SandboxInput.FromTar(new Archive().File("a/b/l2/x").ToBytes()) } };

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Equal("Workspace.Inputs[1]: the entry \"a/b/l2/x\" is refused: it is below \"a/b/l2\", which is a symbolic link.", fault.Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Workspace_changes_are_returned_as_an_archive(bool pooled)
    {
        byte[] tree = new Archive().File("kept", "kept").File("changed", "old").File("mode", "m").File("gone", "g").Directory("d").File("d/same", "s").ToBytes();
        SandboxRequest request = Shell("""
            cat kept > /dev/null; echo new > changed; chmod 700 mode; rm gone; mkdir -p made/deep; echo x > made/deep/file; touch -d @1234567890.5 made/deep/file; echo e > d/extra
            ln -s ../d/same made/in; ln -s /etc/passwd made/out; ln -s ../../x made/far; mkfifo pipe; mv kept moved; mkdir empty; : > zero
            """);
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(tree) }, MaxChangesBytes = 1 << 20 };

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal(("", 0), (result.StandardError, result.ExitCode));
        Assert.Equal("1 entries were neither files nor directories. 2 symbolic links led out of the workspace.", result.WorkspaceIncomplete);
        Assert.Equal(
            [
                "RegularFile changed 644 new", "Directory d 755", "RegularFile d/extra 644 e", "Directory empty 755", "Directory made 755", "Directory made/deep 755",
                "RegularFile made/deep/file 644 x", "SymbolicLink made/in 777 -> ../d/same", "RegularFile mode 700 m", "RegularFile moved 644 kept", "RegularFile zero 644 ",
            ],
            Read(result.WorkspaceChanges, out Dictionary<string, DateTimeOffset> times));
        Assert.Equal(DateTimeOffset.FromUnixTimeMilliseconds(1_234_567_890_500), times["made/deep/file"]);

        // The archive of the changes can be an input again.
        SandboxRequest next = Shell("cat changed made/in; stat -c %a mode");
        next.Workspace = new() { Inputs = { SandboxInput.FromTar(tree), SandboxInput.FromTar(result.WorkspaceChanges) } };
        SandboxResult again = await shared.Runner.RunAsync(next, Cancel);
        Assert.Equal(("new\ns700\n", "", 0), (again.StandardOutput, again.StandardError, again.ExitCode));
    }

    [Fact]
    public async Task Moved_and_linked_entries_of_a_workspace_are_returned()
    {
        byte[] tree = new Archive().File("src/a", "a").File("src/b", "b").File("kept", "k").File("twin", "t").ToBytes();
        SandboxRequest request = Shell("mkdir n; mv src n/src; ln kept hard; rm twin; cp kept twin");
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(tree) }, MaxChangesBytes = 1 << 20 };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("", null), (result.StandardError, result.WorkspaceIncomplete));
        Assert.Superset(
            new HashSet<string>(["RegularFile hard 644 k", "Directory n 755", "RegularFile n/src/a 644 a", "RegularFile n/src/b 644 b", "RegularFile twin 644 k"], StringComparer.Ordinal),
            Read(result.WorkspaceChanges, out _).ToHashSet(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("/workspace/cur", "/workspace/rel/1")]
    [InlineData("/workspace/new/deep", "/workspace/new/deep")]
    [InlineData("/workspace/rel/1", "/workspace/rel/1")]
    public async Task A_working_directory_in_a_workspace_belongs_to_the_user_and_may_be_a_link(string directory, string expected)
    {
        SandboxRequest request = Shell("pwd -P; touch here ../beside; stat -c %u . ..");
        request.WorkingDirectory = directory;
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(new Archive().Directory("rel/1").Link("cur", "rel/1").ToBytes()) } };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((expected + "\n65534\n65534\n", ""), (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task A_home_in_a_workspace_is_a_directory_of_the_workspace()
    {
        SandboxRequest request = Shell("cat boxer/q; echo new > ~/new; cd; pwd");
        request.Environment["HOME"] = "/home/boxer";
        request.Workspace = new() { Path = "/home", Inputs = { SandboxInput.FromFiles(SandboxFile.FromText("boxer/q", "there\n")) }, MaxChangesBytes = 1 << 20 };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("there\n/home/boxer\n", ""), (result.StandardOutput, result.StandardError));
        Assert.Contains("RegularFile boxer/new 644 new", Read(result.WorkspaceChanges, out _));
    }

    [Fact]
    public async Task Names_in_messages_are_printable()
    {
        SandboxRequest request = Shell("true");
        request.Limits.DiskBytes = 1 * ByteSize.MiB;
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(new Archive().Add('0', "a\nb\u001b[1m", content: new byte[2 << 20]).ToBytes()) } };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.StartsWith("\"a\uFFFDb\uFFFD[1m\" could not be put into the workspace: No space left on device (", result.Termination.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Workspace_changes_are_bounded_and_returned_only_on_request()
    {
        SandboxRequest request = Shell("head -c 20000 /dev/zero > big; echo small > small");
        request.Workspace = new() { MaxChangesBytes = 10_000 };
        SandboxResult bounded = await shared.Runner.RunAsync(request, Cancel);
        Assert.Equal(["RegularFile small 644 small"], Read(bounded.WorkspaceChanges, out _));
        Assert.Equal("1 files did not fit in the limit of bytes.", bounded.WorkspaceIncomplete);

        // Headers count toward the limit, because names and links may be longer than the content of the files.
        request.Command[^1] = "for i in $(seq 100); do ln -s $(head -c 4000 /dev/zero | tr '\\0' x) $i; done; echo small > small";
        SandboxResult links = await shared.Runner.RunAsync(request, Cancel);
        Assert.InRange(links.WorkspaceChanges.Length, 5_000, 10_000);
        Assert.Matches("^[0-9]+ entries did not fit in the limit of bytes.$", links.WorkspaceIncomplete);

        request.Workspace.MaxEntries = 1;
        request.Command[^1] = "seq 100 | xargs touch";
        SandboxResult few = await shared.Runner.RunAsync(request, Cancel);
        Assert.Single(Read(few.WorkspaceChanges, out _));
        Assert.Equal("There were more files and directories than the limit.", few.WorkspaceIncomplete);

        request.Workspace.MaxChangesBytes = 0;
        SandboxResult nothing = await shared.Runner.RunAsync(request, Cancel);
        Assert.Equal((0, null), (nothing.WorkspaceChanges.Length, nothing.WorkspaceIncomplete));
    }

    [Fact]
    public async Task A_workspace_of_ten_thousand_files_is_written_and_returned()
    {
        Archive archive = Enumerable.Range(0, 9_900).Aggregate(new Archive(), (all, i) => all.File($"d{i % 99}/f{i}", "x"));
        SandboxRequest request = Shell("find . -type f | wc -l; find . -type f | xargs touch");
        request.Workspace = new() { Inputs = { SandboxInput.FromTar(Archive.Gzip(archive.ToBytes())) }, MaxChangesBytes = 64 << 20 };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("9900\n", "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
        Assert.Equal((9_900, null), (Read(result.WorkspaceChanges, out _).Length, result.WorkspaceIncomplete));
    }

    [Fact]
    public async Task Content_that_cannot_be_read_is_reported_by_its_field()
    {
        SandboxRequest request = Shell("true");
        request.Workspace = new()
        {
            Inputs =
            {
                SandboxInput.FromFiles(SandboxFile.FromText("a", ""), SandboxFile.FromStream("b", _ => throw new IOException("/secret is not there"))),
            },
        };
        InvalidSandboxRequestException file = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));
        Assert.Equal("Workspace.Inputs[0].Files[1]: its content cannot be read.", file.PublicMessage);

        request.Workspace = new() { Inputs = { SandboxInput.FromTarFile("/does/not/exist") } };
        InvalidSandboxRequestException tar = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));
        Assert.Equal("Workspace.Inputs[0]: its content cannot be read.", tar.PublicMessage);
    }

    private static string[] Read(ReadOnlyMemory<byte> archive, out Dictionary<string, DateTimeOffset> times)
    {
        times = [];
        List<string> entries = [];
        using var reader = new TarReader(new MemoryStream(archive.ToArray()));
        while (reader.GetNextEntry() is { } entry)
        {
            using var content = new StreamReader(entry.DataStream ?? Stream.Null);
            string rest = entry.EntryType switch
            {
                TarEntryType.RegularFile => " " + content.ReadToEnd().TrimEnd(),
                TarEntryType.SymbolicLink => $" -> {entry.LinkName}",
                _ => "",
            };
            entries.Add($"{entry.EntryType} {entry.Name.TrimEnd('/')} {Convert.ToString((int)entry.Mode, toBase: 8)}{rest}");
            times[entry.Name] = entry.ModificationTime;
        }

        return [.. entries.OrderBy(entry => entry.Split(' ')[1], StringComparer.Ordinal)];
    }
}
