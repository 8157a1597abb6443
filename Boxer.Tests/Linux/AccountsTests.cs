using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Lookups of programs: accounts, host names, mounts, language.</summary>
[Collection(Sandboxes.Name)]
public sealed class AccountsTests(SharedRunner shared)
{
    private const string Script = """
        whoami; groups
        getent passwd $(id -u); getent group $(id -g)
        python3 -c 'import os, pwd; e = pwd.getpwuid(os.getuid()); print(e.pw_dir, os.path.expanduser("~")); open(e.pw_dir + "/file", "w").close()'
        hostname; hostname -f; echo $HOSTNAME; getent hosts sandbox; python3 -c 'import socket; print(socket.gethostbyaddr("127.0.0.1")[0])'
        cmp /etc/mtab /proc/self/mounts; grep -c ' /tmp ' /etc/mtab; df --output=target /tmp | tail -1
        echo $LANG; python3 -c 'import sys; print(sys.stdout.encoding, sys.getfilesystemencoding())'
        """;

    private const string Rest = "sandbox\nsandbox\nsandbox\n127.0.0.1       sandbox\nlocalhost\n1\n/tmp\nC.UTF-8\nutf-8 utf-8\n";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("12345", false)]
    [InlineData("65534", false)]
    [InlineData("12345:12346", false)]
    [InlineData("0", true)]
    [InlineData("12345", true)]
    [InlineData("65534", true)]
    public async Task Programs_find_their_user_home_host_and_mounts(string user, bool pooled)
    {
        SandboxRequest request = Shell(Script);
        request.User = user;

        SandboxResult result = await shared.RunAsync(request, pooled);

        string who = user switch
        {
            "0" => "root\nroot\nroot:x:0:0:root:/root:/bin/bash\nroot:x:0:\n/root /root\n",
            "65534" => "nobody\nnogroup\nnobody:x:65534:65534:nobody:/home/boxer:/usr/sbin/nologin\nnogroup:x:65534:\n/home/boxer /home/boxer\n",
            "12345" => "12345\n12345\n12345:x:12345:12345::/home/boxer:/bin/sh\n12345:x:12345:\n/home/boxer /home/boxer\n",
            _ => "12345\n12346\n12345:x:12345:12346::/home/boxer:/bin/sh\n12346:x:12346:\n/home/boxer /home/boxer\n",
        };
        Assert.Equal((who + Rest, "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }

    [Theory]
    [InlineData("HOME", "/work", "/work C.UTF-8")]
    [InlineData("LANG", "C", "/home/boxer C")]
    [InlineData("LC_ALL", "C", "/home/boxer C.UTF-8 C")]
    [InlineData("HOSTNAME", "mine", "/home/boxer C.UTF-8")]
    public async Task Environment_of_a_request_takes_precedence(string name, string value, string expected)
    {
        SandboxRequest request = Shell($"""
            test "${name}" = {value} || echo "{name} is ${name}"
            echo $(python3 -c 'import os, pwd; print(pwd.getpwuid(os.getuid()).pw_dir)') $LANG $LC_ALL
            """);
        request.Environment[name] = value;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((expected + "\n", "", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }
}
