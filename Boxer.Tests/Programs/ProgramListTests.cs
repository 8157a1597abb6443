using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Boxer.Images;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>
/// Common programs print the right output in a booted and in a pooled sandbox. The programs of the table run with the
/// default limits, except for the wall clock.
/// </summary>
[LongTests]
[Collection(RealPrograms.Name)]
public sealed class ProgramListTests(ProgramsImage programs)
{
    private const string Page = "<html><head></head><body><p>42</p></body></html>";

    private static readonly Dictionary<string, Program> Table = new()
    {
        ["git"] = new(
            """
            export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
            git init -q -b main /tmp/r
            cd /tmp/r
            echo hello > f
            git add f
            git -c user.name=a -c user.email=a@example.com commit -qm first
            git status --porcelain
            git fsck --strict
            git clone -q /tmp/r /tmp/copy
            cat /tmp/copy/f
            git rev-parse HEAD
            """,
            "hello\n93a3b63157b52d6279c5c20d4b933fe35d5f4061\n"),
        ["tar"] = new(
            """
            cd /tmp
            tar -C /usr -cf a.tar include
            mkdir x
            tar -C x -xf a.tar
            diff --no-dereference -r /usr/include x/include
            grep -c . /usr/include/stdio.h > n
            grep -c . x/include/stdio.h | cmp - n
            echo same
            """,
            "same\n"),
        ["node"] = new(
            """
            node -e 'console.log([1, 2, 3].map(x => x * x).join(), require("crypto").createHash("sha256").update("x").digest("hex"))'
            """,
            "1,4,9 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n"),
        ["java"] = new(
            """
            cd /tmp
            cat > Main.java <<'END'
            import java.util.stream.*;
            public class Main {
                public static void main(String[] args) {
                    System.out.println(IntStream.rangeClosed(1, 1000000).parallel().mapToLong(i -> i).sum());
                }
            }
            END
            javac Main.java
            java Main
            """,
            "500000500000\n"),
        ["gcc and make"] = new(
            """
            cd /tmp
            printf '#include <stdio.h>\nint main(void) { printf("%%d\\n", 6 * 7); return 0; }\n' > a.c
            printf '#include <iostream>\n#include <vector>\nint main() { std::vector<int> v{1, 2, 3}; for (int i : v) std::cout << i; std::cout << std::endl; }\n' > b.cpp
            printf 'all: a b\n' > Makefile
            make -s -j2 all
            ./a
            ./b
            """,
            "42\n123\n"),
        ["go"] = new(
            """
            cd /tmp
            export GOCACHE=/tmp/cache GO111MODULE=off
            printf 'package main\nimport "fmt"\nfunc main() { c := make(chan int); for i := 0; i < 100; i++ { go func(i int) { c <- i }(i) }; s := 0; for i := 0; i < 100; i++ { s += <-c }; fmt.Println(s) }\n' > main.go
            go run main.go
            """,
            "4950\n"),
        ["python with numpy"] = new(
            """
            python3 -c 'import numpy as np; a = np.arange(10000.0).reshape(100, 100); print(int((a @ a).sum())); i = np.eye(100) + 1; print(np.allclose(np.linalg.inv(i) @ i, np.eye(100)))'
            """,
            "25078325250000\nTrue\n"),
        ["java project"] = new(
            """
            mkdir -p /tmp/p/src/main/java/com/example/util /tmp/p/src/main/resources /tmp/p/target/classes
            cd /tmp/p
            cat > src/main/java/com/example/Main.java <<'END'
            package com.example;
            import com.example.util.Answer;
            import java.nio.file.*;
            public class Main {
                public static void main(String[] args) throws Exception {
                    Path repository = Path.of(System.getProperty("user.home")).resolve(".m2/repository");
                    Files.createDirectories(repository);
                    Files.writeString(repository.resolve("file"), "kept");
                    String text = new String(Main.class.getResourceAsStream("/greeting.txt").readAllBytes());
                    System.out.println(text + " " + Answer.get() + " " + Files.readString(repository.resolve("file")));
                }
            }
            END
            printf 'package com.example.util;\npublic class Answer { public static int get() { return 6 * 7; } }\n' > src/main/java/com/example/util/Answer.java
            printf hello > src/main/resources/greeting.txt
            find src/main/java -name '*.java' > target/sources
            javac -d target/classes @target/sources
            cp -r src/main/resources/. target/classes/
            jar --create --file target/p.jar --main-class com.example.Main -C target/classes .
            java -jar target/p.jar
            """,
            "hello 42 kept\n"),
        ["g++ with templates"] = new(
            """
            cd /tmp
            printf '#include <iostream>\n#include <regex>\nint main() { std::cout << std::regex_replace(std::string("x 42"), std::regex("x ([0-9]+)"), "$1 is a number") << std::endl; }\n' > a.cpp
            g++ -O2 a.cpp -o a
            ./a
            """,
            "42 is a number\n"),
        ["cargo"] = new(
            """
            cd /tmp
            cargo -q init --vcs none hello
            cd hello
            cargo -q run --offline
            cargo -q run --offline --release
            """,
            "Hello, world!\nHello, world!\n"),
        ["npm"] = new(
            """
            mkdir /tmp/app /tmp/lib
            cd /tmp/app
            printf '{"name": "lib", "version": "1.0.0", "main": "index.js"}' > ../lib/package.json
            printf 'module.exports = (a, b) => a * b\n' > ../lib/index.js
            printf '{"name": "app", "version": "1.0.0", "scripts": {"test": "node test.js"}, "dependencies": {"lib": "file:../lib"}}' > package.json
            printf 'console.log(require("lib")(6, 7))\n' > test.js
            npm install --silent --no-audit --no-fund
            npm test --silent
            """,
            "42\n"),
        ["pytest"] = new(
            """
            mkdir /tmp/t
            cd /tmp/t
            printf 'import pytest\n@pytest.mark.parametrize("x", [1, 2, 3])\ndef test_square(x, tmp_path):\n    (tmp_path / "f").write_text(str(x))\n    assert int((tmp_path / "f").read_text()) ** 2 == x * x\n' > test_square.py
            pytest -q | sed 's/ in .*//'
            """,
            "...                                                                      [100%]\n3 passed\n"),
        ["LibreOffice"] = new(
            """
            cd /tmp
            printf 'Hello from a sandbox\n' > a.txt
            soffice --headless --convert-to pdf a.txt > log 2>&1
            head -c 4 a.pdf
            tail -n 1 a.pdf
            """,
            "%PDF%%EOF\n"),
        ["PostgreSQL"] = new(
            """
            export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGDATA=/tmp/data PGHOST=/tmp
            initdb -A trust -N > /tmp/log
            pg_ctl -w -s -o '-c unix_socket_directories=/tmp' -l /tmp/server start
            psql -qAt -d postgres -c 'create table t as select generate_series(1, 1000) as x' -c 'select 42, count(*) from t'
            pg_ctl -s stop
            """,
            "42|1000\n",
            "postgres"),
        ["nginx"] = new(
            """
            mkdir -p /tmp/n/www
            cd /tmp/n
            echo hello > www/index.html
            cat > conf <<'END'
            pid /tmp/n/pid;
            worker_processes auto;
            events {}
            http {
                access_log /tmp/n/access.log;
                client_body_temp_path /tmp/n/body;
                proxy_temp_path /tmp/n/proxy;
                fastcgi_temp_path /tmp/n/fastcgi;
                uwsgi_temp_path /tmp/n/uwsgi;
                scgi_temp_path /tmp/n/scgi;
                server { listen 127.0.0.1:8080; root /tmp/n/www; }
            }
            END
            nginx -c /tmp/n/conf -e /tmp/n/error.log
            python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8080/").read().decode(), end="")'
            nginx -c /tmp/n/conf -e /tmp/n/error.log -s quit
            """,
            "hello\n",
            "www-data"),
        ["redis"] = new(
            """
            cd /tmp
            redis-server --dir /tmp --daemonize yes --logfile /tmp/log > /dev/null
            until redis-cli ping > /dev/null 2>&1; do sleep 0.1; done
            redis-cli set x 41 > /dev/null
            redis-cli incr x
            redis-cli shutdown save
            head -c 5 dump.rdb
            """,
            "42\nREDIS",
            "redis"),

        // Images with user 0 start servers in these two ways: the server changes its user by itself, or its entry point does so first.
        ["PostgreSQL started by user 0"] = new(
            """
            export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGDATA=/var/lib/postgresql/data
            install -d -o postgres -g postgres -m 700 $PGDATA
            install -d -o postgres -g postgres -m 2775 /var/run/postgresql
            runuser -u postgres -- initdb -A trust -N > /tmp/log
            setpriv --reuid postgres --regid postgres --init-groups pg_ctl -w -s -l $PGDATA/log start
            ps -o user= -C postgres | sort -u
            psql -U postgres -qAt -c 'create table t as select generate_series(1, 1000) as x' -c 'select 42, count(*) from t'
            su postgres -c "$(command -v pg_ctl) -s -D $PGDATA stop"
            """,
            "postgres\n42|1000\n",
            "0"),
        ["nginx started by user 0"] = new(
            """
            # The layer has no logs.
            install -d /var/log/nginx
            echo hello > /var/www/html/index.html
            sed -i 's/listen 80 /listen 8080 /; s/listen \[::\]:80 .*//' /etc/nginx/sites-available/default
            nginx
            python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8080/").read().decode(), end="")'
            ps -o user= -C nginx | sort -u
            nginx -s quit
            """,
            "hello\nroot\nwww-data\n",
            "0"),
        ["redis started by user 0"] = new(
            """
            install -d -o redis -g redis /data
            cd /data
            setpriv --reuid redis --regid redis --clear-groups redis-server --dir /data --daemonize yes --logfile /data/log > /dev/null
            until redis-cli ping > /dev/null 2>&1; do sleep 0.1; done
            redis-cli set x 41 > /dev/null
            redis-cli incr x
            ps -o user= -C redis-server
            redis-cli shutdown save
            stat -c %U dump.rdb
            """,
            "42\nredis\nredis\n",
            "0"),
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_program_prints_the_same_cold_and_from_the_pool(string program)
    {
        (string script, string output, string? user) = Table[program];
        SandboxRequest request = ProgramsImage.Shell(script);
        (request.User, request.Limits) = (user, new() { CpuCores = 1, MemoryBytes = 256 * ByteSize.MiB, Pids = 64, OpenFiles = 256, DiskBytes = 128 * ByteSize.MiB });
        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        Assert.Equal((output, output), (cold, pooled));
    }

    [Fact]
    public async Task Find_and_ls_list_the_entries_of_the_layer()
    {
        string[] paths = [.. (await programs.ReadPathsAsync()).Where(path => path.StartsWith("/usr/", StringComparison.Ordinal)).Append("/usr").Order(StringComparer.Ordinal)];
        string digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(paths.Select(path => path + "\n")))));
        string expected = $"{digest}  -\n{(paths.Length - 1).ToString(CultureInfo.InvariantCulture)}\n";

        (string cold, string pooled) = await programs.RunColdAndPooledAsync(ProgramsImage.Shell("""
            find /usr > /tmp/found
            LC_ALL=C sort /tmp/found | sha256sum
            ls -AlR /usr > /tmp/listed
            grep -c '^[-dlbcps][-rwxsStT]\{9\} ' /tmp/listed
            """));

        Assert.Equal((expected, expected), (cold, pooled));
    }

    [Fact]
    public async Task Chromium_renders_a_page_in_eight_runs_of_eight()
    {
        SandboxRequest request = ProgramsImage.Shell("""
            printf '%s' '<html><body><script>document.body.innerHTML = "<p>" + 6 * 7 + "</p>"</script></body></html>' > /tmp/page.html
            chromium --headless --no-sandbox --disable-gpu --user-data-dir=/tmp/profile --dump-dom file:///tmp/page.html
            """);
        var pages = new List<string>();
        for (int pair = 0; pair < 4; pair++)
        {
            (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);
            pages.AddRange([cold.Trim(), pooled.Trim()]);
        }

        Assert.Equal(Enumerable.Repeat(Page, 8), pages);
    }

    [Fact]
    public async Task A_directory_of_long_names_is_listed_whole_in_each_run()
    {
        const string Image = "localhost/names:1";
        programs.Require();
        string[] names = [.. Enumerable.Range(10, 40).Select(i => new string('n', 138) + i.ToString(CultureInfo.InvariantCulture))];
        var root = new Archive();
        root.Add('0', "bin/busybox", content: await File.ReadAllBytesAsync("/bin/busybox", Cancel), mode: 0b111_101_101);
        Array.ForEach(names, name => root.File("names/" + name));
        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(file, root.ToBytes(), Cancel);
            await programs.ImportAsync(new(ImageSourceKind.RootArchive, file), Image);
        }
        finally
        {
            File.Delete(file);
        }

        var request = new SandboxRequest(Image, "/bin/busybox", "ls", "/names");
        string expected = string.Concat(names.Select(name => name + "\n"));
        for (int run = 0; run < 6; run++)
        {
            Assert.Equal((expected, expected), await programs.RunColdAndPooledAsync(request));
        }
    }

    private sealed record Program(string Script, string Output, string? User = null);
}
