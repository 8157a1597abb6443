/* One run, from START to its end, and a warm-up: the order of their steps and frames. */
#include "boxer-run.h"

static int output_fd = -1;
static int is_cwd_made;
static uint32_t warm_up_errno;
static struct rusage warm_up_usage;

/* ---- preparation ---- */

/* Returns the working directory's path in the workspace, or NULL if it is not below the workspace. */
static const char *cwd_in_workspace(void)
{
    size_t length = plan->workspace == NULL ? 0 : strlen(plan->workspace);
    return length > 0 && strncmp(plan->cwd, plan->workspace, length) == 0 && plan->cwd[length] == '/' ? plan->cwd + length + 1 : NULL;
}

/*
 * Makes the working directory in the workspace, for the command's user. Existing entries stay as they are. A link on the way ends the
 * attempt; the command may follow it.
 */
static void make_cwd_in_workspace(void)
{
    const char *path = cwd_in_workspace();
    char prefix[MAX_PATH + 1];
    for (const char *slash = path; slash != NULL;) {
        slash = strchr(slash, '/');
        size_t length = slash == NULL ? strlen(path) : (size_t)(slash++ - path);
        memcpy(prefix, path, length);
        prefix[length] = '\0';
        const char *name = enter_tree(&workspace, prefix);
        if (name == NULL)
            return;
        if (mkdirat(workspace.fd, name, 0755) == 0 ? fchownat(workspace.fd, name, plan->uid, plan->gid, AT_SYMLINK_NOFOLLOW) != 0 : errno != EEXIST)
            return;
    }
}

/*
 * Makes the working directory, if it is not in the workspace: there it is made after the workspace's entries. If it cannot be made, the
 * command's chdir fails and reports the reason.
 */
static void make_cwd(void)
{
    if (plan->cwd[1] == '\0' || cwd_in_workspace() != NULL)
        return;
    is_cwd_made = access(plan->cwd, F_OK) != 0;
    make_directories(plan->cwd, plan->uid, plan->gid, 0);
}

static void open_output(void)
{
    if (plan->output[0] != '\0' && (output_fd = open(plan->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fault("open", plan->output, errno);
}

static void prepare(size_t length)
{
    parse_plan(length);
    plan->failed_stage = 0;
    int are_wanted = are_mounts_wanted();
    /* With other mounts the files' paths may lead elsewhere. An open file also keeps its mount from being unmounted. */
    if (!are_wanted)
        forget_empty_files();
    narrow_affinity();
    if (plan->columns > 0)
        open_run_terminal();
    /* A session has no command yet, and a child would keep the descriptors of this moment, which user 0 can open. */
    if (plan->uid == 0 && !plan->is_session)
        fork_child();
    if (plan->hostname[0] != '\0' && sethostname(plan->hostname, strlen(plan->hostname)) != 0)
        fault("hostname", NULL, errno);
    show_limits();
    if (!are_wanted) {
        unmount_directories();
        mount_directories();
    }
    for (uint32_t i = 0; i < plan->text_count; i++)
        write_text(&plan->texts[i]);
    forget_empty_files();
    make_cwd();
    open_output();
}

/* ---- the run ---- */

uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Number of the command's processes and threads when KILL arrived; 0 if it did not arrive. */
static uint32_t tasks_at_kill;

/* The number is the only sign of a command that waits for a thread which it could not create. */
static uint32_t count_tasks(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 && info.procs > 1 ? info.procs - 1u : 0;
}

uint8_t *put_status(uint8_t *to, int status)
{
    int signaled = WIFSIGNALED(status);
    return put32(put32(to, (uint32_t)signaled), (uint32_t)(signaled ? WTERMSIG(status) : WEXITSTATUS(status)));
}

void report_end(void)
{
    kill_all();
    finish_terminal();

    struct rusage usage = { 0 };
    getrusage(RUSAGE_CHILDREN, &usage);
    uint8_t *at = put_status(buffer + HEADER_SIZE, child_status);
    at = put64(at, microseconds(usage.ru_utime) - microseconds(warm_up_usage.ru_utime));
    at = put64(at, microseconds(usage.ru_stime) - microseconds(warm_up_usage.ru_stime));
    at = put64(at, (uint64_t)max_resident * 1024);
    send_payload_end(ENDED, put32(put32(at, is_tmpfs_full()), tasks_at_kill));
    state = OVER;
    if (output_fd >= 0)
        send_outputs(output_fd, plan->output_bytes, plan->output_entries, 0);
    if (workspace.root >= 0 && plan->change_entries > 0)
        send_outputs(workspace.root, plan->change_bytes, plan->change_entries, 1);
}

static int write_map(int table, pid_t pid, const char *name)
{
    char path[64];
    char map[64];
    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    int length = snprintf(map, sizeof map, "0 0 %d\n", MAPPED_IDS);
    int fd = openat(table, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, map, (size_t)length);
    close_keeping_errno(fd);
    return written == length ? 0 : -1;
}

void map_ids(int table, pid_t pid, int socket)
{
    uint8_t answer[4];
    int error = write_map(table, pid, "uid_map") != 0 || write_map(table, pid, "gid_map") != 0 ? errno : 0;
    put32(answer, (uint32_t)error);
    send(socket, answer, sizeof answer, MSG_NOSIGNAL);
}

/* The child has executed the command, or has failed to. */
static void report_start(void)
{
    if (state == WARMING_UP) {
        warm_up_errno = plan->failed_stage != 0 ? plan->failed_errno : 0;
    } else if (plan->failed_stage != 0) {
        put32(put32(buffer + HEADER_SIZE, plan->failed_stage), plan->failed_errno);
        kill_all();
        send_buffer(NOT_STARTED, 8);
        state = OVER;
    } else {
        send_buffer(STARTED, 0);
        state = RUNNING;
    }
}

/* Reads from a forked child. Its exec or its end closes its side of the socket. */
void read_child(void)
{
    uint8_t asks;
    ssize_t got = RETRY(recv(child_socket, &asks, 1, MSG_DONTWAIT));
    if (got < 0 && errno == EAGAIN)
        return;
    if (got == 1) {
        int table = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        map_ids(table, child, child_socket);
        close_fd(&table);
        return;
    }
    close_fd(&child_socket);
    report_start();
}

/* Releases the waiting child of user 0. For other users it starts the command, and reports the result before it returns. */
static void start_command(void)
{
    if (child_socket >= 0) {
        release_child();
        return;
    }
    spawn_child();
    report_start();
}

static void take_signal(const uint8_t *payload, size_t length)
{
    uint32_t number = length == 4 ? get32(payload) : 0;
    if (number < 1 || number > 64)
        malformed("SIGNAL");
    if (state == RUNNING && !child_ended)
        kill(-child, (int)number);
}

static void take_kill(size_t length)
{
    if (length != 0)
        malformed("KILL");
    if (state < EXECUTING || state == SERVING)
        leave(0);
    if (state != OVER) {
        tasks_at_kill = state == RUNNING ? count_tasks() : 0;
        kill(-1, SIGKILL);
    }
}

/*
 * Takes the descriptors that came with START. gVisor leaves out a descriptor that it does not support, and those after it, without a
 * sign, so their number is checked. A runtime that supports none passes them at boot instead.
 */
static void take_standard_streams(void)
{
    struct descriptors streams = take_descriptors();
    if (streams.count == 0 && standard[0] >= 0)
        return;
    if (streams.count != STREAMS)
        fault("take", "the standard streams", EBADF);
    memcpy(standard, streams.fds, sizeof standard);
}

static void begin_run(size_t length)
{
    take_standard_streams();
    prepare(length);
    chown_standard_streams();
    if (state != OVER)
        state = WAITING_FOR_GO;
}

/* Prepares a session. Its commands come after GO. */
static void begin_opening(size_t length)
{
    plan->is_session = 1;
    close_standard_streams();
    prepare(length);
    if (state != OVER)
        state = WAITING_FOR_GO;
}

static void end_opening(void)
{
    make_cwd_in_workspace();
    close_fd(&workspace.fd);
    close_fd(&workspace.root);
    open_session(open_tmpfs());
}

static void begin_warm_up(size_t length)
{
    plan->is_warm_up = 1;
    forget_empty_files();
    unmount_directories();
    mount_for_warm_up();
    prepare(length);
    if (plan->uid == 0 && close_lower_root() != 0)
        fault("close", "the root below", errno);
    state = WARMING_UP;
    start_command();
}

static void begin_command(void)
{
    make_cwd_in_workspace();
    close_fd(&workspace.fd);
    if (plan->change_entries > 0)
        remember_workspace();
    state = EXECUTING;
    start_command();
    close_standard_streams();
}

/* Reports how many descriptors came with the frame. */
static void probe(size_t length)
{
    if (length != 0)
        malformed("PROBE");
    struct descriptors sent = take_descriptors();
    send_payload_end(PROBED, put32(buffer + HEADER_SIZE, sent.count));
    for (uint32_t i = 0; i < sent.count; i++)
        close(sent.fds[i]);
}

static void handle_input(uint32_t type, const uint8_t *payload, size_t length)
{
    if (type == FILE_BEGIN)
        file_begin(payload, length);
    else if (type == FILE_DATA)
        file_data(payload, length);
    else if (type == FILE_END)
        file_end(length);
    else if (type >= TREE_DIRECTORY && type <= TREE_COPY)
        take_tree(type, payload, length);
    else if (type == GO && length == 0 && file_fd < 0 && plan->is_session)
        end_opening();
    else if (type == GO && length == 0 && file_fd < 0)
        begin_command();
    else
        malformed("order of frames");
}

void handle_frame(uint32_t type, const uint8_t *payload, size_t length)
{
    if (type == KILL)
        take_kill(length);
    else if (state == SERVING)
        handle_session_frame(type, payload, length);
    else if (type == SIGNAL && !plan->is_session)
        take_signal(payload, length);
    else if (state == OVER)
        return; /* The host may still be sending when a file fails. */
    else if (state == WAITING_FOR_START && type == START)
        begin_run(length);
    else if (state == WAITING_FOR_START && type == PROBE)
        probe(length);
    else if (state == WAITING_FOR_START && type == WARM_UP)
        begin_warm_up(length);
    else if (state == WAITING_FOR_START && type == OPEN)
        begin_opening(length);
    else if (state == WAITING_FOR_GO)
        handle_input(type, payload, length);
    else
        malformed("order of frames");
}

/* Restores the state before the warm-up, except for files written to the root and the caches of the sandbox's kernel. */
void finish_warm_up(void)
{
    kill_all();
    while (child_socket >= 0)
        read_child();
    uint8_t *at = buffer + HEADER_SIZE;
    at = warm_up_errno != 0 ? put32(put32(at, WARM_UP_NOT_STARTED), warm_up_errno) : put_status(at, child_status);
    send_payload_end(WARMED_UP, at);
    getrusage(RUSAGE_CHILDREN, &warm_up_usage);
    max_resident = 0;

    close_fd(&output_fd);
    unmount_directories();
    unmount_after_warm_up();
    /* The directory belongs to the warm-up's user. A directory with entries remains. */
    if (is_cwd_made)
        rmdir(plan->cwd);
    renew_views();
    restore_scheduling();
    make_ahead();
    plan->is_warm_up = 0;
    child_ended = 0;
    state = WAITING_FOR_START;
}
