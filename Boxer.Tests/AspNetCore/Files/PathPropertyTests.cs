using System.Text;
using Boxer.AspNetCore.Files;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Tests.Support;
using CsCheck;
using static Boxer.Tests.Support.Generators;

namespace Boxer.Tests.AspNetCore.Files;

/// <summary>Property tests: a path is either rejected or names one file below its root.</summary>
public sealed class PathPropertyTests
{
    private static readonly string[] Words = ["a", "b.txt", "output", ".", "..", "...", "", "/", "//", "\0", "\\", " ", "~", "%2e%2e", "ä", "\uD800", "\u202E", "a\nb", new string('x', 255), new string('x', 256), new string('ä', 128)];

    private static readonly Gen<string> Paths = Gen.OneOf(
        Pick(Words).Array[0, 6].Select(names => string.Join('/', names)),
        Pick(Words).Array[0, 6].Select(string.Concat),
        Pick("a", "b").Array[60, 70].Select(names => string.Join('/', names)),
        Gen.String);

    private static readonly Gen<string> Names = Gen.OneOf(Gen.String[1, 60], Pick("...", " ", "\\", "~", new string('x', 255)))
        .Select(name => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(name.Replace('/', '_').Replace('\0', '_'))))
        .Where(name => name is not "." and not ".." && Encoding.UTF8.GetByteCount(name) <= CleanPath.MaxNameBytes);

    [Fact]
    public void StoredPath_accepts_only_clean_paths_below_the_root() =>
        Paths.Sample(
            path =>
            {
                if (StoredPath.FindFault(path) is null)
                {
                    // An accepted path is already normalized.
                    Assert.Equal("/srv/space/" + path, Path.GetFullPath("/srv/space/" + path));
                    Assert.DoesNotContain('\0', path);
                    Assert.Equal(path, Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(path)));
                }
            },
            iter: 50_000);

    [Fact]
    public void StoredPath_accepts_every_name_that_Linux_accepts() =>
        Names.Array[1, 10].Sample(names => Assert.Null(StoredPath.FindFault(string.Join('/', names))), iter: 10_000);

    [Fact]
    [Slow]
    public async Task Published_files_are_read_back_and_nothing_is_created_outside()
    {
        string top = Directory.CreateTempSubdirectory("boxer-paths-").FullName;
        string root = Path.Join(top, "home", "files");
        try
        {
            using FileStore store = FileStore.Open(root, new FileStoreLimits { MaxBytes = 1 << 20, MaxFiles = 100_000 });
            FileSpace space = store.GetSpace("one");
            string[] around = [.. Directory.GetFileSystemEntries(top), .. Directory.GetFileSystemEntries(Path.Join(top, "home")), .. Directory.GetFileSystemEntries(root)];
            await Paths.SampleAsync(
                async path =>
                {
                    byte[] content = Encoding.UTF8.GetBytes(path);
                    try
                    {
                        using StagedFile staged = await space.StageAsync(new MemoryStream(content), 1 << 20);
                        staged.Publish(path);
                    }
                    catch (InvalidSandboxRequestException)
                    {
                        return;
                    }

                    await using Stream? stored = space.OpenRead(path);
                    using var read = new MemoryStream();
                    await stored!.CopyToAsync(read);
                    Assert.Equal(content, read.ToArray());
                    space.Delete(path);
                },
                iter: 2_000,
                threads: 1);
            Assert.Equal(around, (string[])[.. Directory.GetFileSystemEntries(top), .. Directory.GetFileSystemEntries(Path.Join(top, "home")), .. Directory.GetFileSystemEntries(root)]);
        }
        finally
        {
            Directory.Delete(top, recursive: true);
        }
    }

    [Fact]
    public void LayerPath_Split_returns_plain_names_only() =>
        Gen.OneOf(Gen.Byte.Array[0, 40], Paths.Select(Encoding.UTF8.GetBytes)).Sample(
            name =>
            {
                byte[][] parts;
                try
                {
                    parts = LayerPath.Split(name);
                }
                catch (InvalidDataException)
                {
                    return;
                }

                Assert.All(parts, part =>
                {
                    Assert.Equal(0, part[^1]);
                    Assert.InRange(part.Length, 2, 256);
                    Assert.DoesNotContain((byte)'/', part);
                    Assert.False(part.AsSpan().SequenceEqual("..\0"u8) || part.AsSpan().SequenceEqual(".\0"u8));
                });
            },
            iter: 20_000);
}
