/*
 * The launch step: runs on the host, between the posix_spawn of the .NET process and the sandbox's runtime. The steps need system
 * calls that .NET cannot make in a child. PROTOCOL.md describes the options.
 */
#define _GNU_SOURCE
#include "boxer-init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

struct options {
    const char *netns;
    int hides_sysctls;
    int hides_attributes;
    /* First descriptor to close, or -1. */
    long fds;
    char **program;
};

_Noreturn static void fail(const char *step, const char *object)
{
    int error = errno;
    dprintf(STDERR_FILENO, "boxer-init: %s%s%s: %s\n", step, object != NULL ? " " : "", object != NULL ? object : "", strerror(error));
    _exit(LAUNCH_FAILED);
}

_Noreturn void reject_usage(const char *fault)
{
    dprintf(STDERR_FILENO,
        "boxer-init: %s: usage: boxer-init launch [--cgroup FILE]... [--netns PATH] [--hide-net-core-sysctls] "
        "[--hide-attributes] [--fds N] -- PROGRAM [ARG]...\n",
        fault);
    _exit(LAUNCH_FAILED);
}

/*
 * An ignored signal stays ignored over exec. SIGPIPE is ignored on purpose: nobody reads the runtime's messages after its boot, and it must
 * not die of them.
 */
static void reset_signals(void)
{
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, signal_number == SIGPIPE ? SIG_IGN : SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * If the whole machine is out of memory, the kernel kills sandboxes before the process that runs them (proc_pid_oom_score_adj(5)).
 * Lowering the score needs a privilege, so the step adds to the present value.
 */
static void raise_oom_score(void)
{
    enum { MORE = 500, MOST = 1000 };
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        fail("read", "/proc/self/oom_score_adj");
    long score = strtol(text, NULL, 10) + MORE;
    int length = snprintf(text, sizeof text, "%ld", score < MOST ? score : MOST);
    if (pwrite(fd, text, (size_t)length, 0) != length)
        fail("set", "/proc/self/oom_score_adj");
    close(fd);
}

static void join_cgroup(const char *procs)
{
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0\n", 2) != 2)
        fail("join cgroup", procs);
    close(fd);
}

static void join_network_namespace(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
        fail("join network namespace", path);
    close(fd);
}

static void hide_net_core_sysctls(void)
{
    if (unshare(CLONE_NEWNS) != 0)
        fail("unshare mount namespace", NULL);
    /* Slave, not private: this namespace must not delay an unmount on the host. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        fail("make mounts slaves", NULL);
    if (mount("tmpfs", "/proc/sys/net/core", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4096,mode=0555") != 0)
        fail("mount over", "/proc/sys/net/core");
}

/*
 * Makes fgetxattr(2) report a missing attribute. The runtimes that need this pad values with zeros, and call it on symbolic links,
 * which fails with EBADF. The guest's own calls are not affected: the runtime's filter or tracer handles them first.
 */
static void hide_attributes(void)
{
    struct bpf_instruction filter[] = {
        { BPF_LOAD_WORD, 0, 0, CALL_ARCHITECTURE },
        { BPF_JUMP_EQUAL, 0, 3, AUDIT_ARCHITECTURE },
        { BPF_LOAD_WORD, 0, 0, CALL_NUMBER },
        { BPF_JUMP_EQUAL, 0, 1, SYS_fgetxattr },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | ENODATA },
        { BPF_RETURN, 0, 0, SECCOMP_ALLOW },
    };
    struct bpf_program program = { sizeof filter / sizeof filter[0], filter };

    /* Without CAP_SYS_ADMIN a filter needs no_new_privs, which a runtime without root can run with. */
    if (install_filter(&program) != 0
        && (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || install_filter(&program) != 0))
        fail("hide attributes", NULL);
}

static long parse_number(const char *option, const char *value, long least, long most)
{
    char *end;
    long number = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || number < least || number > most)
        reject_usage(option);
    return number;
}

/* Joins each cgroup at its option: there may be any number of them. */
static struct options parse_options(int argc, char **argv)
{
    struct options options = { .fds = -1 };
    int i = 2;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--hide-net-core-sysctls") == 0) {
            options.hides_sysctls = 1;
            continue;
        }
        if (strcmp(option, "--hide-attributes") == 0) {
            options.hides_attributes = 1;
            continue;
        }
        if (i + 1 >= argc)
            reject_usage(option);
        const char *value = argv[++i];
        if (strcmp(option, "--cgroup") == 0)
            join_cgroup(value);
        else if (strcmp(option, "--netns") == 0)
            options.netns = value;
        else if (strcmp(option, "--fds") == 0)
            options.fds = parse_number(option, value, 3, 65536);
        else
            reject_usage(option);
    }
    if (i + 1 >= argc)
        reject_usage("no program");
    options.program = &argv[i + 1];
    return options;
}

_Noreturn void launch(int argc, char **argv)
{
    reset_signals();
    raise_oom_score();
    struct options options = parse_options(argc, argv);
    if (options.netns != NULL)
        join_network_namespace(options.netns);
    if (options.hides_sysctls)
        hide_net_core_sysctls();
    if (options.fds >= 0)
        close_from((unsigned int)options.fds);
    if (options.hides_attributes)
        hide_attributes();
    execvp(options.program[0], options.program);
    fail("exec", options.program[0]);
}
