/*
 * PID 1 of a sandbox: its boot and its loop. Its control socket is descriptor 0 at its start. PROTOCOL.md, beside this file, describes the
 * frames on the socket and the reasons for the order of steps.
 *
 * The guest is hostile: it can call, signal and trace everything that gVisor lets it. Read "What protects PID 1" in PROTOCOL.md
 * before a change.
 */
#include "boxer-run.h"

_Thread_local struct plan *plan;
enum state state = WAITING_FOR_START;

pid_t child;
int child_status;
int child_ended;

/* Largest RSS (KiB) reaped since the warm-up. The kernel's own maximum includes the warm-up. */
long max_resident;

/* ---- killing and reaping ---- */

static pid_t reap_one(void)
{
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    if (pid > 0 && usage.ru_maxrss > max_resident)
        max_resident = usage.ru_maxrss;
    if (pid > 0 && pid == child) {
        child_status = status;
        child_ended = 1;
    }
    return pid;
}

/* Kills and reaps every process but this one. ECHILD proves that none is left: each is a child of PID 1, or has an ancestor that is. */
void kill_all(void)
{
    for (;;) {
        pid_t pid = 1;
        kill(-1, SIGKILL);
        for (int i = 0; i < MAX_REAPED && pid > 0; i++)
            pid = reap_one();
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid > 0)
            continue;
        /* SIGCHLD ends the wait. The timeout is for a process that forked between two kills. */
        sigset_t all;
        sigfillset(&all);
        sigdelset(&all, SIGCHLD);
        ppoll(NULL, 0, &(struct timespec){ .tv_nsec = 2000000 }, &all);
    }
}

_Noreturn void leave(int code)
{
    kill_all();
    _exit(code);
}

static volatile sig_atomic_t child_signaled;

static void on_child_signal(int signal_number)
{
    (void)signal_number;
    child_signaled = 1;
}

/* Signals are blocked except in ppoll, so none arrives here. */
static void reap(void)
{
    pid_t pid = child_signaled;
    for (int i = 0; i < MAX_REAPED && pid > 0; i++)
        pid = reap_one();
    child_signaled = pid > 0;
}

/*
 * Removes every path of the program that PID 1 executes. gVisor permits writing to a running program, and its overlay then moves the text
 * of the process to the written file: a guest that can write the file could change PID 1.
 */
static void hide_program(void)
{
    char path[MAX_PATH + 1];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        fault("readlink", "/proc/self/exe", errno);
    path[length] = '\0';
    /* EINVAL: the program is a file of the root, not a mount. */
    if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL)
        fault("unmount", path, errno);
    if (unlink(path) != 0)
        fault("unlink", path, errno);
}

/* Drops the privileges that no command has, once: commands inherit the result. */
static void drop_privileges(void)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (drop_from_bounding_set(~0ull) != 0)
        fault("bounding set", NULL, errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fault("no_new_privs", NULL, errno);
    become_reserved();
}

/*
 * Moves the control socket away from descriptor 0. A socket without a peer takes the place of the standard streams, so that no file gets
 * their numbers: the guest cannot open a socket through /proc/1/fd.
 */
static void place_descriptors(void)
{
    int pair[2];
    if (dup3(STDIN_FILENO, CONTROL, O_CLOEXEC) < 0)
        _exit(LAUNCH_FAILED);
    close_from(CONTROL + 1);
    for (int stream = 0; stream < STREAMS; stream++)
        if (fcntl(PASSED + stream, F_SETFD, FD_CLOEXEC) == 0)
            standard[stream] = PASSED + stream;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fault("socketpair", NULL, errno);
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup3(pair[0], stream, O_CLOEXEC) < 0)
            fault("replace", "the standard streams", errno);
    close(pair[0]);
    close(pair[1]);
}

static void boot(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    struct sigaction action = { .sa_handler = on_child_signal };
    sigaction(SIGCHLD, &action, NULL);
    umask(0);
    place_descriptors();

    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (plan == MAP_FAILED)
        fault("mmap", NULL, errno);
    hide_program();
    read_processors();
    drop_privileges();
    /* The runtime mounts its own tmpfs there, which would be below the plan's. */
    umount2("/tmp", UMOUNT_NOFOLLOW);
    /* Fails if the image has an mtab, which then stays. */
    symlink("/proc/mounts", "/etc/mtab");
    /* Also without a warm-up, so that the directory is the same for every run. */
    close_lower_root();
    mount_processes();
    show_files();
    show_cgroups();
    send_payload_end(READY, put32(buffer + HEADER_SIZE, VERSION));
}

_Noreturn static void serve(void)
{
    sigset_t waiting;
    sigfillset(&waiting);
    sigdelset(&waiting, SIGCHLD);
    for (;;) {
        struct pollfd fds[2 + TERMINAL_POLLS] = {
            { .fd = CONTROL, .events = POLLIN },
            { .fd = state == EXECUTING || state == WARMING_UP ? child_socket : -1, .events = POLLIN },
        };
        fill_terminal_polls(fds + 2);
        flush();
        /* The children that were not reaped yet send no other signal. */
        int ready = ppoll(fds, 2 + TERMINAL_POLLS, child_signaled ? &(struct timespec){ 0 } : NULL, &waiting);
        if (ready < 0 && errno != EINTR)
            fault("poll", NULL, errno);
        reap();
        if (ready > 0 && fds[1].revents != 0)
            read_child();
        if (ready > 0)
            serve_terminal(fds + 2);
        if (ready > 0 && fds[0].revents != 0)
            read_control();
        if (state == SERVING)
            serve_session(&child_signaled);
        if (child_ended && state == WARMING_UP)
            finish_warm_up();
        if (child_ended && state == EXECUTING)
            read_child();
        if (child_ended && state == RUNNING)
            report_end();
        if (child_ended && state < EXECUTING)
            fault("the waiting child died", NULL, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "launch") == 0)
        launch(argc, argv);

    int type = 0;
    socklen_t size = sizeof type;
    if (argc > 1)
        reject_usage("unknown command");
    /* PID 1 kills every process that it can see. */
    if (getpid() != 1) {
        dprintf(STDERR_FILENO, "boxer-init: not PID 1\n");
        return LAUNCH_FAILED;
    }
    if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        dprintf(STDERR_FILENO, "boxer-init: descriptor 0 is not a stream socket\n");
        return LAUNCH_FAILED;
    }
    boot();
    serve();
}
