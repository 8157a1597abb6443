using System.Text.Json;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The root of an image is the same in every run, and reports no errors that a Linux machine does not report.</summary>
[Collection(Sandboxes.Name)]
public sealed class RootTests(SharedRunner shared, PythonImage image)
{
    private const string ImageName = "roots:1";

    private const string WholeRoot = """
        import hashlib, os, stat
        def content(path):
            # Half as many system calls as open() makes.
            descriptor = os.open(path, os.O_RDONLY)
            digest = hashlib.sha256()
            while part := os.read(descriptor, 1 << 20):
                digest.update(part)
            os.close(descriptor)
            return digest.hexdigest()
        total = hashlib.sha256()
        count = 0
        for path, directories, files in os.walk(b"/"):
            if path == b"/":
                directories[:] = [name for name in directories if name not in (b"proc", b"sys", b"dev", b"tmp", b"output", b"home")]
            directories.sort()
            for name in sorted(directories + files):
                full = os.path.join(path, name)
                status = os.lstat(full)
                is_directory = stat.S_ISDIR(status.st_mode)
                entry = [full, oct(status.st_mode), status.st_uid, status.st_gid, 0 if is_directory else status.st_size, 0 if is_directory else status.st_nlink]
                # Files that a run writes have their own times, and so have their directories.
                if not full.startswith(b"/etc") and not is_directory:
                    entry.append(status.st_mtime_ns)
                if stat.S_ISLNK(status.st_mode):
                    entry.append(os.readlink(full))
                elif stat.S_ISREG(status.st_mode) and os.access(full, os.R_OK):
                    entry.append(content(full))
                total.update(repr(entry).encode())
                count += 1
        print(count, total.hexdigest())
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("0", true)]
    [InlineData("65534", false)]
    [InlineData("65534", true)]
    public async Task Programs_that_read_symbolic_links_of_an_image_report_no_errors(string user, bool pooled)
    {
        SandboxRequest request = SharedRunner.Shell("""
            cd /tmp
            ls -l /bin /lib /sbin /bin/sh /etc/alternatives > long && grep -c ' -> ' long | grep -qv '^0$' && echo ls
            ls -lR /usr/bin /usr/lib/python3 > long && echo ls -R
            find /bin/ /etc/alternatives -type l -ls > links && test -s links && echo find
            cp -a /etc/alternatives /bin/sh . && test "$(readlink alternatives/*)" = "$(readlink /etc/alternatives/*)" && echo cp
            tar --xattrs -cf links.tar -C / etc/alternatives bin && mkdir untarred && tar --xattrs -xf links.tar -C untarred && test -L untarred/bin && echo tar
            python3 - <<'EOF'
            import errno, os, shutil
            print(os.listxattr("/bin", follow_symlinks=False))
            for name in "security.selinux", "security.capability", "trusted.overlay.opaque", "user.any":
                try:
                    print(name, os.getxattr("/bin", name, follow_symlinks=False))
                except OSError as fault:
                    print(name, errno.errorcode[fault.errno])
            print(os.readlink(shutil.copy2("/bin/sh", "copied", follow_symlinks=False)))
            shutil.copytree("/etc/alternatives", "tree", symlinks=True)
            open("own", "w").close()
            os.setxattr("own", "user.any", b"value")
            print(os.getxattr("own", "user.any", follow_symlinks=False), os.listxattr("own"))
            EOF
            """);
        request.User = user;
        request.Limits.WallClock = TimeSpan.FromMinutes(5);
        SandboxResult result;
        if (pooled)
        {
            BoxerOptions options = shared.Options;
            options.Pool.Enabled = true;
            await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
            result = await runner.WarmLongAsync(request);
        }
        else
        {
            result = await shared.Runner.RunAsync(request, Cancel);
        }

        Assert.Equal(
            ("ls\nls -R\nfind\ncp\ntar\n[]\nsecurity.selinux ENODATA\nsecurity.capability ENODATA\ntrusted.overlay.opaque ENODATA\nuser.any ENODATA\ndash\nb'value' ['user.any']\n", ""),
            (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task The_first_run_of_an_image_and_all_later_ones_have_the_same_kind_of_root_and_the_same_files()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("umoci"), "Needs umoci in PATH.");
        string work = Directory.CreateTempSubdirectory("boxer-roots-").FullName;
        try
        {
            await PushImageAsync(work);
            BoxerOptions options = image.Options();
            options.Home = Path.Join(work, "home");
            string first;
            await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
            {
                first = await LookAsync(runner);

                // An EROFS image that is built after the first run would be ready by then.
                await Task.Delay(TimeSpan.FromSeconds(4), Cancel);
                Assert.Equal(first, await LookAsync(runner));
            }

            options.Pool.Enabled = true;
            await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
            {
                Assert.Equal(first, await LookAsync(runner));
                Assert.Equal(first[first.IndexOf('\n', StringComparison.Ordinal)..], (await runner.WarmAsync(Listing())).StandardOutput);
            }

            Assert.Equal($"\n40 {new string('f', 138)}00 {new string('f', 138)}39 []\nENODATA\n42\n", first[first.IndexOf('\n', StringComparison.Ordinal)..]);
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    [Fact]
    public async Task Root_writes_are_gone_in_the_next_run_and_never_reach_the_host()
    {
        BoxerOptions options = shared.Options;
        string layers = Path.Join(options.Home, "layers");
        SandboxRequest look = SharedRunner.Python(WholeRoot);
        look.User = "0";
        look.Limits = new() { MemoryBytes = 512 * ByteSize.MiB, WallClock = TimeSpan.FromMinutes(5) };
        SandboxRequest write = SharedRunner.Shell("echo changed > /usr/bin/env; rm -rf /usr/lib/python3; echo made > /made; cat /usr/bin/env /made");
        write.User = "0";
        string before;
        string images;
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            SandboxResult result = await runner.RunAsync(look, Cancel);
            Assert.Equal((0, ""), (result.ExitCode, result.StandardError));
            before = result.StandardOutput;
            images = await TreeListing.ReadAsync(layers);
            Assert.Equal("changed\nmade\n", (await runner.RunAsync(write, Cancel)).StandardOutput);
            Assert.Equal(before, (await runner.RunAsync(look, Cancel)).StandardOutput);
        }

        options.Pool.Enabled = true;
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            Assert.Equal("changed\nmade\n", (await runner.WarmAsync(write)).StandardOutput);
            Assert.Equal(before, (await runner.RunAsync(look, Cancel)).StandardOutput);
        }

        Assert.Equal(images, await TreeListing.ReadAsync(layers));
    }

    [Fact]
    public async Task Processes_of_a_sandbox_have_no_file_of_this_host_open_but_their_images_and_those_are_read_only()
    {
        const string Program = """
            import os, stat, sys
            directory, sandbox, gofer = sys.argv[1:]
            # All that the gofer can see is this mount.
            image = open(f"/proc/{gofer}/mountinfo").read().split()[0]
            def describe(process, descriptor):
                path = f"/proc/{process}/fd/{descriptor}"
                target, status = os.readlink(path), os.stat(path)
                if target == "/dev/null" or target.startswith(("/memfd:", "anon_inode:")) or stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode):
                    return ""
                facts = dict(line.split() for line in open(f"/proc/{process}/fdinfo/{descriptor}") if line.startswith("mnt_id"))
                if facts["mnt_id:"] == image and os.fstatvfs(os.open(path, os.O_PATH)).f_flag & os.ST_RDONLY:
                    return "image, read-only"
                return target.replace(directory, "")
            for process in sandbox, gofer:
                print(open(f"/proc/{process}/cmdline").read().split("\0")[0])
                print([os.readlink(f"/proc/{process}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "mnt", "net", "ipc", "uts")])
                print([line.split()[5].split(",")[0] for line in open(f"/proc/{process}/mountinfo")], "usr" in os.listdir(f"/proc/{process}/root/"))
                print(sorted({describe(process, descriptor) for descriptor in os.listdir(f"/proc/{process}/fd")}))
            """;
        string[] before = [.. OwnTraces.Sandboxes()];
        await using OpenRun run = await OpenRun.StartAsync(shared.Runner, SharedRunner.Shell("exec 3</usr/bin/env 4</usr/lib; " + OpenRun.Counting));
        string sandbox = Assert.Single(OwnTraces.Sandboxes().Except(before, StringComparer.Ordinal));
        string[] processes = [.. ((string[])["runsc-sandbox", "runsc-gofer"]).Select(kind => $"{OwnTraces.FindProcess(sandbox, kind)}")];

        // The gofer's directory "/" is its own /proc/self/fd.
        Assert.Equal(
            """
            runsc-sandbox
            [True, True, True, True, True]
            ['ro'] False
            ['', 'image, read-only']
            runsc-gofer
            [True, True, True, True, True]
            ['ro'] True
            ['', '/', '/config.json', 'image, read-only']

            """,
            await HostProgram.RunAsync("/usr/bin/python3", ["-c", Program, Path.GetDirectoryName(sandbox["--root=".Length..])!, .. processes]));
    }

    // The last name of this directory takes more than 255 bytes of a directory block with its padding, for file systems that pack names.
    private async Task PushImageAsync(string work) => await HostProgram.RunAsync("sh", "-ec", """
        cp -rL "$1" "$2/layout"
        mkdir "$2/many"
        /usr/bin/python3 - "$2/many" <<'EOF'
        import os, sys
        for i in range(40):
            open(sys.argv[1] + "/" + "f" * 138 + "%02d" % i, "w").close()
        os.setxattr(sys.argv[1] + "/" + "f" * 138 + "00", "user.any", b"value")
        EOF
        umoci insert --image "$2/layout:latest" "$2/many" /many
        skopeo copy --quiet --dest-tls-verify=false "oci:$2/layout:latest" "docker://$3/library/$4"
        """, "sh", Environment.GetEnvironmentVariable(PythonImage.LayoutVariable)!, work, new Uri(image.Url).Authority, ImageName);

    private static SandboxRequest Listing() => new(ImageName, "sh", "-c", """
        python3 -c '
        import errno, os
        names = sorted(os.listdir("/many"))
        print()
        print(len(names), names[0], names[-1], os.listxattr("/many/" + names[0]))
        try: print(os.getxattr("/many/" + names[0], "user.any"))
        except OSError as fault: print(errno.errorcode[fault.errno])
        '
        ls -lR /many | grep -c .
        """);

    /// <returns>The root of its sandboxes' configuration, without the runner's own directory, and what a run lists.</returns>
    private static async Task<string> LookAsync(SandboxRunner runner)
    {
        SandboxResult listing = await runner.RunAsync(Listing(), Cancel);
        Assert.Equal("", listing.StandardError);
        await using OpenRun run = await OpenRun.StartAsync(runner, new SandboxRequest(ImageName, "sh", "-c", OpenRun.Counting));
        string digest = listing.ImageDigest["sha256:".Length..];
        IEnumerable<string> roots = OwnTraces.ReadSpecs()
            .Where(spec => spec.GetRawText().Contains(digest, StringComparison.Ordinal))
            .Select(spec => Path.GetFileName(spec.GetProperty("root").GetProperty("path").GetString()) + (spec.TryGetProperty("annotations", out JsonElement annotations) ? annotations.ToString() : ""));
        return Assert.Single(roots.Distinct()) + listing.StandardOutput;
    }
}
