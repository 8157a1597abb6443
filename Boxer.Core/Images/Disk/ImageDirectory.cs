using System.Text;
using Boxer.Diagnostics;
using Boxer.Images.Manifests;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Disk;

/// <summary>
/// The files of a store, below one directory that only this process's user may enter. Content is kept by digest. It is written under
/// <c>tmp</c>, synced, and renamed into place, so that content in place is always complete.
/// </summary>
/// <remarks>
/// <code>
/// layers/sha256/&lt;diff id&gt;/       a layer, unpacked for overlayfs
/// layers/sha256/&lt;diff id&gt;.implied  the layer's implied directories (those without an entry in the archive), if any
/// roots/sha256/&lt;manifest&gt;-&lt;top&gt;/ a flattened root, including this top layer
/// roots/sha256/&lt;manifest&gt;-implied/ the tree of ImpliedDirectories for an image
/// blobs/sha256/&lt;digest&gt;         manifests, configs, and the layers of flattened roots
/// blobs/sha256/&lt;digest&gt;.origins the origins that delivered the blob of a layer, with the diff id that was verified
/// references/&lt;sha256 of text&gt;   the manifest that a reference was resolved to; the file's time is the last use
/// images/&lt;algorithm&gt;-&lt;hex&gt;      shared lock (flock(2)) of each process that has the image ready
/// store.lock                    shared lock of processes that add or look for content, exclusive lock of one that removes
/// tmp/&lt;id&gt;/, tmp/&lt;id&gt;.lock      unfinished content of one process, which holds the lock while it lives
/// </code>
/// </remarks>
internal sealed class ImageDirectory : IDisposable
{
    // Many registries may have the same base layer: the most recent ones are enough.
    private const int MaxOrigins = 100;
    private readonly string _home;
    private readonly ClaimedDirectory _temporary;

    /// <summary>Checks the directory, and creates missing parts.</summary>
    /// <param name="home">The directory.</param>
    /// <exception cref="SandboxPrivilegeException">Other users may enter the directory, or it is not a directory.</exception>
    public ImageDirectory(string home)
    {
        _home = home;
        PrivateDirectory.Ensure(home);
        foreach (string name in (string[])["tmp", "layers", "roots", "blobs", "references", "images"])
        {
            Directory.CreateDirectory(Path.Combine(home, name), PrivateDirectory.Mode);
        }

        _temporary = ClaimedDirectory.Create(TemporaryParent, () => Guid.NewGuid().ToString("N"));
        Locks = new(home);
        References = new(Path.Combine(home, "references"), Write);
    }

    /// <summary>Locks between the processes that use the store.</summary>
    public StoreLocks Locks { get; }

    /// <summary>References and the manifests that they were resolved to.</summary>
    public StoredReferences References { get; }

    /// <summary>Gets the path of an unpacked layer, which need not exist.</summary>
    /// <param name="diffId">The layer's diff id.</param>
    public string LayerPath(ImageDigest diffId) => Path.Combine(_home, "layers", diffId.Algorithm, diffId.Hex);

    /// <summary>Gets the path of the file that lists a layer's implied directories. A layer without any has no such file.</summary>
    /// <param name="diffId">The layer's diff id.</param>
    public string ImpliedPath(ImageDigest diffId) => LayerPath(diffId) + ".implied";

    /// <summary>Gets the path of the tree that restores the implied directories of an image; it need not exist.</summary>
    /// <param name="manifest">Digest of the image's manifest.</param>
    public string ImpliedRootPath(ImageDigest manifest) => Path.Combine(_home, "roots", manifest.Algorithm, $"{manifest.Hex}-implied");

    /// <summary>Gets the path of a flattened root, which need not exist.</summary>
    /// <param name="manifest">Digest of the image's manifest.</param>
    /// <param name="top">Digest of the top layer's archive.</param>
    public string RootPath(ImageDigest manifest, ImageDigest top) =>
        Path.Combine(_home, "roots", manifest.Algorithm, $"{manifest.Hex}-{top.Hex[..16]}");

    /// <summary>Gets the path of an empty layer, and creates it if missing.</summary>
    /// <param name="number">Number of the empty layer: overlayfs rejects the same directory twice.</param>
    public string MakeEmptyLayer(int number) => Directory.CreateDirectory(Path.Combine(_home, "layers", $"empty{number}")).FullName;

    /// <summary>Gets the path of a blob, which need not exist.</summary>
    /// <param name="digest">The blob's digest.</param>
    public string BlobPath(ImageDigest digest) => Path.Combine(_home, "blobs", digest.Algorithm, digest.Hex);

    /// <summary>Gets the path of the file that lists the origins of a layer's blob.</summary>
    /// <param name="digest">The blob's digest.</param>
    public string OriginsPath(ImageDigest digest) => BlobPath(digest) + ".origins";

    /// <summary>Gets whether an origin has delivered the verified blob of a layer before.</summary>
    /// <param name="digest">The blob's digest.</param>
    /// <param name="origin">The diff id that was verified, and the origin.</param>
    public bool HasOrigin(ImageDigest digest, string origin) => ReadOrigins(digest).Contains(origin, StringComparer.Ordinal);

    /// <summary>Records that an origin has delivered the verified blob of a layer. Two concurrent calls may lose one record; the blob is then read from that origin again.</summary>
    /// <param name="digest">The blob's digest.</param>
    /// <param name="origin">The diff id that was verified, and the origin.</param>
    public void AddOrigin(ImageDigest digest, string origin)
    {
        string[] known = ReadOrigins(digest);
        if (!known.Contains(origin, StringComparer.Ordinal))
        {
            Write(OriginsPath(digest), Encoding.UTF8.GetBytes(string.Join('\n', known.TakeLast(MaxOrigins - 1).Append(origin))));
        }
    }

    /// <summary>Gets a new path for unfinished content. Leftovers at that path are removed when this process ends, or after it.</summary>
    public string NewTemporaryPath() => Path.Combine(_temporary.Path, Guid.NewGuid().ToString("N"));

    /// <summary>Creates an empty directory for a tree. Its mode, 0755, is that of a root that no archive has an entry for.</summary>
    /// <param name="path">The directory.</param>
    public static void MakeRoot(string path)
    {
        Directory.CreateDirectory(path);
        File.SetUnixFileMode(path, (UnixFileMode)0x1ED); // 0755
    }

    /// <summary>Moves a finished directory to its final path. If another process was faster, its directory stays and this one is removed.</summary>
    /// <param name="temporary">The finished directory.</param>
    /// <param name="target">The final path.</param>
    public static void Commit(string temporary, string target)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!, PrivateDirectory.Mode);
        if (!WholeFile.TryCommitDirectory(temporary, target))
        {
            TreeRemover.Remove(temporary);
        }
    }

    /// <summary>Moves an unpacked layer to its final path.</summary>
    /// <param name="temporary">The unpacked layer.</param>
    /// <param name="diffId">The layer's diff id.</param>
    /// <param name="implied">The layer's implied directories.</param>
    public void CommitLayer(string temporary, ImageDigest diffId, IReadOnlyList<ReadOnlyMemory<byte>> implied)
    {
        if (implied.Count > 0)
        {
            // Before the layer, so that no layer is in place without this file.
            Write(ImpliedPath(diffId), file =>
            {
                foreach (ReadOnlyMemory<byte> path in implied)
                {
                    file.Write(path.Span);
                    file.WriteByte(0);
                }
            });
        }

        Commit(temporary, LayerPath(diffId));
    }

    /// <summary>Counts the implied directories of a layer.</summary>
    /// <param name="diffId">The layer's diff id.</param>
    /// <returns>Number of directories, and bytes of all their paths.</returns>
    public (long Count, long Bytes) CountImplied(ImageDigest diffId)
    {
        if (!File.Exists(ImpliedPath(diffId)))
        {
            return default;
        }

        using FileStream file = File.OpenRead(ImpliedPath(diffId));
        Span<byte> buffer = stackalloc byte[4096];
        long count = 0;
        int length;
        while ((length = file.Read(buffer)) > 0)
        {
            count += buffer[..length].Count((byte)0);
        }

        return (count, file.Length - count);
    }

    /// <summary>Reads the implied directories of a layer.</summary>
    /// <param name="diffId">The layer's diff id.</param>
    /// <returns>Paths in Latin-1: every byte of a name is one character.</returns>
    public IReadOnlySet<string> ReadImplied(ImageDigest diffId)
    {
        var paths = new HashSet<string>(StringComparer.Ordinal);
        if (File.Exists(ImpliedPath(diffId)))
        {
            ReadOnlySpan<byte> content = File.ReadAllBytes(ImpliedPath(diffId));
            foreach (Range path in content.Split((byte)0))
            {
                paths.Add(Encoding.Latin1.GetString(content[path]));
            }

            // The part after the last NUL is not a path.
            paths.Remove("");
        }

        return paths;
    }

    /// <summary>Moves a finished file to its final path, and replaces an existing file.</summary>
    /// <param name="temporary">The finished file.</param>
    /// <param name="target">The final path.</param>
    public static void CommitFile(string temporary, string target)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!, PrivateDirectory.Mode);
        WholeFile.Commit(temporary, target, isDurable: true);
    }

    /// <summary>Reads a small blob, such as a manifest or a config.</summary>
    /// <param name="digest">The blob's digest.</param>
    /// <param name="maxBytes">Maximum size in bytes. The digest may be that of a layer.</param>
    /// <returns>The blob's bytes; <see langword="null"/> if it is missing, damaged or larger.</returns>
    public byte[]? ReadBlob(ImageDigest digest, long maxBytes)
    {
        var file = new FileInfo(BlobPath(digest));
        if (!file.Exists || file.Length > Math.Min(maxBytes, ImageContent.MaxConfigBytes))
        {
            return null;
        }

        byte[] content = File.ReadAllBytes(file.FullName);
        return digest.Of(content) == digest ? content : null;
    }

    /// <summary>Deletes the blob of a layer if its content has another digest.</summary>
    /// <param name="blob">The blob, which exists.</param>
    /// <param name="logger">Receives a warning if the blob is damaged.</param>
    /// <param name="cancellationToken">Cancels the operation; the blob stays.</param>
    public async Task RemoveIfDamagedAsync(ImageDescriptor blob, ILogger logger, CancellationToken cancellationToken)
    {
        string path = BlobPath(blob.Digest);
        FileStream file = File.OpenRead(path);
        await using (file.ConfigureAwait(false))
        {
            using var verifying = new VerifyingStream(file, blob.Digest, null, $"blob {blob.Digest}");
            try
            {
                await verifying.CompleteAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (RegistryException fault)
            {
                ImageLog.StoreDamaged(logger, blob.Digest.ToString(), fault.Message);
                File.Delete(path);
            }
        }
    }

    /// <summary>
    /// Stores the manifest and the config of an image, and holds the image. While it is held, no process removes content that it names, including
    /// content that is added later.
    /// </summary>
    /// <param name="digest">Digest of the manifest.</param>
    /// <param name="manifest">The manifest.</param>
    /// <param name="configDigest">Digest of the config.</param>
    /// <param name="config">The config.</param>
    /// <param name="cancellationToken">Cancels the wait for a removal of content.</param>
    /// <returns>The lock that holds the image.</returns>
    public async Task<FileLock> HoldAsync(ImageDigest digest, byte[] manifest, ImageDigest configDigest, byte[] config, CancellationToken cancellationToken)
    {
        using FileLock shared = await Locks.ShareAsync(cancellationToken).ConfigureAwait(false);
        FileLock hold = Locks.Hold(digest);
        try
        {
            Write(BlobPath(configDigest), config);
            Write(BlobPath(digest), manifest);
            return hold;
        }
        catch
        {
            hold.Dispose();
            throw;
        }
    }

    /// <summary>Gets the paths of all content: layers, flattened roots and blobs. Files about layers come after the layers.</summary>
    public IEnumerable<string> Contents() => ((string[])["layers", "roots", "blobs"])
        .SelectMany(kind => Directory.GetDirectories(Path.Combine(_home, kind), "sha*"))
        .SelectMany(directory => (string[])[.. Directory.GetDirectories(directory), .. Directory.GetFiles(directory)]);

    /// <summary>Gets the owner of content: a root belongs to its image, everything else to itself.</summary>
    /// <param name="content">A path of <see cref="Contents"/>.</param>
    public string OwnerOf(string content) =>
        content.StartsWith(Path.Combine(_home, "roots") + "/", StringComparison.Ordinal)
            ? Path.Combine(Path.GetDirectoryName(content)!, Path.GetFileName(content).Split('-')[0])
            : content;

    /// <summary>Gets the owner of the roots of an image, including roots that do not exist yet.</summary>
    /// <param name="manifest">Digest of the image's manifest.</param>
    public string RootOwner(ImageDigest manifest) => Path.Combine(_home, "roots", manifest.Algorithm, manifest.Hex);

    /// <summary>Gets the paths of an image's flattened roots and of its tree of implied directories, as far as they exist.</summary>
    /// <param name="manifest">Digest of the image's manifest.</param>
    public IEnumerable<string> Roots(ImageDigest manifest)
    {
        string directory = Path.Combine(_home, "roots", manifest.Algorithm);
        return Directory.Exists(directory) ? Directory.GetFileSystemEntries(directory, manifest.Hex + "-*") : [];
    }

    /// <summary>
    /// Gets roots in the form of one file, <c>roots/sha256/&lt;manifest&gt;-&lt;top&gt;.erofs</c>, which earlier versions of Boxer made. Roots of held
    /// images are left out: a process of such a version may still use them.
    /// </summary>
    public IEnumerable<string> ObsoleteRoots() => Contents().Where(content => content.EndsWith(".erofs", StringComparison.Ordinal)
        && ImageDigest.TryParse(Path.GetFileName(Path.GetDirectoryName(content)) + ":" + Path.GetFileName(content).Split('-')[0], out ImageDigest manifest)
        && !Locks.IsHeld(manifest));

    /// <summary>Moves content away from its final path, atomically.</summary>
    /// <param name="path">The content.</param>
    /// <returns>The new path, for the caller to delete.</returns>
    public string Discard(string path)
    {
        string discarded = NewTemporaryPath();
        Check.Result(Stdio.rename(path, discarded), "rename", path);
        return discarded;
    }

    /// <summary>Claims the unfinished content of dead processes: directories whose lock nobody holds.</summary>
    /// <returns>Directories to delete, forget and dispose, one at a time.</returns>
    public IEnumerable<ClaimedDirectory> ClaimAbandoned() =>
        ClaimedDirectory.FindNames(TemporaryParent).Select(name => ClaimedDirectory.TryClaim(TemporaryParent, name)).OfType<ClaimedDirectory>();

    /// <summary>Removes the unfinished content of this process.</summary>
    public void Dispose()
    {
        TreeRemover.Remove(_temporary.Path);
        _temporary.Forget();
        _temporary.Dispose();
    }

    private string TemporaryParent => Path.Combine(_home, "tmp");

    private void Write(string target, byte[] content) => Write(target, file => file.Write(content));

    private void Write(string target, Action<FileStream> write)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!, PrivateDirectory.Mode);
        WholeFile.Write(target, NewTemporaryPath(), write, isDurable: true);
    }

    private string[] ReadOrigins(ImageDigest digest)
    {
        string path = OriginsPath(digest);
        return File.Exists(path) ? File.ReadAllLines(path) : [];
    }
}
