using Boxer.Tests.Core.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>
/// The file worker of boxer-init as a program of its own: <c>worker UID SCRIPT</c> runs a script as the user, while the worker serves the socket that it has as
/// descriptor 0. It is in a root for runsc, and can be started on this machine too.
/// </summary>
public sealed class FileWorkerFixture : IDisposable
{
    private const string Main =
        """
        #include "boxer-pid1.h"

        int main(int argc, char **argv)
        {
            uid_t uid = (uid_t)atoi(argv[1]);
            int socket = fcntl(0, F_DUPFD_CLOEXEC, 10);
            if (argc != 3 || socket < 0 || setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0)
                return 1;
            if (argv[2][0] != '\0' && system(argv[2]) != 0)
                return 2;
            for (int fd = 0; fd < 3; fd++)
                close(fd);
            serve_files(socket);
        }
        """;

    public FileWorkerFixture()
    {
        if (Unable is not null)
        {
            return;
        }

        foreach (string name in (string[])["bin", "proc", "sys", "dev", "tmp", "work", "small"])
        {
            Directory.CreateDirectory(Path.Join(Root, name));
        }

        File.SetUnixFileMode(Root, (UnixFileMode)0x1ED);
        InitFixture.Run("chown", "1000:1000", Path.Join(Root, "work"));
        InitFixture.Copy("/usr/bin/busybox", Path.Join(Root, "bin", "busybox"));
        InitFixture.Run("chroot", Root, "/bin/busybox", "--install", "-s", "/bin");
        string sources = Path.Join(Checkout.Root, "Boxer.Core", "Runtime", "Init");
        string main = Path.Join(Root, "worker.c");
        File.WriteAllText(main, Main);
        string[] flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I", sources, .. Directory.GetFiles(sources, "boxer-files*.c"), Path.Join(sources, "boxer-tree.c")];
        InitFixture.Compile(main, Path.Join(Root, "bin", "worker"), ["-static", .. flags]);
        InitFixture.Compile(main, Program, ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", .. flags]);
    }

    /// <summary>Reason why this machine cannot run the tests, or null.</summary>
    public string? Unable { get; } = Environment.UserName == "root" && File.Exists("/usr/bin/busybox") && File.Exists("/usr/bin/cc") ? null : "Not root, or busybox or cc is missing.";

    public string Root { get; } = Directory.CreateTempSubdirectory("boxer-files-root-").FullName;

    /// <summary>The program for this machine, with sanitizers: an error ends it, and so fails the operation.</summary>
    internal string Program => Path.Join(Root, "bin", "checked");

    public void Dispose() => InitFixture.Run("rm", "-rf", "--", Root);
}
