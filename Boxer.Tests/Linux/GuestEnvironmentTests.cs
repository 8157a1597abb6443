using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>The environment of a command: user, home, files, network, and permissions.</summary>
[Collection(Sandboxes.Name)]
public sealed class GuestEnvironmentTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_default_user_can_run_ordinary_programs()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Python("""
                import multiprocessing, os, socket, tempfile
                print(os.getuid(), os.environ["HOME"])
                with multiprocessing.Lock(): print("lock")
                print(socket.gethostbyname("localhost"))
                with tempfile.NamedTemporaryFile() as f: f.write(b"x"); print("temp")
                server = socket.create_server(("localhost", 0)); socket.create_connection(server.getsockname()); print("loopback")
                open(os.path.expanduser("~/file"), "w").write("x"); print("home")
                with multiprocessing.Pool(2) as pool: print(sum(pool.map(abs, [-1, -2])))
                """),
            Cancel);

        Assert.Equal(("65534 /home/boxer\nlock\n127.0.0.1\ntemp\nloopback\nhome\n3\n", ""), (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task A_program_that_pip_installed_in_the_home_is_found()
    {
        SandboxRequest request = Shell("""
            set -e
            cd /tmp && mkdir pkg && cd pkg
            printf 'def main():\n    print("from pip")\n' > hello_boxer.py
            python3 - <<'EOF'
            import zipfile, base64, hashlib
            files = {
                "hello_boxer.py": open("hello_boxer.py").read(),
                "hello_boxer-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: hello-boxer\nVersion: 1\n",
                "hello_boxer-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                "hello_boxer-1.dist-info/entry_points.txt": "[console_scripts]\nhello-boxer = hello_boxer:main\n",
            }
            record = "".join(f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b'=').decode()},{len(t.encode())}\n" for n, t in files.items())
            files["hello_boxer-1.dist-info/RECORD"] = record + "hello_boxer-1.dist-info/RECORD,,\n"
            with zipfile.ZipFile("hello_boxer-1-py3-none-any.whl", "w") as z:
                for n, t in files.items(): z.writestr(n, t)
            EOF
            pip install --user --no-index --break-system-packages --quiet ./hello_boxer-1-py3-none-any.whl
            hello-boxer
            """);
        request.Limits.WallClock = TimeSpan.FromMinutes(5);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("from pip\n", result.StandardOutput);
    }

    [Theory]
    [InlineData("0", "0 0 /root")]
    [InlineData("nobody", "65534 65534 /home/boxer")]
    [InlineData("daemon", "1 1 /home/boxer")]
    [InlineData("1234", "1234 1234 /home/boxer")]
    [InlineData("1234:5678", "1234 5678 /home/boxer")]
    [InlineData("daemon:tty", "1 5 /home/boxer")]
    public async Task The_user_can_be_chosen(string user, string expected)
    {
        SandboxRequest request = Shell("echo $(id -u) $(id -g) $HOME; touch $HOME/x && test -f $HOME/x");
        request.User = user;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((expected + "\n", 0), (result.StandardOutput, result.ExitCode));
    }

    [Fact]
    public async Task An_unknown_user_is_rejected()
    {
        SandboxRequest request = Shell("id");
        request.User = "mallory";

        InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Equal("User", Assert.Single(exception.Faults).Field);
        Assert.Contains("mallory", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0:70000")]
    [InlineData("root:65536")]
    public async Task User_0_in_a_group_outside_its_namespace_is_rejected(string user)
    {
        SandboxRequest request = Shell("id");
        request.User = user;

        InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        SandboxFault fault = Assert.Single(exception.Faults);
        Assert.Equal(("User", $"'{user}' is user 0 in group {user.Split(':')[1]}; user 0 has ids up to 65535 only. Give another group, such as 0:0."), (fault.Field, fault.Message));
    }

    [Fact]
    public async Task Apt_get_works_as_user_0_and_reads_lists_as_its_own_user()
    {
        SandboxRequest request = Shell("""
            set -e
            mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin
            printf 'Package: boxer-hello\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.invalid>\nDescription: t\n' > /tmp/p/DEBIAN/control
            printf '#!/bin/sh\necho installed as $(stat -c %%U:%%G /usr/bin/boxer-owned)\n' > /tmp/p/usr/bin/boxer-hello
            printf '#!/bin/sh\nchown games:tty /usr/bin/boxer-owned\n' > /tmp/p/DEBIAN/postinst
            : > /tmp/p/usr/bin/boxer-owned
            chmod 755 /tmp/p/usr/bin/boxer-hello /tmp/p/DEBIAN/postinst
            dpkg-deb --root-owner-group -b /tmp/p /tmp/p.deb > /dev/null
            cd /tmp
            printf 'Package: boxer-hello\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.invalid>\nFilename: ./p.deb\nSize: %s\nSHA256: %s\n' \
                $(stat -c %s p.deb) $(sha256sum p.deb | cut -d' ' -f1) > Packages
            echo 'deb [trusted=yes] file:/tmp ./' > list
            get() { apt-get -qq -o Dir::Etc::sourcelist=/tmp/list -o Dir::Etc::sourceparts=- "$@" > log 2>&1 || { cat log; exit 1; }; }
            get update
            get install -y boxer-hello
            boxer-hello
            stat -c '%U' /var/lib/apt/lists/partial
            """);
        (request.User, request.Limits.WallClock) = ("0", TimeSpan.FromMinutes(5));

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("installed as games:tty\n_apt\n", 0), (result.StandardOutput, result.ExitCode));
    }

    [Fact]
    public async Task Environment_WorkingDirectory_and_StandardInput_are_applied()
    {
        SandboxRequest request = Shell("pwd; echo $GREETING; cat; echo; echo $PATH");
        request.WorkingDirectory = "/made/for/this";
        request.Environment["GREETING"] = "grüße = ok";
        request.WithStandardInput("from stdin");

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        string[] lines = result.StandardOutput.Split('\n');
        Assert.Equal(["/made/for/this", "grüße = ok", "from stdin"], lines[..3]);
        Assert.EndsWith(":/home/boxer/.local/bin", lines[3], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_large_stdin_arrives_whole_and_an_unread_one_does_not_block()
    {
        SandboxRequest read = Shell("sha256sum");
        read.StandardInput = new byte[5_000_000];
        SandboxRequest ignored = Shell("echo done");
        ignored.StandardInput = new byte[5_000_000];

        Assert.StartsWith(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(new byte[5_000_000])), (await shared.Runner.RunAsync(read, Cancel)).StandardOutput, StringComparison.Ordinal);
        Assert.Equal("done\n", (await shared.Runner.RunAsync(ignored, Cancel)).StandardOutput);
    }

    [Fact]
    public async Task Input_files_are_read_only_for_the_command_and_owned_by_root()
    {
        SandboxRequest request = Shell("stat -c '%u %a %s' /job/data /job/tool /job; /job/tool; echo x >> /job/data; rm -f /job/data; echo $?");
        request.Files.Add(SandboxFile.FromBytes("job/data", new byte[300_000]));
        SandboxFile tool = SandboxFile.FromText("job/tool", "#!/bin/sh\necho ran\n\n");
        tool.Executable = true;
        request.Files.Add(tool);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("0 444 300000\n0 555 20\n0 755 60\nran\n1\n", System.Text.RegularExpressions.Regex.Replace(result.StandardOutput, "755 \\d+", "755 60"));
        Assert.Contains("Permission denied", result.StandardError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_root_is_writable_for_user_0_and_discarded_after_the_run()
    {
        SandboxRequest write = Shell("rm -rf /usr/share/dict /etc/passwd; echo mine > /etc/mine; cat /etc/mine");
        write.User = "0";
        SandboxResult first = await shared.Runner.RunAsync(write, Cancel);
        SandboxResult second = await shared.Runner.RunAsync(Shell("cat /etc/mine; test -s /etc/passwd && echo intact"), Cancel);

        Assert.Equal("mine\n", first.StandardOutput);
        Assert.Equal("intact\n", second.StandardOutput);
    }

    [Fact]
    public async Task The_network_none_has_loopback_only_and_fails_at_once()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Python("""
                import errno, os, socket, time
                print(sorted(n for _, n in socket.if_nameindex()))
                for address in [("192.0.2.1", 80), ("198.51.100.1", 53)]:
                    start = time.monotonic()
                    try:
                        socket.create_connection(address, timeout=10)
                    except OSError as e:
                        print(e.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), time.monotonic() - start < 1)
                print(repr(open("/etc/resolv.conf").read()))
                """),
            Cancel);

        Assert.Equal("['lo']\nTrue True\nTrue True\n''\n", result.StandardOutput);
    }

    [Fact]
    public async Task Limits_of_a_request_are_not_those_of_the_next()
    {
        SandboxRequest small = Shell("ulimit -n");
        small.Limits.OpenFiles = 33;

        Assert.Equal("33\n", (await shared.Runner.RunAsync(small, Cancel)).StandardOutput);
        Assert.Equal("256\n", (await shared.Runner.RunAsync(Shell("ulimit -n"), Cancel)).StandardOutput);
    }
}
