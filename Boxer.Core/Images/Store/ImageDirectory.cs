using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Boxer.Images.Manifests;
using Boxer.Images.Roots;
using Boxer.Linux;
using Boxer.Native;

namespace Boxer.Images.Store;

/// <summary>
/// The files of a store, below one directory that is this process's user's alone. Content is kept by digest; it is made under
/// <c>tmp</c>, synced, and renamed into place, so that what is in place is whole.
/// </summary>
/// <remarks>
/// <code>
/// layers/sha256/&lt;diff id&gt;/       a layer, unpacked for overlayfs
/// layers/sha256/&lt;diff id&gt;.implied  the directories that its archive has no entry for, if any
/// roots/sha256/&lt;manifest&gt;-&lt;top&gt;/ a flattened root, with the top layer that was put on it
/// roots/sha256/&lt;manifest&gt;-implied/ what ImpliedDirectories puts on the layers of an image
/// blobs/sha256/&lt;digest&gt;         manifests, configs, and the layers of flattened roots
/// blobs/sha256/&lt;digest&gt;.origins the places that gave the blob of a layer, and the diff id that it was seen to have
/// references/&lt;sha256 of text&gt;   which manifest a reference was resolved to; its time says when that was last used
/// images/&lt;algorithm&gt;-&lt;hex&gt;      locked together (flock(2)) by the processes that have the image ready
/// store.lock                    locked together by those who add or look for content, alone by one who removes
/// tmp/&lt;id&gt;/, tmp/&lt;id&gt;.lock      what one process is making; the lock is held (flock(2)) while it lives
/// </code>
/// </remarks>
internal sealed class ImageDirectory : IDisposable
{
    private static readonly TimeSpan LockInterval = TimeSpan.FromMilliseconds(5);

    // Many registries may have the same base layer: the last ones are enough.
    private const int MaxOrigins = 100;
    private readonly string _home;
    private readonly ClaimedDirectory _temporary;

    /// <summary>Checks the directory, and makes what is missing.</summary>
    /// <param name="home">The directory.</param>
    /// <exception cref="SandboxPrivilegeException">It is not a directory of this process's user alone.</exception>
    public ImageDirectory(string home)
    {
        _home = home;
        PrivateDirectory.Ensure(home);
        foreach (string name in (string[])["tmp", "layers", "roots", "blobs", "references", "images"])
        {
            Directory.CreateDirectory(Path.Combine(home, name), PrivateDirectory.Mode);
        }

        _temporary = ClaimedDirectory.Create(TemporaryParent, () => Guid.NewGuid().ToString("N"));
    }

    /// <summary>Where an unpacked layer is or would be.</summary>
    /// <param name="diffId">Its diff id.</param>
    public string LayerPath(ImageDigest diffId) => Path.Combine(_home, "layers", diffId.Algorithm, diffId.Hex);

    /// <summary>Where it is told which directories a layer has no entry for; there is no such file where it has all.</summary>
    /// <param name="diffId">The layer's diff id.</param>
    public string ImpliedPath(ImageDigest diffId) => LayerPath(diffId) + ".implied";

    /// <summary>Where the tree is or would be that is put on the layers of an image.</summary>
    /// <param name="manifest">The digest of the manifest.</param>
    public string ImpliedRootPath(ImageDigest manifest) => Path.Combine(_home, "roots", manifest.Algorithm, $"{manifest.Hex}-implied");

    /// <summary>Where a flattened root is or would be.</summary>
    /// <param name="manifest">The digest of the manifest.</param>
    /// <param name="top">The digest of the top layer.</param>
    public string RootPath(ImageDigest manifest, ImageDigest top) =>
        Path.Combine(_home, "roots", manifest.Algorithm, $"{manifest.Hex}-{top.Hex[..16]}");

    /// <summary>Where a blob is or would be.</summary>
    /// <param name="digest">Its digest.</param>
    public string BlobPath(ImageDigest digest) => Path.Combine(_home, "blobs", digest.Algorithm, digest.Hex);

    /// <summary>The file that lists which places gave the blob of a layer.</summary>
    /// <param name="digest">Its digest.</param>
    public string OriginsPath(ImageDigest digest) => BlobPath(digest) + ".origins";

    /// <summary>Whether a place gave the blob of a layer, whole and verified.</summary>
    /// <param name="digest">Its digest.</param>
    /// <param name="origin">The diff id that the blob was found to have, and the place.</param>
    public bool HasOrigin(ImageDigest digest, string origin) => ReadOrigins(digest).Contains(origin, StringComparer.Ordinal);

    /// <summary>Records that a place delivered the verified blob of a layer. Two concurrent calls may lose one record; that place is then read again.</summary>
    /// <param name="digest">Its digest.</param>
    /// <param name="origin">The diff id that the blob was found to have, and the place.</param>
    public void AddOrigin(ImageDigest digest, string origin)
    {
        string[] known = ReadOrigins(digest);
        if (!known.Contains(origin, StringComparer.Ordinal))
        {
            Write(OriginsPath(digest), Encoding.UTF8.GetBytes(string.Join('\n', known.TakeLast(MaxOrigins - 1).Append(origin))));
        }
    }

    /// <summary>A path for something that is being made. It does not exist yet; what is left there is removed with this process.</summary>
    public string NewTemporaryPath() => Path.Combine(_temporary.Path, Guid.NewGuid().ToString("N"));

    /// <summary>Puts a directory into place. If it is there already, by somebody who was faster, the new one is removed.</summary>
    /// <param name="temporary">The directory that was made.</param>
    /// <param name="target">Its place.</param>
    public static void Commit(string temporary, string target)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!, PrivateDirectory.Mode);
        if (!WholeFile.TryCommitDirectory(temporary, target))
        {
            TreeRemover.Remove(temporary);
        }
    }

    /// <summary>Puts an unpacked layer into place.</summary>
    /// <param name="temporary">The directory that was made.</param>
    /// <param name="diffId">Its diff id.</param>
    /// <param name="implied">The directories that it has no entry for.</param>
    public void CommitLayer(string temporary, ImageDigest diffId, IReadOnlyList<ReadOnlyMemory<byte>> implied)
    {
        if (implied.Count > 0)
        {
            // Before the layer: where that is, this is too.
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

    /// <summary>Counts the directories that a layer has no entry for.</summary>
    /// <param name="diffId">Its diff id.</param>
    /// <returns>How many there are, and the bytes of their paths.</returns>
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

    /// <summary>Reads which directories a layer has no entry for.</summary>
    /// <param name="diffId">Its diff id.</param>
    /// <returns>Their paths: Latin-1, so that every byte of a name is a character.</returns>
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

            // After the last NUL there is none.
            paths.Remove("");
        }

        return paths;
    }

    /// <summary>Puts a file into place, over what is there.</summary>
    /// <param name="temporary">The file that was made.</param>
    /// <param name="target">Its place.</param>
    public static void CommitFile(string temporary, string target)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!, PrivateDirectory.Mode);
        WholeFile.Commit(temporary, target, isDurable: true);
    }

    /// <summary>Reads a small blob.</summary>
    /// <param name="digest">Its digest.</param>
    /// <param name="maxBytes">The bytes that it may have: what a digest names may be a layer.</param>
    /// <returns>Its bytes; <see langword="null"/> if it is not there, damaged or larger.</returns>
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

    /// <summary>
    /// Keeps the manifest and the config of an image, and holds the image: from then on all that it names stays, also what comes into its
    /// place later.
    /// </summary>
    /// <param name="digest">The digest of the manifest.</param>
    /// <param name="manifest">The manifest.</param>
    /// <param name="configDigest">The digest of the config.</param>
    /// <param name="config">The config.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<FileLock> HoldAsync(ImageDigest digest, byte[] manifest, ImageDigest configDigest, byte[] config, CancellationToken cancellationToken)
    {
        using FileLock shared = await ShareAsync(cancellationToken).ConfigureAwait(false);
        FileLock hold = Hold(digest);
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

    /// <summary>Remembers which manifest a reference was resolved to.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="manifest">The digest of the manifest.</param>
    public void WriteReference(ImageReference reference, ImageDigest manifest) =>
        Write(ReferencePath(reference), JsonSerializer.SerializeToUtf8Bytes(
            new StoredReferenceJson { Reference = reference.ToString(), Digest = manifest.ToString() }, RegistryJson.Default.StoredReferenceJson));

    /// <summary>All references with what they were resolved to. What cannot be read is left out.</summary>
    public IReadOnlyList<StoredReference> ReadReferences() =>
        [.. Directory.EnumerateFiles(Path.Combine(_home, "references")).Select(ReadReference).OfType<StoredReference>()];

    /// <summary>Forgets a reference.</summary>
    /// <param name="reference">The reference.</param>
    public void RemoveReference(ImageReference reference) => File.Delete(ReferencePath(reference));

    /// <summary>Says that a reference is used now.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="now">The time.</param>
    public void Touch(ImageReference reference, DateTimeOffset now)
    {
        try
        {
            File.SetLastWriteTimeUtc(ReferencePath(reference), now.UtcDateTime);
        }
        catch (IOException)
        {
            // Forgotten meanwhile; whoever has the image keeps it.
        }
    }

    /// <summary>Keeps those away who remove content.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<FileLock> ShareAsync(CancellationToken cancellationToken)
    {
        FileLock? shared;
        while ((shared = FileLock.TryShare(StoreLockPath)) is null)
        {
            await Task.Delay(LockInterval, cancellationToken).ConfigureAwait(false);
        }

        return shared;
    }

    /// <summary>Keeps everybody else away, to remove content.</summary>
    /// <returns><see langword="null"/> where somebody adds or removes some.</returns>
    public FileLock? TryLock() => FileLock.TryTakeOrCreate(StoreLockPath);

    /// <summary>Holds an image, so that no process removes what it names. The caller keeps those away who remove content.</summary>
    /// <param name="digest">The digest of its manifest.</param>
    public FileLock Hold(ImageDigest digest) =>
        FileLock.TryShare(HoldPath(digest)) ?? throw new IOException($"{HoldPath(digest)} is locked by another program");

    /// <summary>Whether some process holds an image.</summary>
    /// <param name="digest">The digest of its manifest.</param>
    public bool IsHeld(ImageDigest digest)
    {
        using FileLock? taken = FileLock.TryTakeOrCreate(HoldPath(digest));
        if (taken is not null)
        {
            File.Delete(taken.Path);
        }

        return taken is null;
    }

    /// <summary>Images that some process held, and may still hold.</summary>
    public IEnumerable<ImageDigest> Holds() => Directory.GetFiles(Path.Combine(_home, "images"))
        .Select(path => ImageDigest.TryParse(Path.GetFileName(path).Replace('-', ':'), out ImageDigest digest) ? digest : (ImageDigest?)null)
        .OfType<ImageDigest>();

    /// <summary>Everything that is kept: layers, flattened roots and blobs; what tells about a layer after the layer.</summary>
    public IEnumerable<string> Contents() => ((string[])["layers", "roots", "blobs"])
        .SelectMany(kind => Directory.GetDirectories(Path.Combine(_home, kind), "sha*"))
        .SelectMany(directory => (string[])[.. Directory.GetDirectories(directory), .. Directory.GetFiles(directory)]);

    /// <summary>What a content belongs to: a root to its image, all else to itself.</summary>
    /// <param name="content">One of <see cref="Contents"/>.</param>
    public string OwnerOf(string content) =>
        content.StartsWith(Path.Combine(_home, "roots") + "/", StringComparison.Ordinal)
            ? Path.Combine(Path.GetDirectoryName(content)!, Path.GetFileName(content).Split('-')[0])
            : content;

    /// <summary>What the roots of an image belong to, those that are not made yet too.</summary>
    /// <param name="manifest">The digest of its manifest.</param>
    public string RootOwner(ImageDigest manifest) => Path.Combine(_home, "roots", manifest.Algorithm, manifest.Hex);

    /// <summary>Flattened roots of an image, and what is put on its layers.</summary>
    /// <param name="manifest">The digest of its manifest.</param>
    public IEnumerable<string> Roots(ImageDigest manifest)
    {
        string directory = Path.Combine(_home, "roots", manifest.Algorithm);
        return Directory.Exists(directory) ? Directory.GetFileSystemEntries(directory, manifest.Hex + "-*") : [];
    }

    /// <summary>
    /// Roots as one file, <c>roots/sha256/&lt;manifest&gt;-&lt;top&gt;.erofs</c>, which earlier versions of Boxer made. Only those that a process
    /// of such a version may still use, because it holds the image, are left out.
    /// </summary>
    public IEnumerable<string> ObsoleteRoots() => Contents().Where(content => content.EndsWith(".erofs", StringComparison.Ordinal)
        && ImageDigest.TryParse(Path.GetFileName(Path.GetDirectoryName(content)) + ":" + Path.GetFileName(content).Split('-')[0], out ImageDigest manifest)
        && !IsHeld(manifest));

    /// <summary>Takes content out of its place, at once and whole.</summary>
    /// <param name="path">The content.</param>
    /// <returns>Where it is now, to be removed.</returns>
    public string Discard(string path)
    {
        string discarded = NewTemporaryPath();
        Check.Result(Stdio.rename(path, discarded), "rename", path);
        return discarded;
    }

    /// <summary>Reads which manifest a reference was resolved to.</summary>
    /// <param name="reference">The reference.</param>
    /// <returns>The digest of the manifest; <see langword="null"/> if that is not known.</returns>
    public ImageDigest? ReadReference(ImageReference reference) => ReadReference(ReferencePath(reference))?.Manifest;

    // A damaged file is as good as none: the image is resolved again.
    private StoredReference? ReadReference(string path)
    {
        try
        {
            StoredReferenceJson? json = JsonSerializer.Deserialize(File.ReadAllBytes(path), RegistryJson.Default.StoredReferenceJson);
            return ImageReference.TryParse(json?.Reference, out ImageReference? reference) && ReferencePath(reference) == path && ImageDigest.TryParse(json?.Digest, out ImageDigest digest)
                ? new(reference, digest, new DateTimeOffset(File.GetLastWriteTimeUtc(path)))
                : null;
        }
        catch (Exception fault) when (fault is JsonException or FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Removes what processes left that are dead: those whose lock nobody holds.</summary>
    /// <returns>How many there were.</returns>
    public int RemoveAbandoned()
    {
        int removed = 0;
        foreach (string name in ClaimedDirectory.FindNames(TemporaryParent))
        {
            using ClaimedDirectory? dead = ClaimedDirectory.TryClaim(TemporaryParent, name);
            if (dead is not null)
            {
                OverlayMounts.UnmountBelow(dead.Path);
                TreeRemover.Remove(dead.Path);
                dead.Forget();
                removed++;
            }
        }

        return removed;
    }

    /// <summary>Removes what this process was making.</summary>
    public void Dispose()
    {
        TreeRemover.Remove(_temporary.Path);
        _temporary.Forget();
        _temporary.Dispose();
    }

    private string TemporaryParent => Path.Combine(_home, "tmp");

    private string StoreLockPath => Path.Combine(_home, "store.lock");

    private string HoldPath(ImageDigest digest) => Path.Combine(_home, "images", $"{digest.Algorithm}-{digest.Hex}");

    private string ReferencePath(ImageReference reference) =>
        Path.Combine(_home, "references", Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(reference.ToString()))));

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
