namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Attacks of a guest on its PID 1. The program prints one line for each attack that succeeds.</summary>
internal static class InitAttack
{
    internal const string Source = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <grp.h>
        #include <sched.h>
        #include <signal.h>
        #include <stdint.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mount.h>
        #include <sys/ptrace.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/uio.h>
        #include <sys/wait.h>
        #include <unistd.h>

        static void refused(const char *what, long result)
        {
            if (result >= 0)
                printf("POSSIBLE: %s\n", what);
        }

        /* ENDED with exit code 0, as PID 1 would send it. */
        static const uint8_t forged[8 + 36] = { 36, 0, 0, 0, 5, 0x80, 1, 0 };

        static int try_open(const char *path, int flags)
        {
            int fd = open(path, flags);
            if (fd >= 0) {
                struct stat info;
                fstat(fd, &info);
                if (S_ISSOCK(info.st_mode) || S_ISFIFO(info.st_mode)) {
                    printf("POSSIBLE: open %s\n", path);
                    if (write(fd, forged, sizeof forged) > 0)
                        printf("POSSIBLE: forge %s\n", path);
                }
                close(fd);
            }
            return fd;
        }

        static void against_init(void)
        {
            char path[64];
            uint8_t byte = 0;
            struct iovec local = { &byte, 1 };
            struct iovec remote = { (void *)0x400000, 1 };

            for (int fd = 0; fd < 64; fd++) {
                snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
                try_open(path, O_RDONLY | O_NONBLOCK);
                try_open(path, O_WRONLY | O_NONBLOCK);
                try_open(path, O_RDWR | O_NONBLOCK);
                snprintf(path, sizeof path, "/proc/1/task/1/fd/%d", fd);
                try_open(path, O_RDWR | O_NONBLOCK);
            }
            /* No descriptor of ours may be the control socket. */
            for (int fd = 0; fd < 64; fd++)
                refused("send on an inherited descriptor", send(fd, forged, sizeof forged, MSG_NOSIGNAL | MSG_DONTWAIT));
            int mem = open("/proc/1/mem", O_RDWR);
            if (mem >= 0)
                refused("read PID 1's memory", pread(mem, &byte, 1, 0x400000));
            static const char *const files[] = { "oom_score_adj", "uid_map", "gid_map", "setgroups", "mem" };
            for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
                snprintf(path, sizeof path, "/proc/1/%s", files[i]);
                refused(path, open(path, O_WRONLY));
            }
            /* gVisor has root own this one whoever runs; what counts is the write. */
            int comm = open("/proc/1/comm", O_WRONLY);
            if (comm >= 0)
                refused("rename PID 1", write(comm, "x", 1));
            refused("process_vm_readv", syscall(SYS_process_vm_readv, 1, &local, 1, &remote, 1, 0));
            refused("process_vm_writev", syscall(SYS_process_vm_writev, 1, &local, 1, &remote, 1, 0));
            refused("ptrace attach", ptrace(PTRACE_ATTACH, 1, 0, 0));
            refused("ptrace seize", ptrace(PTRACE_SEIZE, 1, 0, 0));
            int pidfd = (int)syscall(434, 1, 0);
            if (pidfd >= 0) {
                refused("pidfd_getfd", syscall(438, pidfd, 3, 0));
                refused("pidfd_send_signal", syscall(424, pidfd, SIGKILL, 0, 0));
            }
            static const int signals[] = { SIGKILL, SIGSTOP, SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGSEGV, SIGUSR1, 0 };
            for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
                refused("signal PID 1", kill(1, signals[i]));
            refused("tgkill", syscall(SYS_tgkill, 1, 1, SIGKILL));
            refused("prlimit", syscall(SYS_prlimit64, 1, 7, (uint64_t[]){ 0, 0 }, NULL));
            refused("its namespace", setns(open("/proc/1/ns/user", O_RDONLY), 0));
        }

        int main(int argc, char **argv)
        {
            setvbuf(stdout, NULL, _IOLBF, 0);
            const unsigned reserved = 0x7FFFFF00;
            const int with_capabilities = argc > 1;

            against_init();
            refused("setuid to the reserved id", setuid(reserved));
            refused("setresuid to the reserved id", setresuid(reserved, reserved, reserved));
            refused("setresgid to the reserved id", setresgid(reserved, reserved, reserved));
            refused("chown to the reserved id", chown("/tmp", reserved, reserved));
            refused("setgroups to the reserved id", setgroups(1, (gid_t[]){ reserved }));
            if (!with_capabilities) {
                refused("setuid", setuid(getuid() == 1 ? 2 : 1));
                refused("setgroups", setgroups(0, NULL));
            }
            refused("mount", mount("tmpfs", "/tmp", "tmpfs", 0, NULL));
            refused("umount", umount2("/tmp", MNT_DETACH));
            refused("hostname", sethostname("x", 1));
            if (!with_capabilities)
                refused("chroot", chroot("/tmp"));
            refused("setuid to an id that is not mapped", setresuid(65536, 65536, 65536));
            refused("setgroups to an id that is not mapped", setgroups(1, (gid_t[]){ 65536 }));
            refused("unshare a user namespace", unshare(CLONE_NEWUSER));
            refused("unshare a mount namespace", unshare(CLONE_NEWNS));
            refused("unshare a pid namespace", unshare(CLONE_NEWPID));
            long cloned = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
            if (cloned == 0)
                _exit(0);
            refused("clone into a user namespace", cloned);
            uint64_t arguments[8] = { CLONE_NEWUSER, 0, 0, 0, SIGCHLD };
            cloned = syscall(435, arguments, sizeof arguments);
            if (cloned == 0)
                _exit(0);
            refused("clone3 into a user namespace", cloned);
            struct rlimit { uint64_t soft, hard; } limit = { 1000000, 1000000 };
            refused("raise RLIMIT_NPROC", syscall(SYS_prlimit64, 0, 6, &limit, NULL));

            int forks = 0;
            for (; forks < 300; forks++) {
                pid_t pid = fork();
                if (pid < 0)
                    break;
                if (pid == 0) {
                    pause();
                    _exit(0);
                }
            }
            /* gVisor counts a process for the uid it was made with, so one more or less than on Linux. */
            if (forks < 55 || forks > 65)
                printf("POSSIBLE: %d forks\n", forks);
            /* The host must see 7, whatever was tried. */
            printf("tried\n");
            return 7;
        }
        """;
}
