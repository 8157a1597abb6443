/*
 * The processes of a session: how they start and end, signals, limits, and what they use.
 *
 * The guest's processes run meanwhile. So PID 1 opens no path for a command: the child does, with the user's identity. A child can be
 * stopped or killed by the guest before it executes the command, so PID 1 does not wait for it.
 */
#include "boxer-session.h"

#include <sys/ioctl.h>

enum {
    /* Descriptor of the child's socket to PID 1. Its streams are 0, 1 and 2. */
    REPORT = 3,
    /* The host's file worker has its socket in place of standard input. */
    WORKER_SOCKET = 0,
    /* Maximum number of descriptors of a worker: it has one for each of MAX_DEPTH directories, and few others. */
    WORKER_DESCRIPTORS = 128,
};

/* ---- start ---- */

/* The fields of EXEC that are not in the plan. */
struct exec {
    uint32_t id;
    uint32_t kind;
    uint32_t merges;
    uint32_t columns;
    uint32_t rows;
};

/* Reads an EXEC into the plan, whose payload it is. */
static struct exec parse_exec(size_t length)
{
    struct reader reader = { plan->payload, plan->payload + length };
    struct exec exec = { .id = take_item_id(&reader) };
    exec.kind = take_count(&reader, TERMINAL, "streams");
    exec.merges = take_count(&reader, 1, "flags");
    exec.columns = take_count(&reader, MAX_TERMINAL_SIZE, "columns");
    exec.rows = take_count(&reader, MAX_TERMINAL_SIZE, "rows");
    if ((exec.columns > 0) != (exec.kind == TERMINAL) || (exec.rows > 0) != (exec.kind == TERMINAL))
        malformed("size of the terminal");
    take_identity(&reader);
    take_limits(&reader);
    plan->cwd = take_path_or(&reader, "/", "cwd");
    take_command(&reader);
    take_end(&reader, "end of EXEC");
    return exec;
}

void forget_exec(struct plan *of, size_t length)
{
    explicit_bzero(of->payload, length);
    if (length > MAX_PAYLOAD)
        madvise(of->payload, sizeof of->payload, MADV_DONTNEED);
}

static void report_not_started(struct item *item, uint32_t stage, uint32_t error)
{
    close_relay(item);
    item->stage = GONE;
    send_payload_end(PROCESS_NOT_STARTED, put32(put32(begin_payload(item->id), stage), error));
}

/* Closes the command's side of its streams. Two of them can be the same descriptor. */
static void close_streams(int streams[STREAMS])
{
    for (int i = 0; i < STREAMS; i++) {
        int fd = streams[i];
        for (int j = i; j < STREAMS; j++)
            if (streams[j] == fd)
                streams[j] = -1;
        close_fd(&fd);
    }
}

/* Takes or makes the streams. Returns 0, or -1 with errno. */
static int open_item_streams(struct item *item, const struct exec *exec, int streams[STREAMS])
{
    int result = 0;
    if (exec->kind == DIRECT) {
        struct descriptors sent = take_descriptors();
        memcpy(streams, sent.fds, sent.count * sizeof(int));
        errno = EBADF;
        result = sent.count == STREAMS ? 0 : -1;
    } else if (exec->kind == PIPES) {
        result = open_pipes(item, (int)exec->merges, streams);
    } else {
        result = open_terminal(item, exec->columns, exec->rows, streams);
        streams[1] = streams[0];
    }
    if (result != 0)
        return -1;
    if (exec->merges || exec->kind == TERMINAL) {
        int unused = streams[2] != streams[1] ? streams[2] : -1;
        close_fd(&unused);
        streams[2] = streams[1];
    }
    /* The user can then open its streams by name, as in START. */
    for (int stream = 0; stream < STREAMS; stream++)
        fchown(streams[stream], plan->uid, exec->kind == DIRECT ? (gid_t)-1 : plan->gid);
    return 0;
}

/*
 * Keeps the streams and the socket only. A worker has one stream, and sockets without a peer in place of the others. The rest is closed:
 * gVisor lets a process open descriptors of another of the same user by their names in /proc, and this one is about to be of the guest's
 * user.
 */
static void keep_streams(const int streams[STREAMS], int socket)
{
    for (int stream = 0; stream < STREAMS; stream++)
        if (streams[stream] >= 0 && dup2(streams[stream], stream) < 0)
            child_fail(STAGE_STREAMS);
    if (socket != REPORT && dup3(socket, REPORT, O_CLOEXEC) < 0)
        child_fail(STAGE_STREAMS);
    report_socket = REPORT;
    close_from(REPORT + 1);
}

/* A worker keeps its copy of PID 1's memory, and reads what the guest wrote: a fault in it must not find anything of other commands. */
_Noreturn void run_child(enum item_kind kind, const int streams[STREAMS], int socket)
{
    report_socket = socket;
    if (kind == WORKER)
        forget_others();
    keep_streams(streams, socket);
    reset_scheduling();
    /* A namespace of user 0 is made by that user. */
    if (plan->uid == 0 && (syscall(SYS_setresgid, 0, 0, 0) != 0 || syscall(SYS_setresuid, 0, 0, 0) != 0))
        child_fail(STAGE_USER_NAMESPACE);
    become_user(plan->uid == 0 ? REPORT : -1);
    if (kind == WORKER) {
        close(REPORT);
        serve_files(WORKER_SOCKET);
    }
    if (kind == TERMINAL && ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0)
        child_fail(STAGE_STREAMS);
    if (chdir(plan->cwd) != 0)
        child_fail(STAGE_CWD);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute();
    child_fail(STAGE_EXEC);
}

/* Creates the child of an item, and closes its streams in PID 1. length is that of an EXEC, whose payload is then forgotten. */
static void start_item(struct item *item, int streams[STREAMS], size_t length)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        report_not_started(item, STAGE_STREAMS, (uint32_t)errno);
        close_streams(streams);
        return;
    }
    pid_t pid;
    if (can_spawn(item->kind)) {
        pid = spawn(item->kind, streams, pair[1], length);
    } else {
        pid = fork();
        if (pid == 0) {
            forget_spawned();
            run_child(item->kind, streams, pair[1]);
        }
    }
    int error = errno;
    close(pair[1]);
    close_streams(streams);
    if (pid < 0) {
        close(pair[0]);
        report_not_started(item, STAGE_STREAMS, (uint32_t)error);
        return;
    }
    item->pid = pid;
    item->session = pid;
    item->start_socket = pair[0];
    item->stage = STARTING;
}

void take_exec(size_t length)
{
    int streams[STREAMS] = { -1, -1, -1 };
    struct plan *used = plan;
    struct exec exec = parse_exec(length);
    struct item *item = add_item(exec.id, (enum item_kind)exec.kind);
    if (open_item_streams(item, &exec, streams) != 0) {
        report_not_started(item, STAGE_STREAMS, (uint32_t)errno);
        close_streams(streams);
    } else {
        start_item(item, streams, length);
    }
    if (plan == used)
        forget_exec(plan, length);
}

/* A worker needs no child. */
static void limit_worker(void)
{
    plan->limits[0] = (struct limit){ .resource = RLIMIT_NPROC };
    plan->limits[1] = (struct limit){ .resource = RLIMIT_CORE };
    plan->limits[2] = (struct limit){ .resource = RLIMIT_NOFILE, .value = { WORKER_DESCRIPTORS, WORKER_DESCRIPTORS } };
    plan->limit_count = 3;
}

void take_files(const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    struct item *item = add_item(take_item_id(&reader), WORKER);
    take_identity(&reader);
    take_end(&reader, "end of FILES");
    limit_worker();
    struct descriptors sent = take_descriptors();
    int streams[STREAMS] = { sent.count == 1 ? sent.fds[0] : -1, -1, -1 };
    if (sent.count != 1) {
        for (uint32_t i = 0; i < sent.count; i++)
            close(sent.fds[i]);
        report_not_started(item, STAGE_STREAMS, EBADF);
        return;
    }
    start_item(item, streams, 0);
}

void answer_ids(struct item *item)
{
    if (!item->waits_for_ids || is_spawning())
        return;
    item->waits_for_ids = 0;
    map_ids(process_table_fd, item->pid, item->start_socket);
}

void read_starting(struct item *item)
{
    uint8_t report[8];
    ssize_t got = RETRY(recv(item->start_socket, report, sizeof report, MSG_DONTWAIT));
    if (got < 0 && errno == EAGAIN)
        return;
    if (got == 1) {
        item->waits_for_ids = 1;
        answer_ids(item);
        return;
    }
    close_fd(&item->start_socket);
    if (got == sizeof report) {
        report_not_started(item, get32(report), get32(report + 4) != 0 ? get32(report + 4) : EIO);
        return;
    }
    item->stage = ALIVE;
    send_payload_end(PROCESS_STARTED, put32(begin_payload(item->id), (uint32_t)item->session));
    report_taken(item, 0);
}

/* ---- end ---- */

/* Assigns a process that has ended to the item of its session, before it is reaped. */
static void account(pid_t pid, pid_t session, int status, const struct rusage *usage)
{
    struct item *first = find_process(pid);
    struct item *item = first != NULL ? first : find_session(session);
    if (item == NULL)
        return;
    item->user_time += microseconds(usage->ru_utime);
    item->system_time += microseconds(usage->ru_stime);
    if ((uint64_t)usage->ru_maxrss * 1024 > item->resident)
        item->resident = (uint64_t)usage->ru_maxrss * 1024;
    if (first == NULL)
        return;
    item->status = status;
    item->pid = 0;
    item->waits_for_ids = 0;
    item->has_ended = 1;
}

/* gVisor sends no SIGHUP when a terminal is closed, or when the first process of its session has ended. Stopped processes go on to see it. */
void hang_up(const struct item *item)
{
    signal_session(item->session, SIGHUP);
    signal_session(item->session, SIGCONT);
}

void end_first_process(struct item *item)
{
    /* It can end before PID 1 has read that it started. */
    if (item->stage == STARTING)
        read_starting(item);
    if (item->stage != ALIVE)
        return;
    item->stage = ENDING;
    for (int index = 0; index < 2; index++) {
        int available = 0;
        if (item->kind == PIPES && item->out[index].fd >= 0 && ioctl(item->out[index].fd, FIONREAD, &available) != 0)
            available = 0;
        item->out[index].left = item->kind == TERMINAL ? MAX_LAST_OUTPUT : (uint32_t)available;
    }
    if (item->kind == TERMINAL && !item->is_killing)
        hang_up(item);
}

int reap_processes(void)
{
    for (int i = 0; i < MAX_REAPED; i++) {
        siginfo_t info = { 0 };
        struct rusage usage;
        int status;
        if (RETRY(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)) != 0 || info.si_pid == 0)
            return 0;
        pid_t session = getsid(info.si_pid);
        if (wait4(info.si_pid, &status, WNOHANG, &usage) == info.si_pid)
            account(info.si_pid, session, status, &usage);
    }
    return 1;
}

static int is_tmpfs_full(void)
{
    struct statvfs info;
    return tmpfs_fd >= 0 && fstatvfs(tmpfs_fd, &info) == 0 && info.f_bavail == 0;
}

void report_process_end(struct item *item)
{
    struct census left_behind = count_session(item->session);
    item->stage = GONE;
    uint8_t *at = put_status(begin_payload(item->id), item->status);
    at = put64(at, item->user_time + left_behind.user_time);
    at = put64(at, item->system_time + left_behind.system_time);
    at = put64(at, item->resident);
    send_payload_end(PROCESS_ENDED, put32(put32(at, left_behind.count), (uint32_t)is_tmpfs_full()));
}

/* ---- signals ---- */

void signal_item(struct item *item, int number, int whole_session)
{
    if (item->pid != 0 && item->stage == STARTING)
        kill(item->pid, number);
    else if (item->pid != 0 && !whole_session)
        kill(-item->pid, number);
    if (!whole_session)
        return;
    if (number == SIGKILL)
        item->is_killing = 1;
    else if (item->stage != STARTING)
        signal_session(item->session, number);
}

/* gVisor sends no SIGWINCH. */
void resize_terminal(struct item *item, uint32_t columns, uint32_t rows)
{
    struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
    if (item->out[0].fd >= 0 && ioctl(item->out[0].fd, TIOCSWINSZ, &size) == 0)
        signal_session(item->session, SIGWINCH);
}

int set_limits(const struct item *item, struct reader *reader)
{
    take_limits(reader);
    take_end(reader, "end of PROCESS_LIMITS");
    if (item == NULL || item->pid == 0)
        return ESRCH;
    for (uint32_t i = 0; i < plan->limit_count; i++)
        if (syscall(SYS_prlimit64, item->pid, (int)plan->limits[i].resource, &plan->limits[i].value, NULL) != 0)
            return errno;
    return 0;
}
