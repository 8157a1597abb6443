using System.Text;
using Boxer.Images.Layers;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Layers;

/// <summary>
/// Archives that readers understand differently. A reader that takes content for headers, or another name than the others, unpacks files that no
/// scanner has seen. Each archive is unpacked by Boxer, by GNU tar, and by umoci, which uses Go's archive/tar as Docker and containerd do.
/// </summary>
public sealed class LayerDifferentialTests : IDisposable
{
    // Content that is an archive itself: a reader that finds headers in it writes the file "smuggled".
    private static readonly byte[] Body = new Archive().File("smuggled", "x").ToEntries();
    private static readonly string LongName = new('n', 150);

    private readonly ScratchDirectory _scratch = new();

    /// <summary>Tools that unpack the same tree as Boxer.</summary>
    [Flags]
    private enum By
    {
        None = 0,
        Tar = 1,
        Go = 2,
        Both = Tar | Go,
    }

    /// <summary>An archive.</summary>
    /// <param name="Archive">The archive.</param>
    /// <param name="Same">Tools that unpack the same tree.</param>
    /// <param name="Refusal">Part of the rejection's message; <see langword="null"/> if the archive is unpacked.</param>
    /// <param name="Twin">Archive for the other tools, which gives the expected tree.</param>
    private sealed record Case(Archive Archive, By Same = By.Both, string? Refusal = null, Archive? Twin = null);

    public static TheoryData<string> Names => [.. Cases.Keys];

    private static Dictionary<string, Case> Cases { get; } = MakeCases();

    [Theory]
    [Slow]
    [MemberData(nameof(Names))]
    public async Task ExtractAsync_unpacks_an_archive_as_other_tools_do(string name)
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        (Archive archive, By same, string? refusal, Archive? twin) = Cases[name];
        Directory.CreateDirectory(_scratch["boxer"]);
        Task ExtractAsync() => new LayerExtractor().ExtractAsync(
            new MemoryStream(archive.ToBytes()), _scratch["boxer"], new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = true }, TestContext.Current.CancellationToken);
        if (refusal is not null)
        {
            Assert.Contains(refusal, (await Assert.ThrowsAsync<InvalidDataException>(ExtractAsync)).Message, StringComparison.Ordinal);
            return;
        }

        await ExtractAsync();
        byte[] bytes = (twin ?? archive).ToBytes();
        string unpacked = await TreeListing.ReadAsync(_scratch["boxer"]);
        if (same.HasFlag(By.Tar))
        {
            Assert.Equal(await TarAsync(bytes), unpacked);
        }

        if (same.HasFlag(By.Go))
        {
            Assert.SkipUnless(HostProgram.Exists("umoci"), "not installed: umoci");
            Assert.Equal(await UmociAsync(bytes), unpacked);
        }
    }

    /// <summary>Ends of archives. GNU tar and Go accept all of these.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(512)]
    [InlineData(1024)]
    [InlineData(10240)]
    public async Task End_of_an_archive_may_be_missing_or_long(int zeros)
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        Assert.SkipUnless(HostProgram.Exists("umoci"), "not installed: umoci");
        byte[] bytes = [.. new Archive().File("f", "content").Directory("d").ToEntries(), .. new byte[zeros]];
        Directory.CreateDirectory(_scratch["boxer"]);

        await new LayerExtractor().ExtractAsync(
            new MemoryStream(bytes), _scratch["boxer"], new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = true }, TestContext.Current.CancellationToken);

        string unpacked = await TreeListing.ReadAsync(_scratch["boxer"]);
        Assert.Contains("'d'", unpacked, StringComparison.Ordinal);
        Assert.Equal(await TarAsync(bytes), unpacked);
        Assert.Equal(await UmociAsync(bytes), unpacked);
    }

    public void Dispose() => _scratch.Dispose();

    private static Dictionary<string, Case> MakeCases() => new(StringComparer.Ordinal)
    {
        // Sizes.
        ["size of the extended header, larger"] = new(new Archive().Pax('x', ("size", "1024")).Entry('0', "f", Body, size: 0)),
        ["size of the extended header, smaller"] = new(new Archive().Pax('x', ("size", "0")).Entry('0', "f", Body)),
        ["size of the extended header, within a block"] = new(new Archive().Pax('x', ("size", "700")).Entry('0', "f", Body, size: 5)),
        ["size twice in an extended header"] = new(new Archive().Pax('x', ("size", "0"), ("size", "1024")).Entry('0', "f", Body, size: 0)),
        // GNU tar rejects an empty number. In Go, as in pax(1), it cancels an earlier value.
        ["size twice, then empty"] = new(new Archive().Pax('x', ("size", "0"), ("size", "")).Entry('0', "f", Body), By.Go),
        // Global records apply to nothing. GNU tar accepts them, umoci rejects them, Docker and containerd ignore them.
        ["size in a global header"] = new(new Archive().Pax('g', ("size", "0")).Entry('0', "f", Body), Twin: new Archive().Entry('0', "f", Body)),
        // GNU tar rejects the sign.
        ["size with a sign"] = new(new Archive().Pax('x', ("size", "+1024")).Entry('0', "f", Body, size: 0), By.Go),
        ["size with a space"] = new(new Archive().Pax('x', ("size", " 1024")).Entry('0', "f", Body, size: 0), Refusal: "malformed size"),
        ["size in hexadecimal"] = new(new Archive().Pax('x', ("size", "0x400")).Entry('0', "f", Body, size: 0), Refusal: "malformed size"),
        ["size beyond 64 bits"] = new(new Archive().Pax('x', ("size", "18446744073709552640")).Entry('0', "f", Body, size: 0), Refusal: "malformed size"),
        ["size in base 256"] = new(new Archive().Entry('0', "f", Body, change: header => Archive.Binary(header, 124, 12, 1024))),
        ["size with leading spaces"] = new(new Archive().Entry('0', "f", Body, change: header => "       2000\0"u8.CopyTo(header.AsSpan(124)))),
        ["size that ends with a space"] = new(new Archive().Entry('0', "f", Body, change: header => "00000002000 "u8.CopyTo(header.AsSpan(124)))),
        ["size that fills its field"] = new(new Archive().Entry('0', "f", Body, change: header => "000000002000"u8.CopyTo(header.AsSpan(124)))),
        ["size in no digits"] = new(new Archive().Entry('0', "f", change: header => header.AsSpan(124, 12).Clear()).File("g")),
        ["size that is no number"] = new(new Archive().Entry('0', "f", Body, change: header => "0000000200z\0"u8.CopyTo(header.AsSpan(124))), Refusal: "malformed size"),
        ["directory with a size"] = new(new Archive().Entry('5', "d", Body)),
        ["directory with a size of the extended header"] = new(new Archive().Pax('x', ("size", "1024")).Entry('5', "d", Body, size: 0)),
        ["symbolic link with a size"] = new(new Archive().Entry('2', "l", Body, "target")),
        ["hard link with a size"] = new(new Archive().File("f", "1").Entry('1', "h", Body, "f")),
        ["hard link with a size and no body"] = new(new Archive().File("f", "1").Entry('1', "h", [], "f", size: 1024).File("g", "2")),

        // Names.
        // In GNU tar the extended header takes precedence, wherever it is.
        ["long name before an extended header"] = new(new Archive().Gnu('L', "long").Pax('x', ("path", "extended")).Entry('0', "plain"), By.Go),
        // The same as above.
        ["long name after an extended header"] = new(new Archive().Pax('x', ("path", "extended")).Gnu('L', "long").Entry('0', "plain"), By.Go),
        ["long name twice"] = new(new Archive().Gnu('L', "one").Gnu('L', "two").Entry('0', "plain")),
        ["long name of GNU"] = new(new Archive().Gnu('L', LongName).Entry('0', LongName[..100])),
        ["long name with an end within"] = new(new Archive().Gnu('L', "long\0../more").Entry('0', "plain")),
        // GNU tar takes it for the root's name.
        ["long name of no bytes"] = new(new Archive().Gnu('L', "").Entry('0', "plain"), By.Go),
        ["long name for the entry after the next"] = new(new Archive().Gnu('L', "long").Entry('0', "plain").Entry('0', "next")),
        // The same as for names.
        ["long target before an extended header"] = new(new Archive().Gnu('K', "long").Pax('x', ("linkpath", "extended")).Entry('2', "l", link: "plain"), By.Go),
        // The same as for names.
        ["long target after an extended header"] = new(new Archive().Pax('x', ("linkpath", "extended")).Gnu('K', "long").Entry('2', "l", link: "plain"), By.Go),
        ["long target of a hard link"] = new(new Archive().File(LongName, "1").Gnu('K', LongName).Entry('1', "h", link: "plain")),
        ["path twice in an extended header"] = new(new Archive().Pax('x', ("path", "one"), ("path", "two")).Entry('0', "plain")),
        // GNU tar takes it for the root's name.
        ["path, then empty"] = new(new Archive().Pax('x', ("path", "one"), ("path", "")).Entry('0', "plain"), By.Go),
        ["path in two extended headers"] = new(new Archive().Pax('x', ("path", "one")).Pax('x', ("path", "two")).Entry('0', "plain")),
        ["path in the first of two extended headers"] = new(new Archive().Pax('x', ("path", "one")).Pax('x', ("mtime", "5")).Entry('0', "plain")),
        // The same as for sizes.
        ["path in a global header"] = new(new Archive().Pax('g', ("path", "global")).Entry('0', "plain"), Twin: new Archive().Entry('0', "plain")),
        // The same as for sizes.
        ["path in a global header between"] = new(new Archive().Pax('x', ("path", "one")).Pax('g', ("path", "global")).Entry('0', "plain"), Twin: new Archive().Entry('0', "one")),
        ["prefix of ustar"] = new(new Archive().Directory("p").Entry('0', "f", change: header => "p"u8.CopyTo(header.AsSpan(345)))),
        ["prefix of ustar below a path of the extended header"] = new(new Archive().Directory("p").Pax('x', ("path", "e")).Entry('0', "f", change: header => "p"u8.CopyTo(header.AsSpan(345)))),
        ["prefix that fills its field"] = new(new Archive().Directory(new string('p', 155)).Entry('0', "f", change: header => header.AsSpan(345, 155).Fill((byte)'p'))),
        ["prefix without magic"] = new(new Archive().Directory("p").Entry('0', "f", change: header => { header.AsSpan(257, 8).Clear(); "p"u8.CopyTo(header.AsSpan(345)); })),
        ["prefix of GNU, which are times"] = new(new Archive().Directory("p").Entry('0', "f", change: header => { "ustar  \0"u8.CopyTo(header.AsSpan(257)); "00000000005\0"u8.CopyTo(header.AsSpan(345)); })),
        // GNU tar has no prefixes; Go once wrote them.
        ["prefix of GNU that is no time"] = new(new Archive().Directory("p").Entry('0', "f", change: header => { "ustar  \0"u8.CopyTo(header.AsSpan(257)); "p"u8.CopyTo(header.AsSpan(345)); }), By.Go),
        ["name that fills its field"] = new(new Archive().Entry('0', LongName[..100])),
        ["name with more after its end"] = new(new Archive().Entry('0', "f\0/../../more")),

        // Types.
        ["old type with a trailing slash"] = new(new Archive().Entry('\0', "d/")),
        ["old type with a trailing slash and a body"] = new(new Archive().Entry('\0', "d/", Body)),
        ["old type with a trailing slash of the extended header"] = new(new Archive().Pax('x', ("path", "d/")).Entry('\0', "f")),
        // GNU tar makes it a directory.
        ["file with a trailing slash"] = new(new Archive().Entry('0', "d/"), By.Go),
        // The same; GNU tar reads the content as headers.
        ["file with a trailing slash and a body"] = new(new Archive().Entry('0', "d/", Body), By.Go),
        // umoci and Docker reject them. No tool takes the content for a header.
        ["contiguous file"] = new(new Archive().Entry('7', "f", Body), By.Tar),
        ["header from before ustar"] = new(new Archive().Entry('\0', "f", Body, change: header => header.AsSpan(257, 8).Clear())
            .Entry('1', "h", link: "f", change: header => header.AsSpan(257, 8).Clear())
            .Entry('2', "l", link: "f", change: header => header.AsSpan(257, 8).Clear())),
        // umoci and Docker reject it; GNU tar writes it.
        ["volume label"] = new(new Archive().Entry('V', "label").File("f"), By.Tar),
        ["type of one vendor"] = new(new Archive().Entry('A', "f", Body), Refusal: "type 0x41"),
        ["extended header of Solaris"] = new(new Archive().Pax('X', ("path", "p")).Entry('0', "f"), Refusal: "type 0x58"),
        ["list of names of GNU"] = new(new Archive().Entry('D', "d", "Yf\0\0"u8.ToArray()), Refusal: "type 0x44"),
        ["part of a file on several volumes"] = new(new Archive().Entry('M', "f", Body), Refusal: "type 0x4d"),

        // Sparse files.
        ["sparse file 0.1 with two names"] = new(new Archive().Pax('x', ("GNU.sparse.size", "2000"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.map", "0,5,2000,0"), ("GNU.sparse.name", "sparse"), ("path", "path")).Entry('0', "plain", "hello"u8.ToArray())),
        ["sparse file 1.0 with two names"] = new(new Archive().Pax('x', ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "2000"), ("path", "path"), ("GNU.sparse.name", "sparse"))
            .Entry('0', "plain", Encoding.ASCII.GetBytes("2\n0\n5\n2000\n0\n".PadRight(512, '\0') + "hello"))),
        // GNU tar ignores the long name here.
        ["sparse file with a long name of GNU"] = new(new Archive().Gnu('L', "long").Pax('x', ("GNU.sparse.size", "2000"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.map", "0,5,2000,0"), ("GNU.sparse.name", "sparse")).Entry('0', "plain", "hello"u8.ToArray()), By.Go),
        // The same as for names of other files.
        ["sparse file with a long name and no other"] = new(new Archive().Pax('x', ("GNU.sparse.size", "2000"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.map", "0,5,2000,0"), ("path", "path")).Gnu('L', "long").Entry('0', "plain", "hello"u8.ToArray()), By.Go),
        // GNU tar uses it as the name of any file.
        ["name of a sparse file that is none"] = new(new Archive().Pax('x', ("GNU.sparse.name", "sparse")).Entry('0', "plain", Body), By.Go),
        // Go ignores the record, and GNU tar loses its position.
        ["size of a sparse file that is none"] = new(new Archive().Pax('x', ("GNU.sparse.realsize", "5")).Entry('0', "plain", Body), Refusal: "sparse file does not fit"),
        ["sparse file of a version to come"] = new(new Archive().Pax('x', ("GNU.sparse.major", "2"), ("GNU.sparse.realsize", "5")).Entry('0', "plain", Body), Refusal: "sparse files of the format 2"),
        // The same as above.
        ["directory with the name of a sparse file"] = new(new Archive().Pax('x', ("GNU.sparse.name", "sparse")).Entry('5', "plain"), By.Go),

        // Times and owners.
        ["time before 1970"] = new(new Archive().Pax('x', ("mtime", "-5")).Entry('0', "f")),
        ["time before 1970 with a fraction"] = new(new Archive().Pax('x', ("mtime", "-5.25")).Entry('0', "f")),
        ["time before 1970 in base 256"] = new(new Archive().Entry('0', "f", change: header => Archive.Binary(header, 136, 12, -5))),
        ["time with a fraction"] = new(new Archive().Pax('x', ("mtime", "1234567890.987654321")).Entry('0', "f")),
        ["time with a fraction of a fraction"] = new(new Archive().Pax('x', ("mtime", "1234567890.9876543219999")).Entry('0', "f")),
        ["time with half a fraction"] = new(new Archive().Pax('x', ("mtime", "1234567890.5")).Entry('0', "f")),
        ["time with an empty fraction"] = new(new Archive().Pax('x', ("mtime", "1234567890.")).Entry('0', "f")),
        // The same as for sizes.
        ["time in a global header"] = new(new Archive().Pax('g', ("mtime", "5")).Entry('0', "f"), Twin: new Archive().Entry('0', "f")),
        // The time overflows in umoci; the file system has its own maximum.
        ["time that is far away"] = new(new Archive().Pax('x', ("mtime", "99999999999999")).Entry('0', "f"), By.Tar),
        ["time after 2106"] = new(new Archive().Pax('x', ("mtime", "5000000000.5")).Entry('0', "f")),
        ["time of a directory and a link"] = new(new Archive().Pax('x', ("mtime", "1234567890.25")).Entry('5', "d").Pax('x', ("mtime", "1234567890.75")).Entry('2', "d/l", link: "t")),
        ["owner of the extended header"] = new(new Archive().Pax('x', ("uid", "3000000"), ("gid", "4000000000")).Entry('0', "f", change: header => "0000017\0"u8.CopyTo(header.AsSpan(108)))),
        ["owner in base 256"] = new(new Archive().Entry('0', "f", change: header => { Archive.Binary(header, 108, 8, 3_000_000); Archive.Binary(header, 116, 8, 4_000_000_000); })),
        // The same as for sizes.
        ["owner in a global header"] = new(new Archive().Pax('g', ("uid", "5"), ("gid", "6")).Entry('0', "f"), Twin: new Archive().Entry('0', "f")),
        ["owner beyond 32 bits"] = new(new Archive().Pax('x', ("uid", "4294967296")).Entry('0', "f"), Refusal: "no user or group id"),
        ["owner below nothing"] = new(new Archive().Pax('x', ("uid", "-1")).Entry('0', "f"), Refusal: "no user or group id"),
        ["owner with leading spaces"] = new(new Archive().Entry('0', "f", change: header => "   144 \0"u8.CopyTo(header.AsSpan(108)))),
        ["mode with the type of a file"] = new(new Archive().Entry('0', "f", change: header => "0104755\0"u8.CopyTo(header.AsSpan(100)))),
        ["mode with leading spaces"] = new(new Archive().Entry('0', "f", change: header => " 4755 \0\0"u8.CopyTo(header.AsSpan(100)))),

        // Attributes.
        ["attribute twice"] = new(new Archive().Pax('x', ("SCHILY.xattr.user.a", "one"), ("SCHILY.xattr.user.a", "two")).Entry('0', "f")),
        ["attribute in two extended headers"] = new(new Archive().Pax('x', ("SCHILY.xattr.user.a", "one")).Pax('x', ("SCHILY.xattr.user.b", "two")).Entry('0', "f")),
        // The same as for sizes.
        ["attribute in a global header"] = new(new Archive().Pax('g', ("SCHILY.xattr.user.a", "one")).Entry('0', "f"), Twin: new Archive().Entry('0', "f")),
        // Go drops it.
        ["attribute without a value"] = new(new Archive().Pax('x', ("SCHILY.xattr.user.a", "")).Entry('0', "f"), By.Tar),
        ["attribute with an equals sign"] = new(new Archive().Pax('x', ("SCHILY.xattr.user.a", "b=c\nd")).Entry('0', "f")),

        // Sums.
        ["sum of signed bytes"] = new(new Archive().Entry('0', "\u00e9\u00ff", isSumSigned: true)),
        ["sum of unsigned bytes"] = new(new Archive().Entry('0', "\u00e9\u00ff")),

        // Extended headers.
        ["record whose length says too much"] = new(new Archive().Entry('x', "pax", "99 path=p\n"u8.ToArray()).Entry('0', "f"), Refusal: "extended header is malformed"),
        ["record whose length says too little"] = new(new Archive().Entry('x', "pax", "8 path=p\n"u8.ToArray()).Entry('0', "f"), Refusal: "extended header is malformed"),
        ["record without a key"] = new(new Archive().Entry('x', "pax", "5 =p\n"u8.ToArray()).Entry('0', "f"), Refusal: "extended header is malformed"),
        ["record that hides another"] = new(new Archive().Pax('x', ("comment", "x\n12 path=evil\n")).Entry('0', "f")),
        ["extended header without an entry"] = new(new Archive().File("f").Pax('x', ("path", "p"))),
        ["extended header of no bytes"] = new(new Archive().Pax('x').File("f")),

        // Ends.
        ["more after the end"] = new(new Archive().File("f").Bytes(new byte[1024]).File("smuggled")),
        // Go rejects it, GNU tar ends there, and others read on.
        ["one block of zeros, then more"] = new(new Archive().File("f").Bytes(new byte[512]).File("smuggled"), Refusal: "block of zeros is followed by more"),
        ["one block of zeros, then rubbish"] = new(new Archive().File("f").Bytes(new byte[512]).Bytes(Encoding.ASCII.GetBytes(new string('r', 512))), Refusal: "block of zeros is followed by more"),
    };

    private async Task<string> TarAsync(byte[] archive)
    {
        await File.WriteAllBytesAsync(_scratch["archive.tar"], archive, TestContext.Current.CancellationToken);
        Directory.CreateDirectory(_scratch["tar"]);
        await HostProgram.RunAsync("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", _scratch["tar"], "-xpf", _scratch["archive.tar"]);
        return await TreeListing.ReadAsync(_scratch["tar"]);
    }

    private async Task<string> UmociAsync(byte[] archive)
    {
        OciLayout.Write(_scratch["layout"], archive);
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", _scratch["layout"] + ":latest", _scratch["umoci"]);
        return await TreeListing.ReadAsync(_scratch["umoci"]);
    }
}
