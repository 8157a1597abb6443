namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Attacks of a guest on its PID 1. The program prints one line for each attack that succeeds.</summary>
internal static class InitAttack
{
    internal const string Source = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <grp.h>
        #include <netinet/in.h>
        #include <sched.h>
        #include <signal.h>
        #include <stdint.h>
        #include <dirent.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mount.h>
        #include <sys/ptrace.h>
        #include <sys/resource.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/uio.h>
        #include <sys/wait.h>
        #include <time.h>
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
                /* A relayed pipe belongs to the user of its process, who can open it through that process too. */
                int is_own = getenv("SESSION") != NULL && S_ISFIFO(info.st_mode) && info.st_uid == getuid();
                if (S_ISSOCK(info.st_mode) || (S_ISFIFO(info.st_mode) && !is_own)) {
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

        /* A child of PID 1 that has not executed its command yet, and a file worker, still have PID 1's program. */
        static int is_program_of_init(int pid)
        {
            char path[64];
            char text[64] = { 0 };
            snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
            int fd = open(path, O_RDONLY);
            if (fd >= 0)
                read(fd, text, sizeof text - 1);
            close(fd);
            return strncmp(text, "/.boxer/", 8) == 0;
        }

        static void against_child(int pid)
        {
            static const char *const files[] = { "mem", "exe", "uid_map", "gid_map" };
            char path[64];
            for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
                snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
                int fd = open(path, O_RDWR);
                uint8_t byte = 0;
                if (fd >= 0 && (i == 1 || write(fd, &byte, 1) > 0) && is_program_of_init(pid))
                    printf("POSSIBLE: %s\n", files[i]);
                close(fd);
            }
            uint8_t memory = 0;
            struct iovec local = { &memory, 1 };
            struct iovec remote = { (void *)0x400000, 1 };
            if ((syscall(SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0) >= 0 || syscall(SYS_process_vm_writev, pid, &local, 1, &remote, 1, 0) >= 0)
                && is_program_of_init(pid))
                printf("POSSIBLE: memory of a child\n");
            if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
                if (is_program_of_init(pid))
                    printf("POSSIBLE: trace a child\n");
                exit(9);
            }
            for (int fd = 0; fd < 64; fd++) {
                snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                int opened = open(path, O_RDWR | O_NONBLOCK);
                struct stat info;
                if (opened >= 0 && fstat(opened, &info) == 0 && (S_ISSOCK(info.st_mode) || (S_ISFIFO(info.st_mode) && info.st_uid != getuid() && info.st_uid < 65536))
                    && (info.st_mode & 0006) == 0)
                    printf("POSSIBLE: open %s\n", path);
                close(opened);
            }
        }

        /* Attacks everything that starts, for some seconds. */
        static void against_starting(int seconds, int only_stop)
        {
            time_t end = time(NULL) + seconds;
            int seen = 0;
            while (time(NULL) < end) {
                DIR *directory = opendir("/proc");
                for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
                    int pid = atoi(entry->d_name);
                    if (pid <= 1 || pid == getpid())
                        continue;
                    if (only_stop)
                        kill(pid, SIGSTOP);
                    else if (is_program_of_init(pid) && ++seen)
                        against_child(pid);
                }
                closedir(directory);
            }
            printf("tried %s\n", only_stop || seen > 0 ? "some" : "none");
        }

        /* Accepts one connection, reads it to its end, and answers with the number of bytes. */
        static int serve(int family, int port)
        {
            struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
            struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
            int listener = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
            if ((family == 6 ? bind(listener, &six, sizeof six) : bind(listener, &four, sizeof four)) != 0 || listen(listener, 5) != 0) {
                perror("listen");
                return 1;
            }
            printf("listening\n");
            int peer = accept(listener, NULL, NULL);
            static char piece[65536];
            long total = 0;
            for (long got; (got = read(peer, piece, sizeof piece)) > 0;)
                total += got;
            dprintf(peer, "%ld\nbye\n", total);
            printf("read %ld\n", total);
            return 0;
        }

        /* Makes processes beside this one instead of below it. Prints the errors, or 0. */
        static void make_siblings(void)
        {
            static const long flags[] = { CLONE_PARENT | SIGCHLD, CLONE_PARENT, CLONE_PARENT | SIGKILL, CLONE_PARENT | CLONE_VM | CLONE_VFORK | SIGCHLD };
            uint64_t arguments[8] = { CLONE_PARENT, 0, 0, 0, SIGCHLD };
            for (unsigned i = 0; i <= sizeof flags / sizeof flags[0]; i++) {
                errno = 0;
                long cloned = i < sizeof flags / sizeof flags[0] ? syscall(SYS_clone, flags[i], 0, 0, 0, 0) : syscall(435, arguments, sizeof arguments);
                if (cloned == 0)
                    _exit(0);
                printf("%d\n", errno);
            }
        }

        /* Leaves this many processes that have ended, all at once. */
        static void litter(int count)
        {
            siginfo_t info;
            pid_t last = 0;
            for (int i = 0; i < count; i++) {
                last = fork();
                if (last == 0)
                    _exit(0);
                waitid(P_PID, last, &info, WEXITED | WNOWAIT);
            }
            printf("%s\n", last > 0 ? "littered" : "too many");
        }

        int main(int argc, char **argv)
        {
            setvbuf(stdout, NULL, _IOLBF, 0);
            if (argc > 1 && strcmp(argv[1], "siblings") == 0) {
                make_siblings();
                return 0;
            }
            if (argc > 1 && strcmp(argv[1], "litter") == 0) {
                litter(atoi(argv[2]));
                return 0;
            }
            if (argc > 1 && strcmp(argv[1], "descriptors") == 0) {
                uint64_t limit[2] = { 0, 0 };
                long result = syscall(SYS_prlimit64, atoi(argv[2]), 7, NULL, limit);
                printf("%ld %lu %lu\n", result, (unsigned long)limit[0], (unsigned long)limit[1]);
                return 0;
            }
            if (argc > 1 && strcmp(argv[1], "bomb") == 0) {
                signal(SIGCHLD, SIG_IGN);
                printf("begun\n");
                for (;;)
                    fork();
            }
            if (argc > 1 && strcmp(argv[1], "serve") == 0)
                return serve(atoi(argv[2]), 8080);
            if (argc > 1 && strcmp(argv[1], "nice") == 0)
                return setpriority(PRIO_PROCESS, 1, 7) != 0;
            if (argc > 1 && strcmp(argv[1], "starting") == 0) {
                against_starting(atoi(argv[2]), argc > 3);
                return 7;
            }
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
