namespace Boxer.Tests.Support;

/// <summary>Lists directory trees as text with all properties of their entries, to compare them.</summary>
internal static class TreeListing
{
    // A Python program: names are bytes, not text.
    private const string Program = """
        import hashlib, os, stat, sys
        root = os.fsencode(sys.argv[1])
        first = {}
        def show(path):
            status = os.lstat(path)
            name = os.path.relpath(path, root)
            kind = stat.S_IFMT(status.st_mode)
            line = [repr(name)[1:], oct(status.st_mode), str(status.st_uid), str(status.st_gid)]
            if kind != stat.S_IFDIR:
                line += [str(status.st_nlink), str(status.st_size), first.setdefault((status.st_dev, status.st_ino), line[0])]
            if kind != stat.S_IFDIR or path != root:
                line.append("%d.%09d" % divmod(status.st_mtime_ns, 10 ** 9))
            if kind == stat.S_IFLNK:
                line.append(repr(os.readlink(path)))
            elif kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    line.append(hashlib.file_digest(file, "md5").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.md5(file.read()).hexdigest())
            for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
                line.append(attribute + "=" + os.getxattr(path, attribute, follow_symlinks=False).hex())
            print(" ".join(line))
        def walk(path):
            show(path)
            for name in sorted(os.listdir(path)):
                child = os.path.join(path, name)
                if stat.S_ISDIR(os.lstat(child).st_mode):
                    walk(child)
                else:
                    show(child)
        walk(root)
        """;

    /// <summary>Lists the root and all entries below it: type, mode, owner, links, size, time in nanoseconds, target, content and attributes.</summary>
    /// <param name="root">Root of the tree. Its own time is left out.</param>
    public static Task<string> ReadAsync(string root) =>
        HostProgram.RunAsync("/usr/bin/python3", "-c", Program, root);
}
