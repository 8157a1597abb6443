using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>User 0 can change to other users, as services and their images do.</summary>
[Collection(Sandboxes.Name)]
public sealed class UserChangeTests(SharedRunner shared)
{
    private const string Script = """
        su nobody -s /bin/sh -c id
        runuser -u www-data -- id
        setpriv --reuid 33 --regid 33 --init-groups id
        setpriv --reuid 1234 --regid 1234 --groups 5,6 id
        python3 -c 'import os; os.setgroups([7]); os.setgid(33); os.setuid(33); os.execlp("id", "id")'
        python3 -c 'import os; os.initgroups("daemon", 1); os.setegid(1); os.seteuid(1); print(os.getuid(), os.geteuid(), os.getgroups()); os.seteuid(0); print(os.geteuid())'
        chroot --userspec=33:33 / id
        mkdir -p /srv/jail/bin; python3 -c 'import os; os.chroot("/srv/jail"); os.chdir("/"); print(os.listdir("/"))'
        grep -h Cap /proc/self/status | cut -f2 | sort -u
        setpriv --reuid 33 --regid 33 --clear-groups grep CapEff /proc/self/status
        setpriv --reuid 33 --regid 33 --clear-groups sh -c 'echo to the stream >&1; echo by name >/dev/stdout' 2>&1
        touch /tmp/of-33; chown 33:33 /tmp/of-33; runuser -u www-data -- sh -c 'echo mine >/tmp/of-33; cat /tmp/of-33; echo x >/etc/x || echo refused' 2>/dev/null
        """;

    private const string Printed = """
        uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)
        uid=33(www-data) gid=33(www-data) groups=33(www-data)
        uid=33(www-data) gid=33(www-data) groups=33(www-data)
        uid=1234 gid=1234 groups=1234,5(tty),6(disk)
        uid=33(www-data) gid=33(www-data) groups=33(www-data),7(lp)
        0 1 [1]
        0
        uid=33(www-data) gid=33(www-data) groups=33(www-data)
        ['bin']
        0000000000000000
        00000000800400fb
        CapEff:	0000000000000000
        to the stream
        sh: 1: cannot create /dev/stdout: Permission denied
        mine
        refused

        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Programs_of_user_0_can_change_their_user_and_root(bool pooled)
    {
        SandboxRequest request = Shell(Script);
        request.User = "0";

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal((Printed, ""), (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task Other_users_cannot_change_their_user()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Shell("setpriv --reuid 33 id 2>&1; python3 -c 'import os; os.setuid(0)' 2>&1 | tail -1; python3 -c 'import os; os.chroot(\"/tmp\")' 2>&1 | tail -1"), Cancel);

        Assert.Equal(
            "setpriv: setresuid failed: Operation not permitted\nPermissionError: [Errno 1] Operation not permitted\nPermissionError: [Errno 1] Operation not permitted: '/tmp'\n",
            result.StandardOutput);
    }

    /// <summary>Processes of every user that user 0 changed to end with the command.</summary>
    [Fact]
    public async Task A_run_ends_with_its_command_whichever_users_its_processes_have()
    {
        SandboxRequest request = Shell("""
            for user in 1 33 1234; do setpriv --reuid $user --clear-groups --regid $user sh -c 'trap "" TERM; id -u > /tmp/$1; sleep 1000' sh $user & done
            until [ -s /tmp/1 ] && [ -s /tmp/33 ] && [ -s /tmp/1234 ]; do sleep 0.05; done
            cat /tmp/1 /tmp/33 /tmp/1234
            exit 7
            """);
        request.User = "0";

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.Exited, 7, "1\n33\n1234\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
    }
}
