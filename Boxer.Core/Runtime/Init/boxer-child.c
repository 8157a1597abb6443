/* The child of PID 1 that becomes the command: its identity, its filter, and how PID 1 creates it. */
#include "boxer-run.h"

#include <sys/ioctl.h>

/* Not every libc comes with the kernel's own headers. */
struct capability_header {
    uint32_t version;
    int pid;
};

struct capability_data {
    uint32_t effective;
    uint32_t permitted;
    uint32_t inheritable;
};

static const uint32_t CAPABILITY_VERSION_3 = 0x20080522;

int standard[STREAMS] = { -1, -1, -1 };
int child_socket = -1;

/* ---- the child, until it executes the command ---- */

_Thread_local int report_socket = -1;

_Noreturn void child_fail(enum stage stage)
{
    plan->failed_errno = (uint32_t)errno;
    plan->failed_stage = (uint32_t)stage;
    if (report_socket >= 0) {
        uint8_t failure[8];
        put32(put32(failure, plan->failed_stage), plan->failed_errno);
        send(report_socket, failure, sizeof failure, MSG_NOSIGNAL);
    }
    _exit(127);
}

static int set_capabilities(uint32_t low, uint32_t high)
{
    struct capability_header header = { CAPABILITY_VERSION_3, 0 };
    struct capability_data data[2] = { { low, low, 0 }, { high, high, 0 } };
    return (int)syscall(SYS_capset, &header, data);
}

int drop_from_bounding_set(uint64_t dropped)
{
    /* EINVAL: past the last capability that this kernel knows. */
    for (unsigned int capability = 0; capability < 64; capability++) {
        if ((dropped >> capability & 1) == 0)
            continue;
        if (prctl(PR_CAPBSET_DROP, (unsigned long)capability, 0, 0, 0) != 0)
            return errno == EINVAL && capability > 0 ? 0 : -1;
    }
    return 0;
}

/*
 * Enters a user namespace with the ids below MAPPED_IDS, the same inside as outside. It does not have the reserved id, so no capability in
 * it reaches PID 1 or its files. PID 1 writes the maps, because that needs a capability outside.
 */
static int enter_user_namespace(int socket)
{
    uint8_t answer[8] = { 0 };
    if (unshare(CLONE_NEWUSER) != 0)
        return -1;
    if (send(socket, "", 1, MSG_NOSIGNAL) != 1 || recv(socket, answer, 4, MSG_WAITALL) != 4)
        return -1;
    errno = (int)get32(answer);
    return errno == 0 ? 0 : -1;
}

/*
 * Installs a filter that rejects calls with which a command could exceed its limits under gVisor.
 * New user namespaces: a process has every capability in its own, and gVisor accepts those for RLIMIT_NPROC and for mounts: 300
 * processes of 64, and a tmpfs without a size. clone3 has its flags in memory, which a filter cannot read; every libc falls back to clone.
 * CLONE_PARENT: the new process would be a child of PID 1, with an exit signal that the guest chooses.
 * F_SETSIG: user 0 could have any signal sent to any process when a descriptor becomes ready, also SIGKILL to PID 1. SIGIO, which is
 * sent without F_SETSIG, is blocked in PID 1.
 */
static int install_command_filter(void)
{
    enum { CLONE3 = 435, SET_SIGNAL = 10 };
    struct bpf_instruction filter[] = {
        { BPF_LOAD_WORD, 0, 0, CALL_ARCHITECTURE },
        { BPF_JUMP_EQUAL, 0, 10, AUDIT_ARCHITECTURE },
        { BPF_LOAD_WORD, 0, 0, CALL_NUMBER },
        { BPF_JUMP_EQUAL, 3, 0, SYS_clone },
        { BPF_JUMP_EQUAL, 2, 0, SYS_unshare },
        { BPF_JUMP_EQUAL, 6, 0, CLONE3 },
        { BPF_JUMP_EQUAL, 2, 4, SYS_fcntl },
        { BPF_LOAD_WORD, 0, 0, CALL_FIRST_ARGUMENT },
        { BPF_JUMP_SET, 4, 2, CLONE_NEWUSER | CLONE_PARENT },
        { BPF_LOAD_WORD, 0, 0, CALL_SECOND_ARGUMENT },
        { BPF_JUMP_EQUAL, 2, 0, SET_SIGNAL },
        { BPF_RETURN, 0, 0, SECCOMP_ALLOW },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | ENOSYS },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | EPERM },
    };
    struct bpf_program program = { sizeof filter / sizeof filter[0], filter };
    return install_filter(&program);
}

/* Returns the value of PATH in the command's environment, or a default. */
static const char *search_path(void)
{
    for (char **variable = plan->envp; *variable != NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0)
            return *variable + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Executes the command like execvpe(3), without its fallback to a shell. Returns only on failure, with errno. */
void execute(void)
{
    const char *name = plan->argv[0];
    if (strchr(name, '/') != NULL) {
        execve(name, plan->argv, plan->envp);
        return;
    }

    int denied = 0;
    errno = ENOENT;
    for (const char *path = search_path();; path++) {
        char full[MAX_PATH + 1];
        size_t length = strcspn(path, ":");
        int needed = snprintf(full, sizeof full, "%.*s%s%s", (int)(length > MAX_PATH ? MAX_PATH : length), path, length > 0 ? "/" : "", name);
        if (length <= MAX_PATH && needed < (int)sizeof full) {
            execve(full, plan->argv, plan->envp);
            if (errno == EACCES)
                denied = 1;
            else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP)
                return;
        }
        path += length;
        if (*path == '\0')
            break;
    }
    errno = denied ? EACCES : ENOENT;
}

/* Makes /dev/null the standard streams. */
static int open_null(void)
{
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0)
        return -1;
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup2(fd, stream) < 0)
            return -1;
    if (fd >= STREAMS)
        close(fd);
    return 0;
}

/* Makes the descriptors of START the standard streams; a warm-up has /dev/null. */
static int open_streams(void)
{
    if (plan->is_warm_up)
        return open_null();
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup2(stream == STDERR_FILENO && plan->merges_output ? STDOUT_FILENO : standard[stream], stream) < 0)
            return -1;
    return 0;
}

/*
 * Changes ids and capabilities by system calls: libc's functions also change every thread that libc knows of, and a child in PID 1's
 * memory shares that list. socket is as for become_command().
 */
static void change_identity(int socket)
{
    if (socket >= 0) {
        if (enter_user_namespace(socket) != 0)
            child_fail(STAGE_USER_NAMESPACE);
        /* A new user namespace begins with a full bounding set (user_namespaces(7)). */
        if (drop_from_bounding_set(~plan->capabilities) != 0)
            child_fail(STAGE_BOUNDING);
    }
    if (syscall(SYS_setgroups, (size_t)plan->group_count, plan->groups) != 0)
        child_fail(STAGE_GROUPS);
    if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) != 0)
        child_fail(STAGE_GID);
    if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) != 0)
        child_fail(STAGE_UID);
    if (set_capabilities((uint32_t)plan->capabilities, (uint32_t)(plan->capabilities >> 32)) != 0)
        child_fail(STAGE_CAPABILITIES);
}

void become_user(int socket)
{
    for (uint32_t i = 0; i < plan->limit_count; i++)
        if (setrlimit((int)plan->limits[i].resource, &plan->limits[i].value) != 0)
            child_fail(STAGE_LIMITS);
    change_identity(socket);
    if (install_command_filter() != 0)
        child_fail(STAGE_SECCOMP);
    if (setsid() < 0)
        child_fail(STAGE_SESSION);
    umask(022);
}

/*
 * socket connects to PID 1 if the child makes a user namespace, for a command of user 0. Otherwise it is -1, and the child runs in
 * PID 1's memory.
 */
_Noreturn static void become_command(int socket)
{
    /*
     * System V memory, semaphores and queues outlive their processes, but not their namespace; so do ports that connections used.
     * The host does not learn the failed stage of a warm-up.
     */
    if (plan->is_warm_up && unshare(CLONE_NEWIPC | CLONE_NEWNET) != 0)
        child_fail(STAGE_USER_NAMESPACE);
    become_user(socket);
    if (chdir(plan->cwd) != 0)
        child_fail(STAGE_CWD);
    if (open_streams() != 0 || (plan->columns > 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0))
        child_fail(STAGE_STREAMS);
    /* PID 1 ignores no signal, and an exec resets its handler of SIGCHLD. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute();
    child_fail(STAGE_EXEC);
}

/* ---- PID 1's child ---- */

/* Takes the reserved id. Keeps the capabilities, but none that a child could inherit. */
void become_reserved(void)
{
    struct capability_header header = { CAPABILITY_VERSION_3, 0 };
    struct capability_data data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        fault("capget", NULL, errno);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
        fault("keepcaps", NULL, errno);
    if (setgroups(0, NULL) != 0 || setresgid(RESERVED_ID, RESERVED_ID, RESERVED_ID) != 0
        || setresuid(RESERVED_ID, RESERVED_ID, RESERVED_ID) != 0)
        fault("reserved uid", NULL, errno);
    if (set_capabilities(data[0].permitted, data[1].permitted) != 0)
        fault("capset", NULL, errno);
    /*
     * setresuid(2) makes the process not dumpable, and then root, which the command may be, owns the files in /proc/1. Dumpable, they
     * belong to the reserved id. Tracing PID 1 still needs that id, or a capability that no command has.
     */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int spawned(void *unused)
{
    (void)unused;
    become_command(-1);
}

/*
 * Creates the child in PID 1's own memory; PID 1 waits for its exec (vfork(2)). With systrap a fork costs some 15 ms more: pages are copied,
 * and a new address space is a process of the host.
 */
void spawn_child(void)
{
    static uint8_t stack[128 << 10] __attribute__((aligned(16)));
    child = clone(spawned, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    if (child < 0)
        fault("clone", NULL, errno);
    /* The child made the shared memory not dumpable when it changed its ids. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/*
 * Creates a child that waits for GO, for a command of user 0: PID 1 writes the maps of the child's user namespace. The child is created as
 * user 0, so that RLIMIT_NPROC counts it for that user.
 */
void fork_child(void)
{
    int pair[2];
    /* Sockets: the guest could open a pipe of PID 1 through /proc/1/fd. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fault("socketpair", NULL, errno);
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        fault("user 0", NULL, errno);
    child = fork();
    if (child < 0)
        fault("fork", NULL, errno);
    if (child == 0) {
        uint8_t go;
        close(CONTROL);
        close(pair[0]);
        if (RETRY(read(pair[1], &go, 1)) != 1)
            _exit(127);
        become_command(pair[1]);
    }
    close(pair[1]);
    child_socket = pair[0];
    become_reserved();
}

void release_child(void)
{
    uint8_t go = 1;
    if (send(child_socket, &go, 1, MSG_NOSIGNAL) != 1)
        fault("go", NULL, errno);
}

/* Closes PID 1's copies: the host must see the end of the streams when the command's processes have ended. */
void close_standard_streams(void)
{
    for (int stream = 0; stream < STREAMS; stream++)
        close_fd(&standard[stream]);
}

/*
 * Makes the command's user the owner of its streams, so that it can open them by name (/dev/stdout, /proc/self/fd/1). gVisor keeps a
 * separate owner for each. If gVisor refuses, their modes decide.
 */
void chown_standard_streams(void)
{
    for (int stream = 0; stream < STREAMS; stream++)
        fchown(standard[stream], plan->uid, (gid_t)-1);
}
