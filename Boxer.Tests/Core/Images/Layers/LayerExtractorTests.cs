using System.Diagnostics;
using System.Formats.Tar;
using System.Text;
using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;
using CsCheck;

namespace Boxer.Tests.Core.Images.Layers;

public sealed class LayerExtractorTests : IDisposable
{
    private const string Canary = "canary";

    private readonly ScratchDirectory _scratch = new();
    private readonly string _root;
    private readonly string _outside;

    public LayerExtractorTests()
    {
        _root = _scratch["root"];
        _outside = _scratch["outside"];
        Directory.CreateDirectory(_root);
        Directory.CreateDirectory(_outside);
        File.WriteAllText(Path.Combine(_outside, "file"), Canary);
        Directory.CreateDirectory(Path.Combine(_outside, "directory"));
        File.WriteAllText(Path.Combine(_outside, "directory", "file"), Canary);
    }

    /// <summary>Attacks: layers from the bottom up, and a part of the rejection's message; null if the attack is harmless.</summary>
    public static TheoryData<string> Attacks => [.. AttackTable("/outside").Keys];

    [Theory]
    [MemberData(nameof(Attacks))]
    public async Task ExtractAsync_of_an_attack_changes_nothing_outside(string name)
    {
        (Archive[] layers, string? refusal) = AttackTable(_outside)[name];
        // Each layer has a directory of its own for overlayfs.
        foreach (WhiteoutFormat format in layers.Length > 1 ? [WhiteoutFormat.Applied] : Formats())
        {
            TreeRemover.Remove(_root);
            Directory.CreateDirectory(_root);
            string? message = null;
            try
            {
                foreach (Archive layer in layers)
                {
                    await ExtractAsync(layer, format, maxEntries: 50);
                }
            }
            catch (Exception fault) when (fault is InvalidDataException or IOException)
            {
                message = fault.Message;
            }

            if (refusal is null)
            {
                Assert.Null(message);
            }
            else
            {
                Assert.NotNull(message);
                Assert.Contains(refusal, message, StringComparison.Ordinal);
            }

            AssertOutsideIsUntouched();
        }
    }

    [Fact]
    public async Task Entries_below_a_symbolic_link_stay_in_the_root()
    {
        await ExtractAsync(new Archive().Directory("real").Link("up", "../../../real").Link("absolute", "/real").File("up/a", "1").File("absolute/b", "2"), WhiteoutFormat.Applied);

        Assert.Equal("1", File.ReadAllText(Path.Combine(_root, "real", "a")));
        Assert.Equal("2", File.ReadAllText(Path.Combine(_root, "real", "b")));
        AssertOutsideIsUntouched();
    }

    [Fact]
    public async Task An_entry_replaces_everything_at_its_name()
    {
        foreach (WhiteoutFormat format in Formats())
        {
            TreeRemover.Remove(_root);
            Directory.CreateDirectory(_root);

            await ExtractAsync(
                new Archive().Directory("a").File("a/old", "1").File("a", "2").Directory("a").File("a/new", "3")
                    .File("b", "1").Directory("b").File("b/x", "2").File("b", "3")
                    .Directory("c").File("c/old", "1").File("c/sub/old", "1").Link("c", "a").File("c/through", "2")
                    .Link("d", "a").Directory("d").File("d/x", "1")
                    .File("e", "1").Link("e", "nowhere").File("e", "2"),
                format);

            string[] all = [.. Directory.EnumerateFileSystemEntries(_root, "*", SearchOption.AllDirectories)
                .Select(path => Path.GetRelativePath(_root, path)).Where(path => !path.StartsWith("c/", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
            Assert.Equal(["a", "a/new", "a/through", "b", "c", "d", "d/x", "e"], all);
            Assert.Equal(["3", "3", "2"], ((string[])["a/new", "b", "e"]).Select(path => File.ReadAllText(Path.Combine(_root, path))));
            Assert.Equal("a", new FileInfo(Path.Combine(_root, "c")).LinkTarget);
            AssertOutsideIsUntouched();
        }
    }

    [Fact]
    public async Task Modes_and_owners_are_kept_exactly()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        int[] modes = [Convert.ToInt32("4711", 8), Convert.ToInt32("2755", 8), Convert.ToInt32("6777", 8), Convert.ToInt32("1777", 8), Convert.ToInt32("7000", 8), 0, Convert.ToInt32("7777", 8)];
        foreach (WhiteoutFormat format in Formats())
        {
            TreeRemover.Remove(_root);
            Directory.CreateDirectory(_root);
            var archive = new Archive();
            foreach (int mode in modes)
            {
                archive.File($"f{mode}", "x", mode, 12, 34).Raw('5', Encoding.ASCII.GetBytes($"d{mode}"), [], [], mode, 12, 34);
            }

            await ExtractAsync(archive, format);

            foreach (int mode in modes)
            {
                string expected = $"{Convert.ToString(mode, 8)} 12 34";
                Assert.Equal($"{expected}\n{expected}\n", Run("stat", "-c", "%a %u %g", Path.Combine(_root, $"f{mode}"), Path.Combine(_root, $"d{mode}")));
            }
        }
    }

    [Fact]
    public async Task Attributes_with_a_meaning_to_the_host_are_omitted()
    {
        byte[] value = "x"u8.ToArray();
        string[] names =
        [
            "trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.any", "user.overlay.opaque", "user.overlay.whiteout", "security.selinux", "security.ima",
            "security.evm", "security.SMACK64", "security.apparmor", "system.posix_acl_access", "system.posix_acl_default", "system.nfs4_acl", "user.", "user", "", "nonsense", "user.a\0b", "user.kept",
        ];
        (string, byte[])[] records = [.. names.Select(name => ("SCHILY.xattr." + name, value))];
        foreach (WhiteoutFormat format in Formats())
        {
            TreeRemover.Remove(_root);
            Directory.CreateDirectory(_root);

            await ExtractAsync(new Archive().File("f", "x", records: records).Directory("d", records: records).Add('2', "l", "f", records: records), format);

            string[] listing = (await TreeListing.ReadAsync(_root)).Split('\n');
            Assert.EndsWith(" user.kept=78", Assert.Single(listing, line => line.StartsWith("'f'", StringComparison.Ordinal)), StringComparison.Ordinal);
            Assert.EndsWith(" user.kept=78", Assert.Single(listing, line => line.StartsWith("'d'", StringComparison.Ordinal)), StringComparison.Ordinal);
            Assert.Equal(2, listing.Sum(line => line.Split(' ').Count(part => part.Contains('=', StringComparison.Ordinal))));
        }
    }

    [Fact]
    public async Task Attributes_that_the_file_system_has_no_space_for_are_omitted()
    {
        (string, byte[])[] many = [.. Enumerable.Range(0, 5000).Select(i => ($"SCHILY.xattr.user.a{i}", new byte[100]))];

        await ExtractAsync(new Archive().File("giant", "1", records: ("SCHILY.xattr.user.giant", new byte[600_000])).File("many", "2", records: many).File("after", "3"), WhiteoutFormat.Applied);

        Assert.Equal(["3", "1", "2"], Directory.EnumerateFiles(_root).Order(StringComparer.Ordinal).Select(File.ReadAllText));
        if (Unistd.geteuid() == 0)
        {
            InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(new Archive().File("cap", records: ("SCHILY.xattr.security.capability", new byte[600_000])), WhiteoutFormat.Applied));
            Assert.Contains("Entry \"cap\" is refused: setxattr: Argument list too long", fault.Message, StringComparison.Ordinal);

            // Malformed for the kernel.
            fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(new Archive().File("cap", records: ("SCHILY.xattr.security.capability", new byte[3])), WhiteoutFormat.Applied));
            Assert.Contains("Entry \"cap\" is refused: setxattr: Invalid argument", fault.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Messages_contain_no_control_characters()
    {
        const string Evil = "\u001b[2J\u0007\u009b31m\r\n\u202e\u2066\u2028\u200f";
        string utf8 = Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(Evil));
        foreach (Archive archive in (Archive[])[new Archive().File("../" + utf8), new Archive().HardLink("a", utf8), new Archive().File(utf8 + "/.wh."), new Archive().File("s", records: ("GNU.sparse.size", Encoding.UTF8.GetBytes(Evil)))])
        {
            string message = (await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(archive, WhiteoutFormat.Applied))).Message;
            Assert.All(Evil.Where(c => c is not ('[' or '2' or 'J' or '3' or '1' or 'm')), c => Assert.DoesNotContain(c, message));
            Assert.Contains('\uFFFD', message);
        }

        // Nothing rejects this name, so it is written.
        await ExtractAsync(new Archive().File(utf8, "x"), WhiteoutFormat.Applied);
        Assert.Equal("x", File.ReadAllText(Assert.Single(Directory.EnumerateFiles(_root))));
    }

    [Fact]
    [Slow]
    public async Task More_hard_links_than_the_file_system_supports_are_a_clear_error()
    {
        const int Links = 66_000; // ext4 takes 65,000
        Archive archive = Enumerable.Range(1, Links).Aggregate(new Archive().File("f", "x"), (archive, i) => archive.HardLink($"h{i}", "f"));
        try
        {
            await ExtractAsync(archive, WhiteoutFormat.Applied, maxEntries: Links + 1);
            Assert.Equal(Links + 1, Directory.EnumerateFiles(_root).Count());
        }
        catch (IOException fault)
        {
            Assert.Matches("^Entry \"h[0-9]+\" could not be unpacked: .*link", fault.Message);
        }
    }

    [Fact]
    public async Task MaxEntries_bounds_a_layer()
    {
        Archive directories = Enumerable.Range(0, 1_001).Aggregate(new Archive(), (archive, i) => archive.Directory($"d{i}"));
        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(directories, WhiteoutFormat.Applied, maxEntries: 1_000));
        Assert.Contains("more than 1000 ", fault.Message, StringComparison.Ordinal);
        Assert.Equal(1_000, Directory.EnumerateDirectories(_root).Count());
    }

    [Fact]
    [Slow]
    public async Task Trees_of_a_thousand_levels_are_created_hidden_and_removed()
    {
        string deep = string.Concat(Enumerable.Repeat("d/", 1000));
        foreach (WhiteoutFormat format in Formats())
        {
            TreeRemover.Remove(_root);
            Directory.CreateDirectory(_root);
            await ExtractAsync(new Archive().File(deep + "f", "x"), format, maxEntries: 5000);
            Assert.Equal("1001", Run("sh", "-c", "find \"$1\" -mindepth 1 | wc -l", "sh", _root).Trim());
        }

        TreeRemover.Remove(_root);
        Directory.CreateDirectory(_root);
        await ExtractAsync(new Archive().File(deep + "f", "x").File("kept"), WhiteoutFormat.Applied, maxEntries: 5000);
        await ExtractAsync(new Archive().File("d/.wh..wh..opq"), WhiteoutFormat.Applied);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(_root, "d")));

        // The layer's own directories are searched, but not to any depth.
        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(new Archive().File(deep + "f", "x").File("d/.wh..wh..opq"), WhiteoutFormat.Applied, maxEntries: 5000));
        Assert.Contains("more than 256 levels", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task MaxBytes_bounds_a_decompression_bomb(string kind)
    {
        byte[] archive = new Archive().Add('0', "zeros", content: new byte[64 * 1024 * 1024]).File("after").ToBytes();
        using var compressor = new ZstdSharp.Compressor(1);
        byte[] bomb = kind == "gzip" ? Archive.Gzip(archive) : compressor.Wrap(archive).ToArray();
        Assert.InRange(bomb.Length, 1, archive.Length / 100);
        await using Stream content = await Decompression.OpenAsync(new MemoryStream(bomb), null, TestContext.Current.CancellationToken);
        long read = 0;
        using var counted = new VerifyingStream(content, ImageDigest.Sha256Of(archive), null, "the archive", length => read += length);

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => new LayerExtractor().ExtractAsync(
            counted, _root, Options(WhiteoutFormat.Applied).With(changed => changed.MaxBytes = 1_000_000), TestContext.Current.CancellationToken));

        Assert.Contains("more than 1000000 bytes", fault.Message, StringComparison.Ordinal);
        Assert.InRange(read, 1, 1_000_000);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root));
    }

    [Fact]
    public async Task ExtractAsync_gives_the_tree_that_tar_unpacks()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        string source = _scratch["source"];
        string expected = _scratch["expected"];
        Directory.CreateDirectory(Path.Combine(source, "directory", "deep"));
        Directory.CreateDirectory(expected);
        File.WriteAllText(Path.Combine(source, "directory", "file"), "content");
        File.WriteAllBytes(Path.Combine(source, "directory", new string('n', 200)), new byte[300_000]);
        File.CreateSymbolicLink(Path.Combine(source, "absolute"), "/directory/file");
        File.CreateSymbolicLink(Path.Combine(source, "dangling"), "../../nowhere");
        Run("ln", Path.Combine(source, "directory", "file"), Path.Combine(source, "hard"));
        File.WriteAllText(Path.Combine(source, "setuid"), "x");
        Run("chown", "12:34", Path.Combine(source, "setuid"));
        Run("chmod", "6755", Path.Combine(source, "setuid"));
        Run("chmod", "1777", Path.Combine(source, "directory"));
        Run("chown", "-h", "56:78", Path.Combine(source, "dangling"));
        Run("touch", "-d", "@981173106.5", Path.Combine(source, "directory", "deep"));
        foreach (string format in (string[])["posix", "gnu", "ustar"])
        {
            string archive = _scratch[format + ".tar"];
            if (format == "ustar")
            {
                File.Delete(Path.Combine(source, "directory", new string('n', 200)));
            }

            Run("tar", "--format=" + format, "-C", source, "-cf", archive, ".");
            TreeRemover.Remove(expected);
            Directory.CreateDirectory(expected);
            Run("tar", "-C", expected, "-xpf", archive);
            foreach (WhiteoutFormat whiteouts in Formats())
            {
                TreeRemover.Remove(_root);
                Directory.CreateDirectory(_root);
                using FileStream stream = File.OpenRead(archive);
                await new LayerExtractor().ExtractAsync(stream, _root, Options(whiteouts), TestContext.Current.CancellationToken);

                Assert.Equal(Listing(expected), Listing(_root));
            }
        }
    }

    [Fact]
    public async Task Names_and_attributes_are_bytes()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "security.capability needs root");
        byte[] capability = [1, 0, 0, 2, 0x80, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        var archive = new Archive()
            .File("latin-\u00e9", "1")
            .File("ping", "2", 0b111_101_101, 0, 0,
                ("SCHILY.xattr.security.capability", capability),
                ("SCHILY.xattr.trusted.overlay.redirect", "/etc"u8.ToArray()),
                ("SCHILY.xattr.user.overlay.opaque", "y"u8.ToArray()),
                ("SCHILY.xattr.user.note", [0xFF, 0, 0xFE]))
            .Directory("opaque", 0b111_101_101, ("SCHILY.xattr.trusted.overlay.opaque", "y"u8.ToArray()));

        await ExtractAsync(archive, WhiteoutFormat.Overlay);

        Assert.Equal(1, Run("ls", _root).Split('\n').Count(line => line.StartsWith("latin-", StringComparison.Ordinal)));
        Assert.Equal("AQAAAoAgAAAAAAAAAAAAAAAAAAA=", Attribute("ping", "security.capability"));
        Assert.Equal("/wD+", Attribute("ping", "user.note"));
        Assert.Null(Attribute("ping", "trusted.overlay.redirect"));
        Assert.Null(Attribute("ping", "user.overlay.opaque"));
        Assert.Null(Attribute("opaque", "trusted.overlay.opaque"));
    }

    [Fact]
    public async Task Extended_headers_of_an_entry_are_bounded_together()
    {
        var archive = new Archive();
        byte[] record = Encoding.ASCII.GetBytes("600012 SCHILY.xattr.user.a=" + new string('a', 599_984) + "\n");
        for (int i = 0; i < 3; i++)
        {
            archive.Raw('x', "pax"u8.ToArray(), [], record, 0, 0, 0);
        }

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(archive.File("f"), WhiteoutFormat.Applied));

        Assert.Contains("extended headers of an entry have more than 1048576 bytes", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_directory_that_replaces_a_file_of_its_layer_hides_lower_layers(bool link)
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "opaque directories of overlayfs need root");
        Archive archive = link ? new Archive().Link("f", "elsewhere") : new Archive().File("f", "1");

        await ExtractAsync(archive.Directory("f").File("f/y", "2"), WhiteoutFormat.Overlay);

        Assert.Equal("eQ==", Attribute("f", "trusted.overlay.opaque"));
    }

    [Fact]
    public async Task Whiteouts_take_the_form_of_overlayfs()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "whiteouts of overlayfs need root");
        await ExtractAsync(
            new Archive().File("d/.wh..wh..opq").File("d/new", "1").File(".wh.gone").File(".wh.again").Directory("again").File("kept", "2").File(".wh.kept")
                .File(".wh.implicit").File("implicit/new", "3").File(".wh..wh.plnk/x").Device("null"),
            WhiteoutFormat.Overlay);

        Assert.Equal("eQ==", Attribute("d", "trusted.overlay.opaque"));
        Assert.Equal("eQ==", Attribute("again", "trusted.overlay.opaque"));
        Assert.Equal("eQ==", Attribute("implicit", "trusted.overlay.opaque"));
        Assert.Equal("character special file 0,0", Run("stat", "-c", "%F %t,%T", Path.Combine(_root, "gone")).Trim());
        Assert.Equal("2", File.ReadAllText(Path.Combine(_root, "kept")));
        Assert.Equal(["again", "d", "gone", "implicit", "kept"], Directory.EnumerateFileSystemEntries(_root).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Applied_whiteouts_spare_entries_of_their_own_layer()
    {
        await ExtractAsync(
            new Archive().Directory("d").File("d/old", "0").File("d/sub/old", "0").File("gone", "0").File("both", "0").File("dir/old", "0").File("file/old", "0"),
            WhiteoutFormat.Applied);
        await ExtractAsync(
            new Archive().File("d/sub/new", "1").File("d/new", "1").File("d/.wh..wh..opq").File(".wh.gone").File("both", "1").File(".wh.both").File(".wh.dir")
                .File("dir/new", "1").File("file", "1").File(".wh.absent"),
            WhiteoutFormat.Applied);

        string[] files = [.. Directory.EnumerateFiles(_root, "*", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(_root, path)).Order(StringComparer.Ordinal)];
        Assert.Equal(["both", "d/new", "d/sub/new", "dir/new", "file"], files);
        Assert.All(files, path => Assert.Equal("1", File.ReadAllText(Path.Combine(_root, path))));
    }

    [Fact]
    public async Task Without_KeepOwners_everything_belongs_to_this_user_and_is_readable()
    {
        var archive = new Archive().Directory("d", 0).File("d/f", "x", 0, 12, 34);
        await new LayerExtractor().ExtractAsync(
            new MemoryStream(archive.ToBytes()), _root, new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = false }, TestContext.Current.CancellationToken);

        Assert.Equal("700 400", string.Join(' ', Run("stat", "-c", "%a", Path.Combine(_root, "d"), Path.Combine(_root, "d", "f")).Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        Assert.Equal(Unistd.geteuid().ToString(), Run("stat", "-c", "%u", Path.Combine(_root, "d", "f")).Trim());
    }

    [Fact]
    [Slow]
    public async Task Trees_deeper_than_a_path_are_removed()
    {
        var archive = new Archive();
        string part = string.Concat(Enumerable.Repeat("d/", 40));
        archive.Directory(part + "x").Link("l0", part + "x");
        for (int i = 0; i < 120; i++)
        {
            archive.Directory($"l{i}/{part}x").Link($"l{i + 1}", $"l{i}/{part}x");
        }

        string? message = null;
        try
        {
            await ExtractAsync(archive, WhiteoutFormat.Applied, maxEntries: 100_000);
        }
        catch (Exception fault) when (fault is InvalidDataException or IOException)
        {
            // The kernel follows at most 40 symbolic links.
            message = fault.Message;
        }

        Assert.NotNull(message);
        TreeRemover.Remove(_root);
        Assert.False(Directory.Exists(_root));
    }

    [Fact]
    public async Task Archives_of_System_Formats_Tar_are_read()
    {
        using var stream = new MemoryStream();
        using (var writer = new TarWriter(stream, TarEntryFormat.Pax, leaveOpen: true))
        {
            writer.WriteEntry(new PaxTarEntry(TarEntryType.Directory, "a/") { Mode = (UnixFileMode)0x1C0 });
            writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, "a/" + new string('\u00fc', 100)) { DataStream = new MemoryStream("text"u8.ToArray()) });
        }

        stream.Position = 0;
        await new LayerExtractor().ExtractAsync(stream, _root, Options(WhiteoutFormat.Applied), TestContext.Current.CancellationToken);

        Assert.Equal("text", File.ReadAllText(Path.Combine(_root, "a", new string('\u00fc', 100))));
    }

    [Fact]
    public void LayerArchiveReader_rejects_garbage_with_a_message()
    {
        byte[] honest = new Archive().Directory("d").File("d/f", "content").Link("l", "d").HardLink("h", "d/f").File(new string('n', 150), "x").ToBytes();
        CsCheck.Check.Sample(
            Gen.Select(Gen.Int[0, honest.Length - 1], Gen.Byte).Array[1, 20],
            changes =>
            {
                byte[] bytes = [.. honest];
                foreach ((int at, byte value) in changes)
                {
                    bytes[at] = value;
                }

                TreeRemover.Remove(_root);
                Directory.CreateDirectory(_root);
                try
                {
                    new LayerExtractor().ExtractAsync(new MemoryStream(bytes), _root, Options(WhiteoutFormat.Applied)).GetAwaiter().GetResult();
                }
                catch (Exception fault) when (fault is InvalidDataException or IOException)
                {
                    // A rejection with a message is the only other allowed outcome.
                    Assert.NotEmpty(fault.Message);
                }
            },
            iter: 300,
            threads: 1);
        AssertOutsideIsUntouched();
    }

    public void Dispose() => _scratch.Dispose();

    private static Dictionary<string, (Archive[] Layers, string? Refusal)> AttackTable(string outside) => new(StringComparer.Ordinal)
    {
        ["absolute name"] = ([new Archive().File(outside + "/file", "x")], null),
        ["dotted name"] = ([new Archive().File("../outside/file", "x")], "\"..\""),
        ["dots within"] = ([new Archive().File("a/../../outside/file", "x")], "\"..\""),
        ["only dots"] = ([new Archive().Directory("..")], "\"..\""),
        ["NUL in a name"] = ([new Archive().File("a\0b", "x")], "NUL"),
        ["NUL in a target"] = ([new Archive().Link("a", "b\0c")], "NUL"),
        ["empty name"] = ([new Archive().File("", "x")], "empty name"),
        ["long part"] = ([new Archive().File(new string('a', 256), "x")], "longer than 255"),
        ["long name"] = ([new Archive().File(string.Concat(Enumerable.Repeat("a/", 2500)), "x")], "longer than 4095"),
        ["file through a symlink"] = ([new Archive().Link("a", outside).File("a/file", "x")], "not a directory"),
        ["file through a relative symlink"] = ([new Archive().Link("a", "../outside").File("a/file", "x")], "not a directory"),
        ["file over a symlink"] = ([new Archive().Link("a", outside + "/file").File("a", "x")], null),
        ["directory over a symlink"] = ([new Archive().Link("a", outside).Directory("a", 0).File("a/file", "x")], null),
        ["mode through a symlink"] = ([new Archive().Link("a", outside + "/directory").Directory("a", 0)], null),
        ["file through a lower layer's symlink"] = ([new Archive().Link("a", outside), new Archive().File("a/file", "x")], null),
        ["chain of symlinks"] = ([new Archive().Link("a", "b").Link("b", "c").Link("c", outside).File("a/file", "x")], "not a directory"),
        ["loop of symlinks"] = ([new Archive().Link("a", "b").Link("b", "a").File("a/file", "x")], "not a directory"),
        ["magic link"] = ([new Archive().Link("a", "/proc/self/root" + outside).File("a/file", "x")], "not a directory"),
        ["hard link to an absolute target"] = ([new Archive().HardLink("a", outside + "/file").File("a", "x")], "not a file in this layer"),
        ["hard link to a dotted target"] = ([new Archive().HardLink("a", "../outside/file").File("a", "x")], "\"..\""),
        ["hard link through a symlink"] = ([new Archive().Link("l", outside).HardLink("a", "l/file").File("a", "x")], "not a file in this layer"),
        ["hard link to a symlink, then written"] = ([new Archive().Link("l", outside + "/file").HardLink("a", "l").File("a", "x")], null),
        ["hard link to a directory"] = ([new Archive().Directory("d").HardLink("a", "d")], "not a file in this layer"),
        ["hard link to the root"] = ([new Archive().HardLink("a", "/")], "must name a file"),
        ["hard link to itself"] = ([new Archive().HardLink("a", "a")], "not a file in this layer"),
        ["hard link over its target's directory"] = ([new Archive().File("d/f", "x").HardLink("d", "d/f")], "not a file in this layer"),
        ["whiteout through a symlink"] = ([new Archive().Link("a", outside).File("a/.wh.file")], null),
        ["opaque through a symlink"] = ([new Archive().Link("a", outside).File("a/.wh..wh..opq")], null),
        ["whiteout of the parent"] = ([new Archive().Directory("a").File("a/.wh...")], "names no entry"),
        ["whiteout of the directory"] = ([new Archive().File(".wh..")], "names no entry"),
        ["whiteout of nothing"] = ([new Archive().File(".wh.")], "names no entry"),
        ["whiteout as a directory"] = ([new Archive().File(".wh.a/b")], "whiteout is no directory"),
        ["opaque as a directory"] = ([new Archive().File("d/.wh..wh..opq/f")], "whiteout is no directory"),
        ["hard link to a whiteout"] = ([new Archive().File(".wh.a").HardLink("b", "a")], "not a file in this layer"),
        ["root as a file"] = ([new Archive().File("./", "x")], "root must be a directory"),
        ["root as a symlink"] = ([new Archive().Link("/", outside).File("file", "x")], "root must be a directory"),
        ["root as a hard link"] = ([new Archive().HardLink(".", "a")], "root must be a directory"),
        ["symlink to nowhere in no bytes"] = ([new Archive().Link("a", "")], "empty or too long"),
        ["block device"] = ([new Archive().Device("a", '4')], null),
        ["FIFO"] = ([new Archive().Device("a", '6')], null),
        ["unknown type"] = ([new Archive().Add('Z', "a")], "type 0x5a"),
        ["sparse map beyond the file"] = ([new Archive().File("a", "x", records: [("GNU.sparse.size", "1"u8.ToArray()), ("GNU.sparse.map", "5,1"u8.ToArray())])], "sparse file does not fit"),
        ["sparse map that says less than there is"] = ([new Archive().File("a", "xy", records: [("GNU.sparse.size", "9"u8.ToArray()), ("GNU.sparse.map", "0,1"u8.ToArray())])], "sparse file does not fit"),
        ["sparse map that goes back"] = ([new Archive().File("a", "xy", records: [("GNU.sparse.size", "9"u8.ToArray()), ("GNU.sparse.map", "4,1,2,1"u8.ToArray())])], "map of a sparse file is malformed"),
        ["sparse map of one half"] = ([new Archive().File("a", "x", records: [("GNU.sparse.size", "9"u8.ToArray()), ("GNU.sparse.map", "0,1,5"u8.ToArray())])], "map of a sparse file is malformed"),
        ["sparse map in the content that has no end"] = ([new Archive().File("a", new string('1', 512), records: [("GNU.sparse.major", "1"u8.ToArray()), ("GNU.sparse.realsize", "9"u8.ToArray())])], "map of a sparse file"),
        ["sparse map in the content of too many parts"] = ([new Archive().File("a", "99999999\n".PadRight(512, '\0'), records: [("GNU.sparse.major", "1"u8.ToArray()), ("GNU.sparse.realsize", "9"u8.ToArray())])], "99999999 parts"),
        ["sparse bomb"] = ([new Archive().File("a", "x", records: [("GNU.sparse.size", "99999999999999"u8.ToArray()), ("GNU.sparse.map", "0,1"u8.ToArray())])], "more than 17179869184 bytes"),
        ["sparse name that leads out"] = ([new Archive().File("a", "x", records: [("GNU.sparse.name", "../outside/file"u8.ToArray()), ("GNU.sparse.size", "1"u8.ToArray()), ("GNU.sparse.map", "0,1"u8.ToArray())])], "\"..\""),
        ["sparse header without a map"] = ([new Archive().Add('S', "a", content: "x"u8.ToArray())], "sparse file does not fit"),
        ["negative size"] = ([new Archive().File("a", "x", records: ("size", "-1"u8.ToArray()))], "negative size"),
        ["size that its padding takes beyond all numbers"] = ([new Archive().File(".wh.a", "x", records: ("size", "9223372036854775807"u8.ToArray()))], "larger than any disk"),
        ["owner that means no change"] = ([new Archive().File("a", "x", records: ("uid", "4294967295"u8.ToArray()))], "no user or group id"),
        ["huge extended header"] = ([new Archive().Raw('x', "p"u8.ToArray(), [], [], 0, 0, 0, size: 2_000_000_000)], "extended header has 2000000000 bytes"),
        ["too many entries"] = ([Enumerable.Range(0, 51).Aggregate(new Archive(), (archive, i) => archive.File($"f{i}"))], "more than 50"),
        ["too many implied directories"] = ([new Archive().File(string.Concat(Enumerable.Repeat("d/", 60)) + "f")], "more than 50"),
        ["file over a directory, and back, written through"] = ([new Archive().Directory("a").File("a/x").File("a", "x").Directory("a").Link("a/l", outside).File("a/l/file", "x")], "not a directory"),
        ["symlink over a full directory, then written through"] = ([new Archive().Directory("a").File("a/x").Link("a", outside).File("a/file", "x")], "not a directory"),
        ["symlink over a full directory of a lower layer"] = ([new Archive().File("a/x").File("a/d/y"), new Archive().Link("a", outside).File("a/file", "x")], "not a directory"),
        ["directory that becomes a symlink below another"] = ([new Archive().Directory("a/b/c").File("a/b/c/x").Link("a/b", "../../outside").File("a/b/directory/file", "x")], "not a directory"),
        ["directory becomes a symlink to a directory, then file"] = ([new Archive().Directory("a").File("a/x").Directory("b").Link("a", "b").File("a/file", "x")], null),
        ["setuid through a symlink"] = ([new Archive().Link("a", outside + "/file").File("a", "x", 0b100_111_111_111)], null),
        ["setuid through a hard link to a symlink"] = ([new Archive().Link("a", outside + "/file").HardLink("b", "a").File("b", "x", 0b100_111_111_111, 12, 34)], null),
        ["setgid through a symlink"] = ([new Archive().Link("a", outside + "/directory").Directory("a", 0b010_111_111_111)], null),
        ["owner of a symlink"] = ([new Archive().Raw('2', "a"u8.ToArray(), Encoding.UTF8.GetBytes(outside + "/file"), [], 0b111_111_111, 12, 34)], null),
        ["time of a directory that became a symlink"] = ([new Archive().Directory("a").Link("a", outside + "/directory")], null),
        ["attribute of a symlink"] = ([new Archive().Add('2', "a", outside + "/file", records: [("SCHILY.xattr.user.a", "x"u8.ToArray())])], null),
        ["opaque whiteout in a directory that became a symlink"] = ([new Archive().File("a/x"), new Archive().Link("a", outside).File("a/.wh..wh..opq").File("a/.wh.file")], null),
        ["chain of hard links"] = ([Enumerable.Range(1, 40).Aggregate(new Archive().File("h0", "x"), (archive, i) => archive.HardLink($"h{i}", $"h{i - 1}"))], null),
        ["chain of hard links from a symlink"] = ([Enumerable.Range(1, 40).Aggregate(new Archive().Link("h0", outside + "/file"), (archive, i) => archive.HardLink($"h{i}", $"h{i - 1}")).File("h40", "x")], null),
        ["too many hard links"] = ([Enumerable.Range(1, 51).Aggregate(new Archive().File("f"), (archive, i) => archive.HardLink($"h{i}", "f"))], "more than 50"),
        ["too many hard links of one name"] = ([Enumerable.Range(1, 51).Aggregate(new Archive().File("f"), (archive, _) => archive.HardLink("h", "f"))], "more than 50"),
        ["escape sequence in a name"] = ([new Archive().File("../\u001b]0;x\u0007\u009b2J\r\n")], "\"../\uFFFD]0;x\uFFFD\uFFFD"),
        ["whiteout with content beyond the archive"] = ([new Archive().Raw('0', ".wh.a"u8.ToArray(), [], [], 0, 0, 0, size: 8_000_000_000)], null),
        ["file that ends early"] = ([new Archive().Raw('0', "a"u8.ToArray(), [], [], 0, 0, 0, size: 1_000_000)], "ends within a file"),
    };

    [Theory]
    [InlineData("gnu", "")]
    [InlineData("posix", "0.0")]
    [InlineData("posix", "0.1")]
    [InlineData("posix", "1.0")]
    public async Task Sparse_files_of_tar_keep_their_content_and_holes(string format, string version)
    {
        string source = Directory.CreateDirectory(_scratch["source"]).FullName;
        using (FileStream file = File.Create(Path.Combine(source, "holes")))
        {
            // More parts than fit into a header.
            for (int i = 0; i < 40; i++)
            {
                file.Position = i * 1_000_000L;
                file.Write(Encoding.ASCII.GetBytes($"part {i}"));
            }

            file.SetLength(50_000_000);
        }

        File.Create(Path.Combine(source, "hole")).Dispose();
        using (FileStream file = File.OpenWrite(Path.Combine(source, "hole")))
        {
            file.SetLength(10_000_000);
        }

        File.WriteAllText(Path.Combine(source, "plain"), "plain");
        Run("find", source, "-exec", "touch", "-d", "@1000000000", "{}", "+");
        string archive = _scratch["sparse.tar"];
        Run("tar", ["--sparse", $"--format={format}", .. version.Length > 0 ? (string[])[$"--sparse-version={version}"] : [], "-cf", archive, "-C", source, "."]);
        Assert.InRange(new FileInfo(archive).Length, 1, 1_000_000);

        using (FileStream content = File.OpenRead(archive))
        {
            await new LayerExtractor().ExtractAsync(content, _root, Options(WhiteoutFormat.Applied), TestContext.Current.CancellationToken);
        }

        Assert.Equal(Listing(source), Listing(_root));
        Assert.InRange(int.Parse(Run("du", "-k", Path.Combine(_root, "holes")).Split('\t')[0], null), 1, 1_000);
    }

    private static IEnumerable<WhiteoutFormat> Formats() =>
        Unistd.geteuid() == 0 ? [WhiteoutFormat.Applied, WhiteoutFormat.Overlay] : [WhiteoutFormat.Applied];

    private static LayerExtractionOptions Options(WhiteoutFormat format, int maxEntries = 1000) =>
        new() { Whiteouts = format, KeepOwners = Unistd.geteuid() == 0, MaxEntries = maxEntries };

    private Task<ExtractedLayer> ExtractAsync(Archive archive, WhiteoutFormat format, int maxEntries = 1000) =>
        new LayerExtractor().ExtractAsync(
            new MemoryStream(archive.ToBytes()), _root, Options(format, maxEntries), TestContext.Current.CancellationToken);

    private void AssertOutsideIsUntouched()
    {
        Assert.Equal(["directory", "file"], Directory.EnumerateFileSystemEntries(_outside).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(Canary, File.ReadAllText(Path.Combine(_outside, "file")));
        Assert.Equal(Canary, File.ReadAllText(Path.Combine(_outside, "directory", "file")));
        Assert.Equal(["outside", "root"], Directory.EnumerateFileSystemEntries(_scratch.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal("755 644 755", string.Join(' ', Run("stat", "-c", "%a", _outside, Path.Combine(_outside, "file"), Path.Combine(_outside, "directory")).Split('\n', StringSplitOptions.RemoveEmptyEntries)));
    }

    private static string Listing(string root) => Run(
        "sh", "-c", "cd \"$1\" && find . -printf '%p %y %m %U %G %n %l %T@ ' -a \\( -type f -exec md5sum {} \\; -o -printf '\\n' \\) | LC_ALL=C sort", "sh", root);

    private string? Attribute(string name, string attribute)
    {
        using var handle = Fcntl.openat(Fcntl.AT_FDCWD, Path.Combine(_root, name), Fcntl.O_RDONLY, 0);
        var value = new byte[100];
        nint length = SysXattr.fgetxattr(handle, attribute, value, (nuint)value.Length);
        return length < 0 ? null : Convert.ToBase64String(value, 0, (int)length);
    }

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, StandardOutputEncoding = Encoding.Latin1 })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output;
    }
}
