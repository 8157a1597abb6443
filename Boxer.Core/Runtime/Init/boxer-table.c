/*
 * The processes of a session as /proc shows them: signals to all of a session, what they use, and which of them hold descriptors of the
 * host.
 */
#include "boxer-session.h"

#include <sys/vfs.h>

enum { TICKS_PER_SECOND = 100 };

int process_table_fd = -1;

void open_process_table(void)
{
    process_table_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (process_table_fd < 0)
        fault("open", "/proc", errno);
}

/* ---- the table of processes ---- */

/* A process as /proc shows it. Times are in microseconds, and include those of children that it reaped. */
struct process {
    pid_t pid;
    pid_t session;
    char state;
    uint64_t user_time;
    uint64_t system_time;
};

/*
 * A pass over /proc costs three system calls for each process, and the guest has as many as it can. So one pass serves everything that
 * PID 1 does between two polls.
 */
static struct {
    struct process *processes;
    size_t count;
    size_t capacity;
    int is_read;
} table;

/* Reads the table's entry of a process. Its second field is a name in parentheses that the guest can choose. Returns 0 if it is gone. */
static int read_process(const char *name, struct process *process)
{
    char path[32];
    char text[512];
    unsigned long long times[4] = { 0 };
    int session;
    snprintf(path, sizeof path, "%.10s/stat", name);
    int fd = openat(process_table_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = RETRY(read(fd, text, sizeof text - 1));
    close(fd);
    text[length < 0 ? 0 : length] = '\0';
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL
        || sscanf(after_name + 1, " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &process->state, &session, &times[0], &times[1],
               &times[2], &times[3]) != 6)
        return 0;
    process->pid = (pid_t)strtol(name, NULL, 10);
    process->session = session;
    process->user_time = (times[0] + times[2]) * (1000000 / TICKS_PER_SECOND);
    process->system_time = (times[1] + times[3]) * (1000000 / TICKS_PER_SECOND);
    return 1;
}

static void add_process(const struct process *process)
{
    if (table.count == table.capacity) {
        table.capacity = 2 * table.capacity + 64;
        if ((table.processes = realloc(table.processes, table.capacity * sizeof *process)) == NULL)
            fault("realloc", NULL, errno);
    }
    table.processes[table.count++] = *process;
}

/* Reads the processes of the guest that have not ended. */
static void read_processes(void)
{
    struct process process;
    struct dirent *entry;
    int fd = openat(process_table_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL)
        fault("read", "/proc", errno);
    table.count = 0;
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && strcmp(entry->d_name, "1") != 0 && read_process(entry->d_name, &process)
            && process.state != 'Z' && process.state != 'X')
            add_process(&process);
    closedir(directory);
    table.is_read = 1;
}

void forget_processes(void)
{
    table.is_read = 0;
}

/* Calls a function for each process of the guest that has not ended. */
static void visit_processes(void (*visit)(const struct process *process, void *state), void *state)
{
    if (!table.is_read)
        read_processes();
    for (size_t i = 0; i < table.count; i++)
        visit(&table.processes[i], state);
}

/* Returns the item that a process belongs to, or NULL. A child that starts has no session of its own yet. */
static struct item *find_owner(const struct process *process)
{
    struct item *item = find_process(process->pid);
    return item != NULL ? item : find_session(process->session);
}

static void count_process(const struct process *process, void *state)
{
    struct census *census = state;
    if (process->session != census->session)
        return;
    census->count++;
    census->user_time += process->user_time;
    census->system_time += process->system_time;
}

struct census count_session(pid_t session)
{
    struct census census = { .session = session };
    visit_processes(count_process, &census);
    return census;
}

/* ---- signals of a session ---- */

struct delivery {
    pid_t session;
    int number;
};

static void deliver(const struct process *process, void *state)
{
    const struct delivery *delivery = state;
    if (process->session == delivery->session)
        kill(process->pid, delivery->number);
}

void signal_session(pid_t session, int number)
{
    struct delivery delivery = { .session = session, .number = number };
    visit_processes(deliver, &delivery);
}

static void kill_if_wanted(const struct process *process, void *state)
{
    struct item *item = find_owner(process);
    (void)state;
    if (item != NULL && item->is_killing && kill(process->pid, SIGKILL) == 0)
        item->is_found = 1;
}

/*
 * A session that forks can have a new process after each pass, so PID 1 repeats the pass until it finds none. The pass begins after the
 * last signal: one that is older could lack the newest process.
 */
int kill_sessions(void)
{
    int is_left = 0;
    for (size_t i = 0; i < item_count; i++)
        is_left |= items[i]->is_killing;
    if (!is_left)
        return 0;
    for (size_t i = 0; i < item_count; i++)
        items[i]->is_found = 0;
    forget_processes();
    visit_processes(kill_if_wanted, NULL);
    is_left = 0;
    for (size_t i = 0; i < item_count; i++)
        is_left |= items[i]->is_killing = items[i]->is_found;
    return is_left;
}

/* ---- usage ---- */

/* Returns the bytes in use in a file system of the sandbox's memory. gVisor counts those of the root's changed files only. */
static uint64_t used_bytes(int fd)
{
    struct statfs info;
    return fd < 0 || fstatfs(fd, &info) != 0 ? 0 : (uint64_t)(info.f_blocks - info.f_bfree) * (uint64_t)info.f_bsize;
}

void report_usage(uint32_t tag)
{
    send_payload_end(USAGE_REPORT, put64(put32(buffer + HEADER_SIZE, tag), used_bytes(root_fd) + used_bytes(tmpfs_fd)));
}

void report_process_usage(uint32_t tag, uint32_t id, const struct item *item)
{
    struct census census = { 0 };
    uint64_t reaped = 0;
    if (item != NULL && item->kind != CONNECTION) {
        census = count_session(item->session);
        reaped = item->user_time + item->system_time;
    }
    uint8_t *at = put64(put32(put32(buffer + HEADER_SIZE, tag), id), reaped + census.user_time + census.system_time);
    send_payload_end(PROCESS_USAGE_REPORT, put32(at, census.count));
}

/* ---- descriptors of the host ---- */

/* Ids whose processes hold a descriptor of the host. */
struct holders {
    uint32_t ids[(MAX_PAYLOAD - 8) / 4];
    uint32_t count;
};

static int holds_host_descriptor(pid_t pid)
{
    char path[32];
    char target[16];
    struct dirent *entry;
    int holds = 0;
    snprintf(path, sizeof path, "%d/fd", (int)pid);
    int fd = openat(process_table_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL)
        return 0;
    while (!holds && (entry = readdir(directory)) != NULL) {
        ssize_t length = readlinkat(fd, entry->d_name, target, sizeof target);
        holds = length > 5 && memcmp(target, "host:", 5) == 0;
    }
    closedir(directory);
    return holds;
}

/* A process that left its session belongs to no id, which is 0. */
static void find_holder(const struct process *process, void *state)
{
    struct holders *holders = state;
    struct item *item = find_owner(process);
    uint32_t id = item == NULL ? 0 : item->id;
    for (uint32_t i = 0; i < holders->count; i++)
        if (holders->ids[i] == id)
            return;
    if (holders->count < sizeof holders->ids / sizeof holders->ids[0] && holds_host_descriptor(process->pid))
        holders->ids[holders->count++] = id;
}

void report_quiet(uint32_t tag)
{
    static struct holders holders;
    holders.count = 0;
    visit_processes(find_holder, &holders);
    uint8_t *at = put32(put32(buffer + HEADER_SIZE, tag), holders.count);
    for (uint32_t i = 0; i < holders.count; i++)
        at = put32(at, holders.ids[i]);
    send_payload_end(QUIET, at);
}
