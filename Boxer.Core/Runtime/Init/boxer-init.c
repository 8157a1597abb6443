/*
 * boxer-init: PID 1 of a sandbox, and the launch step of the sandbox's runtime on the host.
 *
 *   boxer-init launch [--cgroup FILE]... [--netns PATH] [--hide-net-core-sysctls] [--hide-attributes] [--fds N] -- PROGRAM [ARG]...
 *   boxer-init                        as PID 1, with the control socket as descriptor 3
 *
 * PROTOCOL.md, beside this file, describes what goes over the socket and why things are done in this order.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Versions: of the protocol; of the layout of START and WARM_UP; of ENDED and OUTPUT_FILE; of all other frames. */
    VERSION = 4,
    PLAN_VERSION = 4,
    REPORT_VERSION = 2,
    FRAME_VERSION = 1,
    CONTROL = 3,
    RESERVED_ID = 0x7FFFFF00,
    /* Ids of the user namespace of a command of user 0: 0 to one less. */
    MAPPED_IDS = 65536,
    LAUNCH_FAILED = 125,
    HEADER_SIZE = 8,
    MAX_START = 6 << 20,
    MAX_PAYLOAD = 64 << 10,
    MAX_STRINGS = 65536,
    MAX_GROUPS = 1024,
    MAX_ITEMS = 64,
    MAX_PATH = 4095,
    MAX_NAME = 255,
    MAX_HOSTNAME = 64,
    MAX_STAGE = 256,
    MAX_DEPTH = 64,
    /* Entries of a workspace that are looked at for changes. */
    MAX_WALK = 200000,
    MAX_LINKS = 8,
    MAX_PROCESSORS = 8192,
    MAX_MEMINFO = 1024,
    SCRATCH_BYTES = 16 << 20,
    /* Of cpu.cfs_quota_us, in microseconds. */
    CPU_PERIOD = 100000,
    LEAST_MEMORY = 1024,
    /* A host that takes nothing for this long is treated as gone. */
    STALL_MILLISECONDS = 60000,
};

enum frame_type {
    START = 0x0001,
    FILE_BEGIN = 0x0002,
    FILE_DATA = 0x0003,
    FILE_END = 0x0004,
    GO = 0x0005,
    KILL = 0x0006,
    SIGNAL = 0x0007,
    WARM_UP = 0x0008,
    TREE_DIRECTORY = 0x0009,
    TREE_FILE = 0x000A,
    TREE_LINK = 0x000B,
    TREE_COPY = 0x000C,
    READY = 0x8001,
    STARTED = 0x8002,
    NOT_STARTED = 0x8003,
    FILE_FAILED = 0x8004,
    ENDED = 0x8005,
    OUTPUT_DIRECTORY = 0x8006,
    OUTPUT_FILE = 0x8007,
    OUTPUT_DATA = 0x8008,
    OUTPUT_TRUNCATED = 0x8009,
    OUTPUT_DONE = 0x800A,
    FAULT = 0x800B,
    WARMED_UP = 0x800C,
    OUTPUT_LINK = 0x800D,
};

/* Flags of a directory of the tmpfs. */
enum {
    LEAVE_USED = 1,
    WORKSPACE = 2,
};

enum stage {
    STAGE_LIMITS = 1,
    STAGE_BOUNDING = 2,
    STAGE_GROUPS = 3,
    STAGE_GID = 4,
    STAGE_UID = 5,
    STAGE_CAPABILITIES = 7,
    STAGE_SECCOMP = 8,
    STAGE_SESSION = 9,
    STAGE_CWD = 10,
    STAGE_EXEC = 11,
    STAGE_USER_NAMESPACE = 12,
};

enum truncation {
    CUT_BYTES = 1,
    CUT_ENTRIES = 2,
    CUT_DEPTH = 3,
    CUT_PATH = 4,
    CUT_NOT_REGULAR = 5,
    CUT_UNREADABLE = 6,
    CUT_REASONS = 7,
};

/* The kernel's own headers are not among those of every libc. */
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

/* CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SETFCAP: installing packages and changing the user take these. */
static const uint64_t ALLOWED_CAPABILITIES = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 18 | 1u << 31;

struct bpf_instruction {
    uint16_t code;
    uint8_t jump_true;
    uint8_t jump_false;
    uint32_t value;
};

struct bpf_program {
    uint16_t length;
    struct bpf_instruction *instructions;
};

enum bpf_code {
    BPF_LOAD_WORD = 0x20,
    BPF_JUMP_EQUAL = 0x15,
    BPF_JUMP_SET = 0x45,
    BPF_RETURN = 0x06,
};

#define SECCOMP_ALLOW 0x7FFF0000u
#define SECCOMP_ERRNO 0x00050000u
#if defined(__x86_64__)
#define AUDIT_ARCHITECTURE 0xC000003Eu
#elif defined(__aarch64__)
#define AUDIT_ARCHITECTURE 0xC00000B7u
#else
#error "boxer-init is for x86-64 and arm64"
#endif

/* Where struct seccomp_data has what a filter looks at (seccomp(2)). */
enum call_field {
    CALL_NUMBER = 0,
    CALL_ARCHITECTURE = 4,
    CALL_FIRST_ARGUMENT = 16,
    CALL_SECOND_ARGUMENT = 24,
};

static int install_filter(struct bpf_program *program)
{
    return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, program, 0, 0);
}

/* ---- descriptors ---- */

static void close_from(unsigned int first)
{
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        for (int fd = (int)first; fd < 65536; fd++)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '\0' && fd >= (long)first && fd != dirfd(directory))
            close((int)fd);
    }
    closedir(directory);
}

static void reset_signals(void)
{
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- launch: on the host ---- */

_Noreturn static void launch_fail(const char *step, const char *object)
{
    int error = errno;
    dprintf(STDERR_FILENO, "boxer-init: %s%s%s: %s\n", step, object != NULL ? " " : "", object != NULL ? object : "", strerror(error));
    _exit(LAUNCH_FAILED);
}

_Noreturn static void launch_usage(const char *fault)
{
    dprintf(STDERR_FILENO,
        "boxer-init: %s: usage: boxer-init launch [--cgroup FILE]... [--netns PATH] [--hide-net-core-sysctls] "
        "[--hide-attributes] [--fds N] -- PROGRAM [ARG]...\n",
        fault);
    _exit(LAUNCH_FAILED);
}

static void join_cgroup(const char *procs)
{
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0\n", 2) != 2)
        launch_fail("join cgroup", procs);
    close(fd);
}

/*
 * Where the whole machine is out of memory, sandboxes go before the process that runs them (proc_pid_oom_score_adj(5)). Lowering
 * the score takes a privilege, so it is added to what the process has.
 */
static void offer_to_oom_killer(void)
{
    enum { MORE = 500, MOST = 1000 };
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        launch_fail("read", "/proc/self/oom_score_adj");
    long score = strtol(text, NULL, 10) + MORE;
    int length = snprintf(text, sizeof text, "%ld", score < MOST ? score : MOST);
    if (pwrite(fd, text, (size_t)length, 0) != length)
        launch_fail("set", "/proc/self/oom_score_adj");
    close(fd);
}

/*
 * From here on fgetxattr(2) says that a file has no such attribute: the runtimes that need this pad its values with zeros, and ask it of
 * symbolic links, which fails with EBADF. What a guest calls is not concerned: the runtime's own filter or tracer comes first.
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

    /* Without CAP_SYS_ADMIN a filter needs no_new_privs, which runtimes without root can have. */
    if (install_filter(&program) != 0
        && (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || install_filter(&program) != 0))
        launch_fail("hide attributes", NULL);
}

static long take_number(const char *option, const char *value, long least, long most)
{
    char *end;
    long number = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || number < least || number > most)
        launch_usage(option);
    return number;
}

_Noreturn static void launch(int argc, char **argv)
{
    const char *netns = NULL;
    int hides_sysctls = 0;
    int hides_attributes = 0;
    long fds = -1;
    int i = 2;

    /* .NET ignores SIGPIPE, and what is ignored stays ignored over exec. */
    reset_signals();
    offer_to_oom_killer();
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--hide-net-core-sysctls") == 0) {
            hides_sysctls = 1;
            continue;
        }
        if (strcmp(option, "--hide-attributes") == 0) {
            hides_attributes = 1;
            continue;
        }
        if (i + 1 >= argc)
            launch_usage(option);
        const char *value = argv[++i];
        if (strcmp(option, "--cgroup") == 0) {
            join_cgroup(value);
        } else if (strcmp(option, "--netns") == 0) {
            netns = value;
        } else if (strcmp(option, "--fds") == 0) {
            fds = take_number(option, value, 3, 65536);
        } else {
            launch_usage(option);
        }
    }
    if (i + 1 >= argc)
        launch_usage("no program");

    if (netns != NULL) {
        int fd = open(netns, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
            launch_fail("join network namespace", netns);
        close(fd);
    }
    if (hides_sysctls) {
        /* Slave, not private: an unmount on the host must not be held up by this namespace. */
        if (unshare(CLONE_NEWNS) != 0)
            launch_fail("unshare mount namespace", NULL);
        if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
            launch_fail("make mounts slaves", NULL);
        if (mount("tmpfs", "/proc/sys/net/core", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4096,mode=0555") != 0)
            launch_fail("mount over", "/proc/sys/net/core");
    }
    if (fds >= 0)
        close_from((unsigned int)fds);
    if (hides_attributes)
        hide_attributes();
    execvp(argv[i + 1], &argv[i + 1]);
    launch_fail("exec", argv[i + 1]);
}

/* ---- PID 1: state ---- */

struct limit {
    uint32_t resource;
    struct rlimit value;
};

struct tmpfs {
    const char *path;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t flags;
};

struct text_file {
    const char *path;
    const uint8_t *content;
    uint32_t length;
};

/*
 * What START says, in memory that init and its child share: init reads and checks it, the child uses it and says in it where
 * it failed. The pointers hold in both, because the mapping is older than the fork.
 */
struct plan {
    uint32_t failed_stage;
    uint32_t failed_errno;
    int is_quiet;
    uid_t uid;
    gid_t gid;
    uint64_t capabilities;
    uint32_t group_count;
    gid_t groups[MAX_GROUPS];
    uint32_t limit_count;
    struct limit limits[MAX_ITEMS];
    const char *hostname;
    const char *cwd;
    const char *workspace;
    uint64_t tmpfs_size;
    uint32_t tmpfs_count;
    struct tmpfs tmpfs[MAX_ITEMS];
    uint32_t text_count;
    struct text_file texts[MAX_ITEMS];
    const char *output;
    uint64_t output_bytes;
    uint32_t output_entries;
    uint64_t memory_bytes;
    uint32_t cpu_quota;
    uint32_t merges_output;
    uint64_t change_bytes;
    uint32_t change_entries;
    char **argv;
    char **envp;
    char *strings[MAX_STRINGS + 2];
    uint8_t payload[MAX_START];
};

/* One bit for each processor (sched_setaffinity(2)). */
struct processors {
    uint8_t bits[MAX_PROCESSORS / 8];
};

/* A directory of the plan, in the plan's order; the path is a copy. It is not mounted where the image uses the directory. */
struct mount_point {
    struct tmpfs tmpfs;
    int is_mounted;
};

/* A text file that is made and has no content yet; the path is a copy. */
struct empty_file {
    char *path;
    int fd;
};

enum state {
    WAITING_FOR_START,
    WARMING_UP,
    WAITING_FOR_GO,
    EXECUTING,
    RUNNING,
    OVER,
};

static struct plan *plan;
static enum state state = WAITING_FOR_START;
static pid_t child;
static int child_socket = -1;
static int child_status;
static int child_ended;
static int output_fd = -1;
static int workspace_fd = -1;
static struct mount_point mounts[MAX_ITEMS];
static uint64_t mounted_size;
static uint32_t mount_count;
static struct empty_file empty_files[MAX_ITEMS];
static uint32_t empty_file_count;
static int memory_limit_fd = -1;
static int cpu_quota_fd = -1;
static int cpuset_fd = -1;
static int are_cgroups_shown;
static int is_cwd_made;
static struct processors own_processors;
static long own_processor_count;
static uint32_t warm_up_errno;
static struct rusage warm_up_usage;

/* Largest RSS (KiB) reaped since the warm-up. The kernel's own maximum includes the warm-up. */
static long max_resident;
static int file_fd = -1;
static char file_path[MAX_PATH + 1];
static struct timespec file_time[2];
static int has_file_time;
static uint8_t buffer[HEADER_SIZE + MAX_PAYLOAD];
static uint8_t outgoing[2 * (HEADER_SIZE + MAX_PAYLOAD)];
static size_t outgoing_length;

/* ---- PID 1: little-endian ---- */

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t get64(const uint8_t *from)
{
    return (uint64_t)get32(from) | (uint64_t)get32(from + 4) << 32;
}

static uint8_t *put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        *to++ = (uint8_t)(value >> (8 * i));
    return to;
}

static uint8_t *put64(uint8_t *to, uint64_t value)
{
    return put32(put32(to, (uint32_t)value), (uint32_t)(value >> 32));
}

static uint8_t *put_text(uint8_t *to, const char *text, size_t length)
{
    to = put32(to, (uint32_t)length);
    memcpy(to, text, length);
    to[length] = 0;
    return to + length + 1;
}

/* ---- PID 1: the end ---- */

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

/* Kills and reaps every process but this one. ECHILD is proof: what lives is a child, or has an ancestor that is. */
static void kill_all(void)
{
    for (;;) {
        pid_t pid;
        kill(-1, SIGKILL);
        while ((pid = reap_one()) > 0) { }
        if (pid < 0 && errno == ECHILD)
            return;
        /* Woken by SIGCHLD; the time is for one that forked between two kills. */
        sigset_t all;
        sigfillset(&all);
        sigdelset(&all, SIGCHLD);
        ppoll(NULL, 0, &(struct timespec){ .tv_nsec = 2000000 }, &all);
    }
}

_Noreturn static void leave(int code)
{
    kill_all();
    _exit(code);
}

/* ---- PID 1: sending ---- */

static void send_bytes(const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(CONTROL, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        struct pollfd poll_fd = { .fd = CONTROL, .events = POLLOUT };
        if (sent < 0 && errno != EAGAIN)
            leave(1);
        int ready = poll(&poll_fd, 1, STALL_MILLISECONDS);
        if (ready == 0 || (ready < 0 && errno != EINTR) || (ready > 0 && (poll_fd.revents & (POLLHUP | POLLERR)) != 0))
            leave(1);
    }
}

static void flush(void)
{
    send_bytes(outgoing, outgoing_length);
    outgoing_length = 0;
}

/* Queues the frame whose payload is at buffer + HEADER_SIZE. Frames go out together: each send wakes the host. */
static void send_buffer(enum frame_type type, size_t length)
{
    put32(buffer, (uint32_t)length);
    buffer[4] = (uint8_t)type;
    buffer[5] = (uint8_t)(type >> 8);
    buffer[6] = type == ENDED || type == OUTPUT_FILE ? REPORT_VERSION : FRAME_VERSION;
    buffer[7] = 0;
    if (sizeof outgoing - outgoing_length < HEADER_SIZE + length)
        flush();
    memcpy(outgoing + outgoing_length, buffer, HEADER_SIZE + length);
    outgoing_length += HEADER_SIZE + length;
}

static void send_payload_end(enum frame_type type, const uint8_t *end)
{
    send_buffer(type, (size_t)(end - (buffer + HEADER_SIZE)));
}

_Noreturn static void fault(const char *stage, const char *object, int error)
{
    char text[MAX_STAGE];
    int length = snprintf(text, sizeof text, "%s%s%.200s", stage, object != NULL ? " " : "", object != NULL ? object : "");
    /* A path may hold any byte; a stage is printable ASCII. */
    for (int i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    kill_all();
    send_payload_end(FAULT, put_text(put32(buffer + HEADER_SIZE, (uint32_t)error), text, (size_t)length));
    flush();
    _exit(1);
}

_Noreturn static void malformed(const char *what)
{
    fault("malformed", what, EBADMSG);
}

/* ---- PID 1: parsing START ---- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static const uint8_t *take(struct reader *reader, size_t count, const char *field)
{
    if ((size_t)(reader->end - reader->at) < count)
        malformed(field);
    const uint8_t *taken = reader->at;
    reader->at += count;
    return taken;
}

static uint32_t take32(struct reader *reader, const char *field)
{
    return get32(take(reader, 4, field));
}

static uint64_t take64(struct reader *reader, const char *field)
{
    return get64(take(reader, 8, field));
}

static uint32_t take_count(struct reader *reader, uint32_t max, const char *field)
{
    uint32_t count = take32(reader, field);
    if (count > max)
        malformed(field);
    return count;
}

static uint32_t take_id(struct reader *reader, const char *field)
{
    uint32_t id = take32(reader, field);
    if (id == RESERVED_ID || id == UINT32_MAX)
        malformed(field);
    return id;
}

/* A string is followed by a NUL that its length does not count, and holds no other: it is used in place. */
static const char *take_text(struct reader *reader, const char *field)
{
    uint32_t length = take32(reader, field);
    if (length >= MAX_START)
        malformed(field);
    const uint8_t *text = take(reader, (size_t)length + 1, field);
    if (memchr(text, 0, (size_t)length + 1) != text + length)
        malformed(field);
    return (const char *)text;
}

/* Names between slashes, none of them empty, "." or "..". */
static void check_names(const char *names, const char *field)
{
    for (const char *name = names;;) {
        size_t size = strcspn(name, "/");
        if (size == 0 || size > MAX_NAME || (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.'))
            malformed(field);
        if (name[size] == '\0')
            return;
        name += size + 1;
    }
}

/* An absolute path; links in it are followed, inside the sandbox. */
static const char *take_path(struct reader *reader, const char *field)
{
    const char *path = take_text(reader, field);
    if (path[0] != '/' || strlen(path) > MAX_PATH)
        malformed(field);
    check_names(path + 1, field);
    return path;
}

/* A path below the workspace. */
static const char *take_relative(struct reader *reader, const char *field)
{
    const char *path = take_text(reader, field);
    if (strlen(path) >= MAX_PATH)
        malformed(field);
    check_names(path, field);
    return path;
}

static void parse_start(size_t length)
{
    struct reader reader = { plan->payload, plan->payload + length };

    plan->uid = take_id(&reader, "uid");
    plan->gid = take_id(&reader, "gid");
    plan->capabilities = take64(&reader, "capabilities");
    if (plan->capabilities != 0 && (plan->uid != 0 || (plan->capabilities & ~ALLOWED_CAPABILITIES) != 0))
        malformed("capabilities");
    plan->group_count = take_count(&reader, MAX_GROUPS, "groups");
    for (uint32_t i = 0; i < plan->group_count; i++)
        plan->groups[i] = take_id(&reader, "groups");
    plan->limit_count = take_count(&reader, MAX_ITEMS, "limits");
    for (uint32_t i = 0; i < plan->limit_count; i++) {
        struct limit *limit = &plan->limits[i];
        limit->resource = take32(&reader, "limits");
        limit->value.rlim_cur = take64(&reader, "limits");
        limit->value.rlim_max = take64(&reader, "limits");
    }
    plan->hostname = take_text(&reader, "hostname");
    if (strlen(plan->hostname) > MAX_HOSTNAME)
        malformed("hostname");
    struct reader saved = reader;
    plan->cwd = take_text(&saved, "cwd");
    if (strcmp(plan->cwd, "/") == 0)
        reader = saved;
    else
        plan->cwd = take_path(&reader, "cwd");
    plan->tmpfs_size = take64(&reader, "tmpfs");
    if (plan->tmpfs_size == 0 || plan->tmpfs_size > INT64_MAX)
        malformed("tmpfs");
    plan->tmpfs_count = take_count(&reader, MAX_ITEMS, "tmpfs");
    int workspaces = 0;
    plan->workspace = NULL;
    for (uint32_t i = 0; i < plan->tmpfs_count; i++) {
        struct tmpfs *tmpfs = &plan->tmpfs[i];
        tmpfs->path = take_path(&reader, "tmpfs");
        tmpfs->mode = take32(&reader, "tmpfs");
        tmpfs->uid = take_id(&reader, "tmpfs");
        tmpfs->gid = take_id(&reader, "tmpfs");
        tmpfs->flags = take32(&reader, "tmpfs");
        workspaces += tmpfs->flags == WORKSPACE;
        /* A warm-up has none. */
        if (tmpfs->mode > 07777 || tmpfs->flags > WORKSPACE || workspaces > !plan->is_quiet)
            malformed("tmpfs");
        if (tmpfs->flags == WORKSPACE)
            plan->workspace = tmpfs->path;
    }
    plan->text_count = take_count(&reader, MAX_ITEMS, "text files");
    for (uint32_t i = 0; i < plan->text_count; i++) {
        struct text_file *text = &plan->texts[i];
        text->path = take_path(&reader, "text files");
        text->length = take32(&reader, "text files");
        text->content = take(&reader, text->length, "text files");
    }
    saved = reader;
    plan->output = take_text(&saved, "output");
    if (plan->output[0] == '\0')
        reader = saved;
    else
        plan->output = take_path(&reader, "output");
    plan->output_bytes = take64(&reader, "output");
    plan->output_entries = take32(&reader, "output");

    uint32_t used = take_count(&reader, MAX_STRINGS, "arguments");
    if (used == 0)
        malformed("arguments");
    plan->argv = plan->strings;
    for (uint32_t i = 0; i < used; i++)
        plan->argv[i] = (char *)take_text(&reader, "arguments");
    if (plan->argv[0][0] == '\0')
        malformed("arguments");
    plan->argv[used] = NULL;
    plan->envp = plan->strings + used + 1;
    uint32_t variables = take_count(&reader, MAX_STRINGS - used, "environment");
    for (uint32_t i = 0; i < variables; i++)
        plan->envp[i] = (char *)take_text(&reader, "environment");
    plan->envp[variables] = NULL;
    plan->memory_bytes = take64(&reader, "memory");
    plan->cpu_quota = take32(&reader, "processor time");
    if (plan->memory_bytes < LEAST_MEMORY || plan->memory_bytes > INT64_MAX || plan->cpu_quota < 1 || plan->cpu_quota > INT32_MAX)
        malformed("limits to show");
    plan->merges_output = take_count(&reader, 1, "flags");
    plan->change_bytes = take64(&reader, "changes");
    plan->change_entries = take32(&reader, "changes");
    if (plan->change_entries > 0 && workspaces == 0)
        malformed("changes");
    if (reader.at != reader.end)
        malformed("end of START");
}

/* ---- PID 1: preparation ---- */

static int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only);

/* Makes what a link of the image names and does not have (home -> var/home). Returns 0 where something is there then. */
static int make_target(const char *link)
{
    static int depth;
    char target[MAX_PATH + 1];
    char path[2 * MAX_PATH + 2];
    struct stat info;
    if (stat(link, &info) == 0)
        return 0;
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length <= 0 || depth >= MAX_LINKS) {
        errno = ENOENT;
        return -1;
    }
    target[length] = '\0';
    size_t parent = target[0] == '/' ? 0 : (size_t)(strrchr(link, '/') - link) + 1;
    if (parent + (size_t)length > MAX_PATH) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(path, link, parent);
    memcpy(path + parent, target, (size_t)length + 1);
    depth++;
    int made = make_directories(path, 0, 0, 0);
    depth--;
    return made;
}

/*
 * Makes a directory and its parents; those that are made belong to root, the last one to the given ids.
 * Returns 0, or -1 with errno.
 */
static int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only)
{
    char prefix[MAX_PATH + 1];
    size_t length = strlen(path);
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        int last = path[i] == '\0';
        if (last && parents_only)
            break;
        prefix[i] = '\0';
        if (mkdir(prefix, 0755) == 0) {
            if (lchown(prefix, last ? uid : 0, last ? gid : 0) != 0)
                return -1;
        } else if (errno != EEXIST || make_target(prefix) != 0) {
            return -1;
        }
        prefix[i] = path[i];
    }
    return 0;
}

/* Whether the image has something in this directory, which a mount would hide. */
static int is_used(const char *path)
{
    int used = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return 0;
    }
    struct dirent *entry;
    while (!used && (entry = readdir(directory)) != NULL)
        used = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return used;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        fault("strdup", NULL, errno);
    return copy;
}

/* The file system of all directories is mounted here while they are bound. Every root has this directory. */
static const char TMPFS_ROOT[] = "/.boxer";

static void file_failed(int error);

/* The image has a file at its path, or on the way there: the request is wrong, and not the sandbox. */
static void refuse_workspace(struct mount_point *point, int error)
{
    point->is_mounted = 0;
    strcpy(file_path, point->tmpfs.path);
    file_failed(error);
}

static void mount_directory(const struct tmpfs *tmpfs)
{
    struct mount_point *point = &mounts[mount_count];
    char source[64];
    snprintf(source, sizeof source, "%s/%u", TMPFS_ROOT, mount_count++);
    point->tmpfs = *tmpfs;
    point->tmpfs.path = copy_text(tmpfs->path);
    point->is_mounted = tmpfs->flags != LEAVE_USED || !is_used(tmpfs->path);
    if (!point->is_mounted)
        return;
    /* gVisor mounts a directory on a file, and nothing can then be made where the file was. */
    struct stat info;
    if (tmpfs->flags == WORKSPACE && stat(tmpfs->path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        refuse_workspace(point, ENOTDIR);
        return;
    }
    if (mkdir(source, 0700) != 0 || chown(source, tmpfs->uid, tmpfs->gid) != 0 || chmod(source, tmpfs->mode) != 0)
        fault("make", source, errno);
    for (int attempt = 0; mount(source, tmpfs->path, NULL, MS_BIND | MS_NOSUID | MS_NODEV, NULL) != 0; attempt++) {
        if (attempt == 0 && errno == ENOENT && make_directories(tmpfs->path, 0, 0, 0) == 0)
            continue;
        if (tmpfs->flags != WORKSPACE)
            fault("mount", tmpfs->path, errno);
        refuse_workspace(point, errno);
        return;
    }
    if (tmpfs->flags == WORKSPACE && (workspace_fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fault("open", tmpfs->path, errno);
}

/* The directories are in one file system, so that its size is the bound of them all together. */
static void mount_directories(void)
{
    char options[64];
    snprintf(options, sizeof options, "size=%llu,mode=0700", (unsigned long long)plan->tmpfs_size);
    /* A warm-up of user 0 may have put something else there. */
    struct stat info;
    if (lstat(TMPFS_ROOT, &info) != 0 || !S_ISDIR(info.st_mode)) {
        unlink(TMPFS_ROOT);
        mkdir(TMPFS_ROOT, 0700);
    }
    if (plan->tmpfs_count > 0 && mount("tmpfs", TMPFS_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        fault("mount", TMPFS_ROOT, errno);
    for (uint32_t i = 0; i < plan->tmpfs_count; i++)
        mount_directory(&plan->tmpfs[i]);
    if (plan->tmpfs_count > 0 && umount2(TMPFS_ROOT, MNT_DETACH) != 0)
        fault("unmount", TMPFS_ROOT, errno);
    mounted_size = plan->tmpfs_size;
}

static void unmount_directories(void)
{
    while (mount_count > 0) {
        struct mount_point *point = &mounts[--mount_count];
        if (point->is_mounted && umount2(point->tmpfs.path, 0) != 0)
            fault("unmount", point->tmpfs.path, errno);
        free((char *)point->tmpfs.path);
    }
}

/* Whether the mounts that are there are those of the plan. */
static int are_mounts_wanted(void)
{
    int same = mount_count == plan->tmpfs_count && mounted_size == plan->tmpfs_size;
    for (uint32_t i = 0; i < mount_count && same; i++) {
        const struct tmpfs *there = &mounts[i].tmpfs;
        const struct tmpfs *wanted = &plan->tmpfs[i];
        same = strcmp(there->path, wanted->path) == 0 && there->mode == wanted->mode && there->uid == wanted->uid && there->gid == wanted->gid
            && there->flags == wanted->flags;
    }
    return same;
}

/*
 * Opens a new file in place of what is there; a link there is removed and not followed. It has its mode at once: nobody is
 * there to look at it before GO.
 */
static int create_file(const char *path, mode_t mode)
{
    int fd;
    for (int attempt = 0; (fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)) < 0; attempt++) {
        if (attempt > 0 || (errno != EEXIST && errno != ENOENT))
            return -1;
        if (errno == EEXIST ? unlink(path) != 0 : make_directories(path, 0, 0, 1) != 0)
            return -1;
    }
    if (fchown(fd, 0, 0) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int create_text(const char *path)
{
    int fd = create_file(path, 0644);
    if (fd < 0)
        fault("create", path, errno);
    return fd;
}

static void write_text(const struct text_file *text)
{
    int fd = -1;
    for (uint32_t i = 0; i < empty_file_count; i++) {
        if (empty_files[i].fd >= 0 && strcmp(empty_files[i].path, text->path) == 0) {
            fd = empty_files[i].fd;
            empty_files[i].fd = -1;
            break;
        }
    }
    if (fd < 0)
        fd = create_text(text->path);
    if (write_all(fd, text->content, text->length) != 0)
        fault("write", text->path, errno);
    close(fd);
}

static void forget_empty_files(void)
{
    while (empty_file_count > 0) {
        struct empty_file *file = &empty_files[--empty_file_count];
        if (file->fd >= 0)
            close(file->fd);
        free(file->path);
    }
}

/* What the next plan probably wants is made while nobody waits for it: mounts and text files, with nothing in them. */
static void make_ahead(void)
{
    mount_directories();
    for (uint32_t i = 0; i < plan->text_count; i++) {
        struct empty_file *file = &empty_files[empty_file_count++];
        file->path = copy_text(plan->texts[i].path);
        file->fd = create_text(file->path);
    }
}

/* ---- PID 1: what programs read about the sandbox ---- */

/*
 * The kernel of the sandbox knows the host's memory, and shows as many processors as it uses itself: on fewer of them it would be
 * slower. Programs size themselves by the limits of cgroups, by their affinity and by files of /proc and /sys, so PID 1 narrows the
 * affinity that a command inherits, and mounts files of its own over those while it waits, read-only, with descriptors to write
 * what the run's limits come to. They are closed before anything of a guest runs: user 0 could open them through /proc/1/fd. A mount
 * that this kernel does not have is left out: programs then see the host's.
 */
static const char CGROUPS[] = "/sys/fs/cgroup";

enum { VIEW_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC };

/* Binds a file or directory over another, read-only; undone where it cannot be read-only. */
static int bind_read_only(const char *source, const char *target)
{
    if (mount(source, target, NULL, MS_BIND, NULL) != 0)
        return -1;
    if (mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | VIEW_FLAGS, NULL) == 0)
        return 0;
    int error = errno;
    if (umount2(target, MNT_DETACH) != 0)
        fault("unmount", target, errno);
    errno = error;
    return -1;
}

static int mount_scratch(void)
{
    char options[64];
    snprintf(options, sizeof options, "size=%d,mode=0755,uid=%u,gid=%u", SCRATCH_BYTES, (unsigned int)RESERVED_ID, (unsigned int)RESERVED_ID);
    return mount("tmpfs", CGROUPS, "tmpfs", VIEW_FLAGS, options);
}

static void unmount_scratch(void)
{
    if (umount2(CGROUPS, MNT_DETACH) != 0)
        fault("unmount", CGROUPS, errno);
}

/* Text of the sandbox's kernel. */
struct text {
    char *bytes;
    size_t length;
};

static struct text cpuinfo;
static struct text cpu_statistics;

static void read_text(struct text *text, const char *path)
{
    size_t room = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t got = 1; fd >= 0 && got > 0; text->length += (size_t)got) {
        if (text->length == room && (text->bytes = realloc(text->bytes, room += 64 << 10)) == NULL)
            fault("realloc", NULL, errno);
        got = read(fd, text->bytes + text->length, room - text->length);
        if (got < 0)
            fault("read", path, errno);
    }
    if (fd >= 0)
        close(fd);
}

enum shown_file { MEMINFO, CPUINFO, STATISTICS, SHOWN_FILES };

/* A file that stands in for one of the kernel's. fd is to write to it, or -1. */
static struct view {
    const char *source;
    const char *target;
    int fd;
    int is_shown;
} shown_files[SHOWN_FILES] = {
    [MEMINFO] = { "/sys/fs/cgroup/meminfo", "/proc/meminfo", -1, 0 },
    [CPUINFO] = { "/sys/fs/cgroup/cpuinfo", "/proc/cpuinfo", -1, 0 },
    [STATISTICS] = { "/sys/fs/cgroup/stat", "/proc/stat", -1, 0 },
};

static const char SYSTEM_PROCESSORS[] = "/sys/devices/system/cpu";
static int processor_list_fd = -1;
static int processor_directory_fd = -1;
static int are_processors_shown;

/* A directory as the kernel's: lists of processors, and a directory for each. */
static void show_processors(void)
{
    static const char directory[] = "/sys/fs/cgroup/processors";
    if (mkdir(directory, 0755) != 0)
        return;
    processor_directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (processor_directory_fd < 0)
        return;
    int fd = openat(processor_directory_fd, "online", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd >= 0 && linkat(processor_directory_fd, "online", processor_directory_fd, "possible", 0) == 0
        && linkat(processor_directory_fd, "online", processor_directory_fd, "present", 0) == 0
        && bind_read_only(directory, SYSTEM_PROCESSORS) == 0) {
        processor_list_fd = fd;
        are_processors_shown = 1;
    } else if (fd >= 0) {
        close(fd);
    }
}

/*
 * The files are in a tmpfs that has no path any more, so that only PID 1's descriptors write them. They belong to PID 1's id: a
 * read-only mount does not keep user 0 from changing the mode of a file of its own.
 */
static void show_file(struct view *file)
{
    int fd = open(file->source, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd >= 0 && bind_read_only(file->source, file->target) == 0) {
        file->fd = fd;
        file->is_shown = 1;
    } else if (fd >= 0) {
        close(fd);
    }
}

static void show_files(void)
{
    if (mount_scratch() != 0)
        return;
    for (int i = 0; i < SHOWN_FILES; i++)
        show_file(&shown_files[i]);
    show_processors();
    unmount_scratch();
}

/*
 * Mounts a controller read-only. limit: the file of it that PID 1 keeps open for writing, through a mount that has no path any
 * more; or NULL. Returns the descriptor, or -1.
 */
static int mount_controller(const char *controller, const char *limit)
{
    char path[64];
    char file[128];
    int fd = -1;
    snprintf(path, sizeof path, "%s/%s", CGROUPS, controller);
    if (mkdir(path, 0755) != 0)
        return -1;
    if (limit != NULL && mount("cgroup", path, "cgroup", VIEW_FLAGS, controller) == 0) {
        snprintf(file, sizeof file, "%s/%s", path, limit);
        fd = open(file, O_WRONLY | O_CLOEXEC);
        if (umount2(path, MNT_DETACH) != 0)
            fault("unmount", path, errno);
    }
    /* A controller whose limit cannot be written would show a wrong limit. */
    if (limit == NULL || fd >= 0)
        mount("cgroup", path, "cgroup", MS_RDONLY | VIEW_FLAGS, controller);
    return fd;
}

static void show_cgroups(void)
{
    if (mount_scratch() != 0)
        return;
    memory_limit_fd = mount_controller("memory", "memory.limit_in_bytes");
    cpu_quota_fd = mount_controller("cpu", "cpu.cfs_quota_us");
    /* Java reads no limit where one of these is missing. */
    mount_controller("cpuacct", NULL);
    cpuset_fd = mount_controller("cpuset", "cpuset.cpus");
    are_cgroups_shown = mount(NULL, CGROUPS, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | VIEW_FLAGS, NULL) == 0;
    if (!are_cgroups_shown)
        unmount_scratch();
}

static void close_view(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/*
 * gVisor mounts the root over an empty directory of its own. chroot(2), and ".." through a descriptor from before, lead down to it. It is
 * read-only, but gVisor lets its owner change mode, times and attributes all the same, and those of a warm-up would still be there for the
 * run. Before one of user 0, who alone gets there, PID 1 gives it to the reserved id. Anywhere else than in gVisor the way leads to a directory of
 * somebody's, which has at least this root in it: one that is not empty, or cannot be read, is left alone. Returns 0, or -1 with errno; the
 * working directory is / then.
 */
static int close_lower_root(void)
{
    struct stat upper, lower;
    int result = -1;
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || fstat(root, &upper) != 0 || chroot(TMPFS_ROOT) != 0)
        fault("leave", "the root", errno);
    if (fchdir(root) == 0 && chdir("..") == 0 && stat(".", &lower) == 0) {
        if (lower.st_dev == upper.st_dev && lower.st_ino == upper.st_ino)
            result = 0;
        else if (is_used(".") || access(".", R_OK) != 0)
            errno = ENOTEMPTY;
        else
            result = chown(".", RESERVED_ID, RESERVED_ID) == 0 && chmod(".", 0555) == 0 ? 0 : -1;
    }
    int error = errno;
    if (fchdir(root) != 0 || chroot(".") != 0)
        fault("return to", "the root", errno);
    close(root);
    errno = error;
    return result;
}

/* Mounts all again, with descriptors to write to. */
static void renew_views(void)
{
    for (int i = 0; i < SHOWN_FILES; i++) {
        if (shown_files[i].is_shown && umount2(shown_files[i].target, MNT_DETACH) != 0)
            fault("unmount", shown_files[i].target, errno);
        shown_files[i].is_shown = 0;
    }
    if (are_processors_shown && umount2(SYSTEM_PROCESSORS, MNT_DETACH) != 0)
        fault("unmount", SYSTEM_PROCESSORS, errno);
    if (are_cgroups_shown)
        unmount_scratch();
    are_processors_shown = 0;
    are_cgroups_shown = 0;
    show_files();
    show_cgroups();
}

/*
 * A warm-up has /proc and /dev of its own: whoever is user 0 can make files in /dev, and change the modes of what is in both.
 * The settings in /proc/sys belong to the sandbox's kernel, however often they are mounted, so they are read-only. So do the files
 * of cgroups and of terminals, whose modes it would change for the run: it has none. PID 1's files cover those of the new /proc too.
 */
static void mount_for_warm_up(void)
{
    if (mount("proc", "/proc", "proc", VIEW_FLAGS, NULL) != 0)
        fault("mount", "/proc", errno);
    if (bind_read_only("/proc/sys", "/proc/sys") != 0)
        fault("mount", "/proc/sys", errno);
    if (are_cgroups_shown)
        unmount_scratch();
    are_cgroups_shown = 0;
    if (mount_scratch() == 0) {
        for (int i = 0; i < SHOWN_FILES; i++) {
            close_view(&shown_files[i].fd);
            if (shown_files[i].is_shown)
                show_file(&shown_files[i]);
        }
        unmount_scratch();
    }
    if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL) != 0)
        fault("mount", "/dev", errno);
}

static void unmount_after_warm_up(void)
{
    if (umount2("/dev", MNT_DETACH) != 0)
        fault("unmount", "/dev", errno);
    if (umount2("/proc", MNT_DETACH) != 0)
        fault("unmount", "/proc", errno);
}

/* gVisor lets every process change these of every other, and a command inherits them from PID 1. */
static void restore_scheduling(void)
{
    if (setpriority(PRIO_PROCESS, 0, 0) != 0)
        fault("restore", "the priority", errno);
    if (syscall(SYS_sched_setaffinity, 0, sizeof own_processors, &own_processors) != 0)
        fault("restore", "the processors", errno);
    prctl(PR_SET_NAME, "init", 0, 0, 0);
}

static void write_view(int fd, const char *text, size_t length)
{
    if (fd >= 0 && write_all(fd, (const uint8_t *)text, length) != 0)
        fault("write", "a limit", errno);
}

static void show_memory(void)
{
    static const char *const zeros[] = {
        "Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)",
        "Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "SReclaimable",
    };
    static const char *const totals[] = { "MemTotal", "MemFree", "MemAvailable" };
    char text[MAX_MEMINFO];
    int length = 0;
    for (size_t i = 0; i < sizeof totals / sizeof totals[0]; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s:%*llu kB\n", totals[i], 23 - (int)strlen(totals[i]),
            (unsigned long long)plan->memory_bytes / 1024);
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s:%*d kB\n", zeros[i], 23 - (int)strlen(zeros[i]), 0);
    write_view(shown_files[MEMINFO].fd, text, (size_t)length);
    write_view(memory_limit_fd, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)plan->memory_bytes));
}

/* How many processors the command is to see. */
static long count_processors(void)
{
    long wanted = ((long)plan->cpu_quota + CPU_PERIOD - 1) / CPU_PERIOD;
    return wanted < own_processor_count ? wanted : own_processor_count;
}

/* Inherited by what PID 1 makes from here on. */
static void narrow_affinity(void)
{
    struct processors few = { 0 };
    long count = count_processors();
    for (long number = 0; number < MAX_PROCESSORS && count > 0; number++) {
        uint8_t bit = own_processors.bits[number / 8] & (uint8_t)(1 << number % 8);
        few.bits[number / 8] |= bit;
        count -= bit != 0;
    }
    if (syscall(SYS_sched_setaffinity, 0, sizeof few, &few) != 0)
        fault("set", "the processors", errno);
}

static int starts_with(const char *text, const char *end, const char *start)
{
    size_t length = strlen(start);
    return (size_t)(end - text) >= length && memcmp(text, start, length) == 0;
}

/* The processors are paragraphs, and each says how many there are. */
static void write_cpuinfo(long count)
{
    const char *at = cpuinfo.bytes;
    const char *const last = cpuinfo.bytes + cpuinfo.length;
    char *text = malloc(cpuinfo.length + 1 + 64 * (size_t)count);
    if (text == NULL)
        fault("malloc", NULL, errno);
    char *to = text;
    for (long left = count; at < last && left > 0;) {
        const char *line_end = memchr(at, '\n', (size_t)(last - at));
        const char *next = line_end != NULL ? line_end + 1 : last;
        const char *colon = memchr(at, ':', (size_t)(next - at));
        if (colon != NULL && (starts_with(at, next, "siblings") || starts_with(at, next, "cpu cores"))) {
            to = mempcpy(to, at, (size_t)(colon + 1 - at));
            to += sprintf(to, " %ld\n", count);
        } else {
            to = mempcpy(to, at, (size_t)(next - at));
        }
        left -= *at == '\n';
        at = next;
    }
    write_view(shown_files[CPUINFO].fd, text, (size_t)(to - text));
    free(text);
}

/* The processors are lines after that of their sum. */
static void write_statistics(long count)
{
    size_t head = 0;
    size_t tail = 0;
    for (long lines = 0; cpu_statistics.length - tail > 3 && memcmp(cpu_statistics.bytes + tail, "cpu", 3) == 0; lines++) {
        const char *line_end = memchr(cpu_statistics.bytes + tail, '\n', cpu_statistics.length - tail);
        tail = line_end != NULL ? (size_t)(line_end + 1 - cpu_statistics.bytes) : cpu_statistics.length;
        if (lines <= count)
            head = tail;
    }
    write_view(shown_files[STATISTICS].fd, cpu_statistics.bytes, head);
    write_view(shown_files[STATISTICS].fd, cpu_statistics.bytes + tail, cpu_statistics.length - tail);
}

static void list_processors(long count)
{
    char text[64];
    int length = count == 1 ? snprintf(text, sizeof text, "0\n") : snprintf(text, sizeof text, "0-%ld\n", count - 1);
    write_view(processor_list_fd, text, (size_t)length);
    write_view(cpuset_fd, text, (size_t)length - 1);
    for (long number = 0; number < count && processor_list_fd >= 0; number++) {
        snprintf(text, sizeof text, "cpu%ld", number);
        if (mkdirat(processor_directory_fd, text, 0555) != 0)
            fault("make", text, errno);
    }
}

static void show_limits(void)
{
    char text[32];
    long count = count_processors();
    show_memory();
    write_view(cpu_quota_fd, text, (size_t)snprintf(text, sizeof text, "%u", plan->cpu_quota));
    write_cpuinfo(count);
    write_statistics(count);
    list_processors(count);
    for (int i = 0; i < SHOWN_FILES; i++)
        close_view(&shown_files[i].fd);
    close_view(&processor_list_fd);
    close_view(&processor_directory_fd);
    close_view(&memory_limit_fd);
    close_view(&cpu_quota_fd);
    close_view(&cpuset_fd);
}

/* ---- PID 1: input files ---- */

static void file_failed(int error)
{
    send_payload_end(FILE_FAILED, put_text(put32(buffer + HEADER_SIZE, (uint32_t)error), file_path, strlen(file_path)));
    if (file_fd >= 0)
        close(file_fd);
    file_fd = -1;
    kill_all();
    state = OVER;
}

static void file_begin(const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    if (file_fd >= 0)
        malformed("FILE_BEGIN");
    uint32_t flags = take_count(&reader, 1, "file flags");
    strcpy(file_path, take_path(&reader, "file path"));
    if (reader.at != reader.end)
        malformed("end of FILE_BEGIN");
    file_fd = create_file(file_path, flags != 0 ? 0555 : 0444);
    if (file_fd < 0)
        file_failed(errno);
}

static void file_data(const uint8_t *payload, size_t length)
{
    if (file_fd < 0)
        malformed("FILE_DATA");
    if (write_all(file_fd, payload, length) != 0)
        file_failed(errno);
}

static void file_end(size_t length)
{
    if (file_fd < 0 || length != 0)
        malformed("FILE_END");
    if (has_file_time && futimens(file_fd, file_time) != 0) {
        file_failed(errno);
        return;
    }
    has_file_time = 0;
    close(file_fd);
    file_fd = -1;
}

/* ---- PID 1: the workspace ---- */

/*
 * Entries come below the workspace's own directory and belong to the command's user. No step follows a link: those in a workspace are the
 * caller's, and an entry below one would go where it leads. The directory of the last entry stays open, because most entries are beside it.
 */
static int tree_fd = -1;
static char tree_directory[MAX_PATH + 1];

static void close_tree(void)
{
    if (tree_fd >= 0)
        close(tree_fd);
    tree_fd = -1;
}

/* Returns the last name of the path, once its directory is open as tree_fd; NULL where that failed, with errno. */
static const char *enter_tree(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    const char *name = slash == NULL ? path : slash + 1;
    if (tree_fd >= 0 && strlen(tree_directory) == length && memcmp(tree_directory, path, length) == 0)
        return name;
    close_tree();
    memcpy(tree_directory, path, length);
    tree_directory[length] = '\0';
    tree_fd = fcntl(workspace_fd, F_DUPFD_CLOEXEC, 0);
    char step[MAX_NAME + 1];
    for (const char *at = path; tree_fd >= 0 && at < name;) {
        size_t size = strcspn(at, "/");
        memcpy(step, at, size);
        step[size] = '\0';
        int below = openat(tree_fd, step, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        close(tree_fd);
        tree_fd = below;
        errno = error;
        at += size + 1;
    }
    return tree_fd < 0 ? NULL : name;
}

/* Every entry but a directory takes the place of what has its name. The host checks that this is not a directory. */
static int make_room(const char *name)
{
    return unlinkat(tree_fd, name, 0) == 0 || errno == ENOENT ? 0 : -1;
}

static int create_in_tree(const char *path, mode_t mode)
{
    const char *name = enter_tree(path);
    if (name == NULL)
        return -1;
    int fd;
    for (int attempt = 0; (fd = openat(tree_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)) < 0; attempt++)
        if (attempt > 0 || errno != EEXIST || make_room(name) != 0)
            return -1;
    if (fchown(fd, plan->uid, plan->gid) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int make_tree_directory(const char *path, mode_t mode, const struct timespec times[2])
{
    const char *name = enter_tree(path);
    if (name == NULL || (mkdirat(tree_fd, name, 0700) != 0 && errno != EEXIST))
        return -1;
    int fd = openat(tree_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int made = fchown(fd, plan->uid, plan->gid) == 0 && fchmod(fd, mode) == 0 && futimens(fd, times) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return made ? 0 : -1;
}

static int make_tree_link(const char *path, const char *target, const struct timespec times[2])
{
    const char *name = enter_tree(path);
    if (name == NULL)
        return -1;
    if (symlinkat(target, tree_fd, name) != 0 && (errno != EEXIST || make_room(name) != 0 || symlinkat(target, tree_fd, name) != 0))
        return -1;
    return fchownat(tree_fd, name, plan->uid, plan->gid, AT_SYMLINK_NOFOLLOW) != 0 || utimensat(tree_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0 ? -1 : 0;
}

/* A hard link of an archive becomes a file of its own. */
static int copy_in_tree(const char *path, const char *source, mode_t mode, const struct timespec times[2])
{
    static uint8_t piece[MAX_PAYLOAD];
    struct stat info;
    const char *name = enter_tree(source);
    int from = name == NULL ? -1 : openat(tree_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        return -1;
    errno = EINVAL;
    int to = fstat(from, &info) != 0 || !S_ISREG(info.st_mode) ? -1 : create_in_tree(path, mode);
    ssize_t got = -1;
    while (to >= 0 && (got = read(from, piece, sizeof piece)) > 0)
        if (write_all(to, piece, (size_t)got) != 0)
            break;
    int copied = to >= 0 && got == 0 && futimens(to, times) == 0;
    int error = errno;
    close(from);
    if (to >= 0)
        close(to);
    errno = error;
    return copied ? 0 : -1;
}

static void take_tree(uint32_t type, const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    if (file_fd >= 0 || workspace_fd < 0)
        malformed("order of frames");
    uint32_t mode = take_count(&reader, 0777, "mode");
    file_time[0].tv_nsec = UTIME_OMIT;
    file_time[1].tv_sec = (time_t)take64(&reader, "time");
    file_time[1].tv_nsec = (long)take_count(&reader, 999999999, "time");
    const char *path = take_relative(&reader, "path");
    const char *other = type == TREE_LINK ? take_text(&reader, "target") : type == TREE_COPY ? take_relative(&reader, "source") : NULL;
    if (reader.at != reader.end)
        malformed("end of an entry");
    strcpy(file_path, path);
    int result = type == TREE_DIRECTORY ? make_tree_directory(path, mode, file_time)
        : type == TREE_LINK ? make_tree_link(path, other, file_time)
        : type == TREE_COPY ? copy_in_tree(path, other, mode, file_time)
        : create_in_tree(path, mode);
    if (result < 0) {
        file_failed(errno);
    } else if (type == TREE_FILE) {
        file_fd = result;
        has_file_time = 1;
    }
}

/* ---- the child, until it is the command ---- */

_Noreturn static void child_fail(enum stage stage)
{
    plan->failed_errno = (uint32_t)errno;
    plan->failed_stage = (uint32_t)stage;
    _exit(127);
}

static int set_capabilities(uint32_t low, uint32_t high)
{
    struct capability_header header = { CAPABILITY_VERSION_3, 0 };
    struct capability_data data[2] = { { low, low, 0 }, { high, high, 0 } };
    return (int)syscall(SYS_capset, &header, data);
}

static int drop_from_bounding_set(uint64_t dropped)
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
 * A namespace that has the ids below MAPPED_IDS only, the same as outside. The reserved one does not exist in it, so no capability held
 * in it reaches PID 1 or its files. PID 1 writes the maps, because that takes a capability outside.
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
 * Refuses what gVisor would let a command do beyond its limits.
 * New user namespaces: in one of its own a process has every capability, and gVisor takes those for RLIMIT_NPROC and for mounts:
 * 300 processes of 64, and a tmpfs without a size. clone3 has its flags in memory, where a filter cannot look; every libc falls
 * back to clone.
 * F_SETSIG: user 0 may have any signal sent to any process when a descriptor becomes ready, SIGKILL to PID 1 too. SIGIO, which is
 * sent without it, PID 1 blocks.
 */
static int refuse_calls(void)
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
        { BPF_JUMP_SET, 4, 2, CLONE_NEWUSER },
        { BPF_LOAD_WORD, 0, 0, CALL_SECOND_ARGUMENT },
        { BPF_JUMP_EQUAL, 2, 0, SET_SIGNAL },
        { BPF_RETURN, 0, 0, SECCOMP_ALLOW },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | ENOSYS },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | EPERM },
    };
    struct bpf_program program = { sizeof filter / sizeof filter[0], filter };
    return install_filter(&program);
}

/* As execvpe(3), without its shell for files of an unknown format. */
static void execute(void)
{
    const char *name = plan->argv[0];
    if (strchr(name, '/') != NULL) {
        execve(name, plan->argv, plan->envp);
        return;
    }

    const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (char **variable = plan->envp; *variable != NULL; variable++) {
        if (strncmp(*variable, "PATH=", 5) == 0) {
            path = *variable + 5;
            break;
        }
    }
    int denied = 0;
    errno = ENOENT;
    for (;;) {
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
        if (path[length] == '\0')
            break;
        path += length + 1;
    }
    errno = denied ? EACCES : ENOENT;
}

static int open_null(void)
{
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0)
        return -1;
    for (int standard = 0; standard < CONTROL; standard++)
        if (dup2(fd, standard) < 0)
            return -1;
    if (fd >= CONTROL)
        close(fd);
    return 0;
}

/*
 * socket: of a child that makes a user namespace, for a command of user 0; else -1, and then this runs in init's own
 * memory. Ids are changed by system calls, as a libc would look for threads of init.
 */
_Noreturn static void become_command(int socket)
{
    /*
     * System V memory, semaphores and queues outlive their processes, but not their namespace; so do ports that connections have
     * used. The host learns no failing stage of a warm-up.
     */
    if (plan->is_quiet && unshare(CLONE_NEWIPC | CLONE_NEWNET) != 0)
        child_fail(STAGE_USER_NAMESPACE);
    for (uint32_t i = 0; i < plan->limit_count; i++)
        if (setrlimit((int)plan->limits[i].resource, &plan->limits[i].value) != 0)
            child_fail(STAGE_LIMITS);
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
    if (refuse_calls() != 0)
        child_fail(STAGE_SECCOMP);
    if (setsid() < 0)
        child_fail(STAGE_SESSION);
    umask(022);
    if (chdir(plan->cwd) != 0)
        child_fail(STAGE_CWD);
    if (plan->is_quiet && open_null() != 0)
        child_fail(STAGE_EXEC);
    if (plan->merges_output && dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
        child_fail(STAGE_EXEC);
    /* Init ignores no signal, and an exec ends its handling of SIGCHLD. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute();
    child_fail(STAGE_EXEC);
}

/* ---- PID 1: its child ---- */

/* Keeps the capabilities over the change of uid, and none that can be inherited. */
static void become_reserved(void)
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
     * Not dumpable, as setresuid(2) leaves it, has the files in /proc/1 belong to root, which the command may be. Their true
     * owner is the reserved id; tracing it still takes that id, or a capability that no command has.
     */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int spawned(void *unused)
{
    (void)unused;
    become_command(-1);
}

/*
 * In init's own memory, while init waits for its exec (vfork(2)): with systrap a fork costs some 8 ms more, for the pages that
 * are copied and the host process that a new address space is.
 */
static void spawn_child(void)
{
    static uint8_t stack[128 << 10] __attribute__((aligned(16)));
    child = clone(spawned, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    if (child < 0)
        fault("clone", NULL, errno);
    /* The memory is not dumpable since its other user changed its ids. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/*
 * A child that waits for GO, for a command of user 0: init writes the maps of the user namespace that it makes. It is made as
 * user 0, for whom it is counted then (RLIMIT_NPROC).
 */
static void fork_child(void)
{
    int pair[2];
    /* Sockets, as a pipe of PID 1 can be opened through /proc/1/fd. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fault("socketpair", NULL, errno);
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        fault("user 0", NULL, errno);
    child = fork();
    if (child < 0)
        fault("fork", NULL, errno);
    if (child == 0) {
        uint8_t go;
        ssize_t got;
        close(CONTROL);
        close(pair[0]);
        while ((got = read(pair[1], &go, 1)) < 0 && errno == EINTR)
            continue;
        if (got != 1)
            _exit(127);
        become_command(pair[1]);
    }
    close(pair[1]);
    child_socket = pair[0];
    become_reserved();
}

static void release_child(void)
{
    uint8_t go = 1;
    if (send(child_socket, &go, 1, MSG_NOSIGNAL) != 1)
        fault("go", NULL, errno);
}

/* The command's own: the host must see their end when the command's processes are gone. */
static void close_standard(void)
{
    for (int fd = 0; fd < CONTROL; fd++)
        close(fd);
}

/*
 * The command's user becomes the owner of its streams, so that it can open them by name (/dev/stdout, /proc/self/fd/1). gVisor keeps an owner
 * of its own for each. If it refuses, they open for user 0 only.
 */
static void give_standard(void)
{
    for (int fd = 0; fd < CONTROL; fd++)
        fchown(fd, plan->uid, (gid_t)-1);
}

/*
 * A warm-up of user 0 could open the streams of the run through /proc/1/fd, write to them and change their modes. Meanwhile they are on
 * their way through a socket, which does not open.
 */
static int standard_socket = -1;

union standard_message {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(CONTROL * sizeof(int))];
};

static void hide_standard(void)
{
    int pair[2];
    char byte = 0;
    struct iovec content = { &byte, 1 };
    union standard_message control = { 0 };
    struct msghdr message = { .msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(CONTROL * sizeof(int));
    for (int fd = 0; fd < CONTROL; fd++)
        memcpy(CMSG_DATA(header) + (size_t)fd * sizeof fd, &fd, sizeof fd);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || sendmsg(pair[0], &message, MSG_NOSIGNAL) != 1)
        fault("hide", "the standard streams", errno);
    close(pair[0]);
    standard_socket = pair[1];
    for (int fd = 0; fd < CONTROL; fd++)
        if (dup3(standard_socket, fd, O_CLOEXEC) < 0)
            fault("hide", "the standard streams", errno);
}

static void return_standard(void)
{
    char byte;
    struct iovec content = { &byte, 1 };
    union standard_message control;
    struct msghdr message = { .msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    if (recvmsg(standard_socket, &message, MSG_CMSG_CLOEXEC) != 1 || CMSG_FIRSTHDR(&message) == NULL
        || CMSG_FIRSTHDR(&message)->cmsg_len != CMSG_LEN(CONTROL * sizeof(int)))
        fault("return", "the standard streams", errno);
    for (int standard = 0; standard < CONTROL; standard++) {
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)) + (size_t)standard * sizeof fd, sizeof fd);
        if (dup2(fd, standard) < 0)
            fault("return", "the standard streams", errno);
        close(fd);
    }
    close(standard_socket);
    standard_socket = -1;
}

/* Returns the working directory's path in the workspace; NULL where it is not below it. */
static const char *cwd_in_workspace(void)
{
    size_t length = plan->workspace == NULL ? 0 : strlen(plan->workspace);
    return length > 0 && strncmp(plan->cwd, plan->workspace, length) == 0 && plan->cwd[length] == '/' ? plan->cwd + length + 1 : NULL;
}

/* Makes the working directory in the workspace, for the command's user. What is there already stays as it is, and a link is the command's to follow. */
static void make_cwd_in_workspace(void)
{
    const char *path = cwd_in_workspace();
    char prefix[MAX_PATH + 1];
    for (const char *slash = path; slash != NULL;) {
        slash = strchr(slash, '/');
        size_t length = slash == NULL ? strlen(path) : (size_t)(slash++ - path);
        memcpy(prefix, path, length);
        prefix[length] = '\0';
        const char *name = enter_tree(prefix);
        if (name == NULL || (mkdirat(tree_fd, name, 0755) == 0 ? fchownat(tree_fd, name, plan->uid, plan->gid, AT_SYMLINK_NOFOLLOW) : -(errno != EEXIST)) != 0)
            return;
    }
}

static void prepare(size_t length)
{
    parse_start(length);
    plan->failed_stage = 0;
    int are_wanted = are_mounts_wanted();
    /* With other mounts their paths may lead elsewhere; and one that is open keeps what it is in from being unmounted. */
    if (!are_wanted)
        forget_empty_files();
    narrow_affinity();
    if (plan->uid == 0)
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
    /* A directory that cannot be made is the command's to fail on, with the errno of its chdir. One in the workspace comes after the workspace's entries. */
    if (plan->cwd[1] != '\0' && cwd_in_workspace() == NULL) {
        is_cwd_made = access(plan->cwd, F_OK) != 0;
        make_directories(plan->cwd, plan->uid, plan->gid, 0);
    }
    if (plan->output[0] != '\0') {
        output_fd = open(plan->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (output_fd < 0)
            fault("open", plan->output, errno);
    }
}

/* ---- PID 1: outputs ---- */

static uint64_t cut[CUT_REASONS];
static uint64_t bytes_left;
static uint64_t entries_left;
static uint64_t walk_left;

/* The walk of a workspace sends only what is newer than its run, and links too. */
static int walks_changes;
static struct timespec began;
static char output_path[MAX_PATH + 1];

static void send_cut(enum truncation reason, uint64_t count)
{
    send_payload_end(OUTPUT_TRUNCATED, put64(put32(buffer + HEADER_SIZE, (uint32_t)reason), count));
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static int is_utf8(const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    while (*at != 0) {
        uint8_t first = *at++;
        if (first < 0x80)
            continue;
        int more = first >= 0xC2 && first <= 0xDF ? 1 : (first & 0xF0) == 0xE0 ? 2 : first >= 0xF0 && first <= 0xF4 ? 3 : 0;
        if (more == 0)
            return 0;
        uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        for (; more > 0; more--, low = 0x80, high = 0xBF)
            if (*at < low || *at++ > high)
                return 0;
    }
    return 1;
}

static void send_file(int directory, const char *name, size_t length)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        cut[CUT_UNREADABLE]++;
        if (fd >= 0)
            close(fd);
        return;
    }
    uint64_t size = (uint64_t)info.st_size;
    if (size > bytes_left) {
        cut[CUT_BYTES]++;
        close(fd);
        return;
    }
    bytes_left -= size;
    uint8_t *at = put64(put32(buffer + HEADER_SIZE, info.st_mode & 0777), size);
    /* gVisor has negative nanoseconds in times before 1970. */
    int32_t nanoseconds = (int32_t)info.st_mtim.tv_nsec;
    int64_t seconds = info.st_mtim.tv_sec - (nanoseconds < 0);
    at = put32(put64(at, (uint64_t)seconds), (uint32_t)(nanoseconds < 0 ? nanoseconds + 1000000000 : nanoseconds));
    send_payload_end(OUTPUT_FILE, put_text(at, output_path, length));
    while (size > 0) {
        ssize_t got = read(fd, buffer + HEADER_SIZE, size < MAX_PAYLOAD ? (size_t)size : MAX_PAYLOAD);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            /* Said at once, and ends the file. */
            send_cut(CUT_UNREADABLE, 1);
            break;
        }
        send_buffer(OUTPUT_DATA, (size_t)got);
        size -= (uint64_t)got;
    }
    close(fd);
}

/*
 * The files that were at each path of the workspace when the command began. A status change alone does not tell what is new at a path: what is in a
 * directory that was renamed has none, nor has, in gVisor, a file with another link.
 */
struct known {
    uint64_t path;
    uint64_t inode;
};

static struct known *known;
static size_t known_count;
static size_t known_room;

/* FNV-1a. A command that finds two paths with one hash hides changes of its own. */
static uint64_t hash_path(size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)output_path[i]) * 0x100000001B3u;
    return hash;
}

static int compare_known(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct known));
}

/* Returns the length of output_path with the name, or 0 where it is too long. */
static size_t append_name(size_t prefix, const char *name)
{
    size_t length = prefix + (prefix > 0) + strlen(name);
    if (length > MAX_PATH)
        return 0;
    if (prefix > 0)
        output_path[prefix] = '/';
    strcpy(output_path + prefix + (prefix > 0), name);
    return length;
}

static int is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Before the command runs: everything there was made by PID 1. Closes the directory. */
static void remember_directory(int fd, size_t prefix)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL)
        fault("remember", "the workspace", errno);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        size_t length = is_dots(entry->d_name) ? 0 : append_name(prefix, entry->d_name);
        struct stat info;
        if (length == 0 || fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (known_count == known_room && (known = realloc(known, (known_room += 4096) * sizeof *known)) == NULL)
            fault("realloc", NULL, errno);
        known[known_count++] = (struct known){ hash_path(length), info.st_ino };
        int below = S_ISDIR(info.st_mode) ? openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (below >= 0)
            remember_directory(below, length);
    }
    closedir(directory);
}

/* The clock is that of time stamps, which on Linux is behind the precise one. */
static void remember_workspace(void)
{
    /* Not a copy of the descriptor, which would share its position with the walk after the end. */
    int fd = openat(workspace_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fault("open", "the workspace", errno);
    remember_directory(fd, 0);
    qsort(known, known_count, sizeof *known, compare_known);
    clock_gettime(CLOCK_REALTIME_COARSE, &began);
}

static int is_changed(size_t length, const struct stat *info)
{
    if (!walks_changes)
        return 1;
    struct known entry = { hash_path(length), info->st_ino };
    return info->st_ctim.tv_sec > began.tv_sec || (info->st_ctim.tv_sec == began.tv_sec && info->st_ctim.tv_nsec >= began.tv_nsec)
        || bsearch(&entry, known, known_count, sizeof *known, compare_known) == NULL;
}

static void send_link(int directory, const char *name, size_t length)
{
    char target[MAX_PATH + 1];
    ssize_t got = readlinkat(directory, name, target, sizeof target - 1);
    target[got < 0 ? 0 : got] = '\0';
    if (got <= 0 || !is_utf8(target)) {
        cut[got < 0 ? CUT_UNREADABLE : CUT_PATH]++;
        return;
    }
    send_payload_end(OUTPUT_LINK, put_text(put_text(buffer + HEADER_SIZE, target, (size_t)got), output_path, length));
}

/* Returns 0 when the walk is to stop. Closes the directory. */
static int send_directory(int fd, size_t prefix, int depth)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        cut[CUT_UNREADABLE]++;
        close(fd);
        return 1;
    }
    int go_on = 1;
    struct dirent *entry;
    while (go_on && (errno = 0, entry = readdir(directory)) != NULL) {
        const char *name = entry->d_name;
        if (is_dots(name))
            continue;
        struct stat info;
        size_t length = append_name(prefix, name);
        int is_there = fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
        int is_sent = !is_there || length == 0 || is_changed(length, &info);
        if (walk_left == 0 || (is_sent && entries_left == 0)) {
            cut[CUT_ENTRIES]++;
            go_on = 0;
            break;
        }
        walk_left--;
        if (is_sent)
            entries_left--;
        else if (!S_ISDIR(info.st_mode))
            continue;

        if (length == 0 || !is_utf8(name)) {
            cut[CUT_PATH]++;
            continue;
        }
        if (!is_there) {
            cut[CUT_UNREADABLE]++;
        } else if (S_ISREG(info.st_mode)) {
            send_file(fd, name, length);
        } else if (S_ISLNK(info.st_mode) && walks_changes) {
            send_link(fd, name, length);
        } else if (!S_ISDIR(info.st_mode)) {
            cut[CUT_NOT_REGULAR]++;
        } else if (depth >= MAX_DEPTH) {
            cut[CUT_DEPTH]++;
        } else {
            int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
            if (below < 0) {
                cut[CUT_UNREADABLE]++;
                continue;
            }
            if (is_sent)
                send_payload_end(OUTPUT_DIRECTORY, put_text(put32(buffer + HEADER_SIZE, info.st_mode & 0777), output_path, length));
            go_on = send_directory(below, length, depth + 1);
        }
    }
    if (go_on && errno != 0)
        cut[CUT_UNREADABLE]++;
    closedir(directory);
    return go_on;
}

static void send_outputs(int fd, uint64_t bytes, uint64_t entries, int only_changes)
{
    bytes_left = bytes;
    entries_left = entries;
    walks_changes = only_changes;
    walk_left = only_changes ? MAX_WALK : UINT64_MAX;
    send_directory(fd, 0, 0);
    for (enum truncation reason = CUT_BYTES; reason < CUT_REASONS; reason++) {
        if (cut[reason] > 0)
            send_cut(reason, cut[reason]);
        cut[reason] = 0;
    }
    send_buffer(OUTPUT_DONE, 0);
}

/* ---- PID 1: the run ---- */

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Processes and threads of the command when KILL came; 0 where it did not. */
static uint32_t tasks_at_kill;

/* A command that waits for a thread which it could not make shows it only by their number. */
static uint32_t count_tasks(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 && info.procs > 1 ? info.procs - 1u : 0;
}

static void report_end(void)
{
    kill_all();

    struct rusage usage = { 0 };
    getrusage(RUSAGE_CHILDREN, &usage);
    uint32_t is_full = 0;
    uint32_t mounted = 0;
    while (mounted < mount_count && !mounts[mounted].is_mounted)
        mounted++;
    struct statvfs info;
    if (mounted < mount_count && statvfs(mounts[mounted].tmpfs.path, &info) == 0)
        is_full = info.f_bavail == 0;
    int signaled = WIFSIGNALED(child_status);
    uint8_t *at = put32(buffer + HEADER_SIZE, (uint32_t)signaled);
    at = put32(at, (uint32_t)(signaled ? WTERMSIG(child_status) : WEXITSTATUS(child_status)));
    at = put64(at, microseconds(usage.ru_utime) - microseconds(warm_up_usage.ru_utime));
    at = put64(at, microseconds(usage.ru_stime) - microseconds(warm_up_usage.ru_stime));
    at = put64(at, (uint64_t)max_resident * 1024);
    send_payload_end(ENDED, put32(put32(at, is_full), tasks_at_kill));
    state = OVER;
    if (output_fd >= 0)
        send_outputs(output_fd, plan->output_bytes, plan->output_entries, 0);
    if (workspace_fd >= 0 && plan->change_entries > 0)
        send_outputs(workspace_fd, plan->change_bytes, plan->change_entries, 1);
}

static int write_map(const char *name)
{
    char path[64];
    char map[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
    int length = snprintf(map, sizeof map, "0 0 %d\n", MAPPED_IDS);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, map, (size_t)length);
    int error = errno;
    close(fd);
    errno = error;
    return written == length ? 0 : -1;
}

static void map_ids(void)
{
    uint8_t answer[4];
    int error = write_map("uid_map") != 0 || write_map("gid_map") != 0 ? errno : 0;
    put32(answer, (uint32_t)error);
    send(child_socket, answer, sizeof answer, MSG_NOSIGNAL);
}

/* The child is the command, or could not become it. */
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

/* A forked child's end of the socket is closed by its exec or its death. */
static void read_child(void)
{
    uint8_t asks;
    ssize_t got = recv(child_socket, &asks, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got == 1) {
        map_ids();
        return;
    }
    close(child_socket);
    child_socket = -1;
    report_start();
}

/* A command that is not user 0 has started when this returns, or has failed to. */
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

static void handle_frame(uint32_t type, const uint8_t *payload, size_t length)
{
    if (type == KILL) {
        if (length != 0)
            malformed("KILL");
        if (state < EXECUTING)
            leave(0);
        if (state != OVER) {
            tasks_at_kill = state == RUNNING ? count_tasks() : 0;
            kill(-1, SIGKILL);
        }
        return;
    }
    if (type == SIGNAL) {
        take_signal(payload, length);
        return;
    }
    /* After a file that failed, the host may be sending more. */
    if (state == OVER)
        return;
    if (state == WAITING_FOR_START && type == START) {
        prepare(length);
        give_standard();
        if (state != OVER)
            state = WAITING_FOR_GO;
    } else if (state == WAITING_FOR_START && type == WARM_UP) {
        plan->is_quiet = 1;
        hide_standard();
        forget_empty_files();
        unmount_directories();
        mount_for_warm_up();
        prepare(length);
        if (plan->uid == 0 && close_lower_root() != 0)
            fault("close", "the root below", errno);
        state = WARMING_UP;
        start_command();
    } else if (state == WAITING_FOR_GO && type == FILE_BEGIN) {
        file_begin(payload, length);
    } else if (state == WAITING_FOR_GO && type == FILE_DATA) {
        file_data(payload, length);
    } else if (state == WAITING_FOR_GO && type == FILE_END) {
        file_end(length);
    } else if (state == WAITING_FOR_GO && type >= TREE_DIRECTORY && type <= TREE_COPY) {
        take_tree(type, payload, length);
    } else if (state == WAITING_FOR_GO && type == GO && length == 0 && file_fd < 0) {
        make_cwd_in_workspace();
        close_tree();
        if (plan->change_entries > 0)
            remember_workspace();
        state = EXECUTING;
        start_command();
        close_standard();
    } else {
        malformed("order of frames");
    }
}

static int is_plan(uint32_t type)
{
    return type == START || type == WARM_UP;
}

/* Returns the length of the payload, once it is allowed. */
static size_t check_header(const uint8_t *header, uint32_t *type)
{
    size_t length = get32(header);
    *type = (uint32_t)(header[4] | header[5] << 8);
    if ((header[6] | header[7] << 8) != (is_plan(*type) ? PLAN_VERSION : FRAME_VERSION))
        malformed("version");
    /* The child may be using the plan: nothing may touch it once it was told to go. */
    if (is_plan(*type) ? state != WAITING_FOR_START || length > MAX_START : length > MAX_PAYLOAD)
        malformed("length");
    return length;
}

/* Reads what is there, never waits, and hands over each frame when it is complete. */
static void read_control(void)
{
    static uint8_t incoming[HEADER_SIZE + MAX_PAYLOAD];
    static size_t incoming_length;
    static uint32_t plan_type;
    static size_t plan_got;
    static size_t plan_length;

    int in_plan = plan_got < plan_length;
    ssize_t got = in_plan ? recv(CONTROL, plan->payload + plan_got, plan_length - plan_got, MSG_DONTWAIT)
                          : recv(CONTROL, incoming + incoming_length, sizeof incoming - incoming_length, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        leave(0);
    if (in_plan) {
        plan_got += (size_t)got;
        if (plan_got == plan_length)
            handle_frame(plan_type, NULL, plan_length);
        return;
    }

    incoming_length += (size_t)got;
    size_t used = 0;
    while (incoming_length - used >= HEADER_SIZE) {
        uint32_t type;
        size_t length = check_header(incoming + used, &type);
        size_t there = incoming_length - used - HEADER_SIZE;
        const uint8_t *payload = incoming + used + HEADER_SIZE;
        if (is_plan(type)) {
            plan_type = type;
            plan_length = length;
            plan_got = there < length ? there : length;
            memcpy(plan->payload, payload, plan_got);
            used += HEADER_SIZE + plan_got;
            if (plan_got < plan_length)
                break;
        } else {
            if (there < length)
                break;
            used += HEADER_SIZE + length;
        }
        handle_frame(type, payload, length);
    }
    incoming_length -= used;
    memmove(incoming, incoming + used, incoming_length);
}

static volatile sig_atomic_t child_signaled;

static void on_child_signal(int signal_number)
{
    (void)signal_number;
    child_signaled = 1;
}

/* Signals come in ppoll only. */
static void reap(void)
{
    if (!child_signaled)
        return;
    child_signaled = 0;
    while (reap_one() > 0) { }
}

/* All is made as it was before, but for what the command left in the root and what the sandbox's kernel has learned. */
static void finish_warm_up(void)
{
    kill_all();
    return_standard();
    while (child_socket >= 0)
        read_child();
    int signaled = WIFSIGNALED(child_status);
    uint8_t *at = put32(buffer + HEADER_SIZE, warm_up_errno != 0 ? 2 : (uint32_t)signaled);
    at = put32(at, warm_up_errno != 0 ? warm_up_errno : (uint32_t)(signaled ? WTERMSIG(child_status) : WEXITSTATUS(child_status)));
    send_payload_end(WARMED_UP, at);
    getrusage(RUSAGE_CHILDREN, &warm_up_usage);
    max_resident = 0;

    if (output_fd >= 0)
        close(output_fd);
    output_fd = -1;
    unmount_directories();
    unmount_after_warm_up();
    /* It belongs to the warm-up's user. One with entries stays. */
    if (is_cwd_made)
        rmdir(plan->cwd);
    renew_views();
    restore_scheduling();
    make_ahead();
    plan->is_quiet = 0;
    child_ended = 0;
    state = WAITING_FOR_START;
}

/*
 * Takes every path away from the program that PID 1 executes. gVisor lets a running program be written, and its overlay then
 * moves the text of the process to the written file: a guest that may write the file writes PID 1.
 */
static void hide_program(void)
{
    char path[MAX_PATH + 1];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        fault("readlink", "/proc/self/exe", errno);
    path[length] = '\0';
    /* EINVAL: it is a file of the root, and not mounted on one. */
    if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL)
        fault("unmount", path, errno);
    if (unlink(path) != 0)
        fault("unlink", path, errno);
}

static void boot(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    struct sigaction action = { .sa_handler = on_child_signal };
    sigaction(SIGCHLD, &action, NULL);
    umask(0);
    close_from(CONTROL + 1);
    if (fcntl(CONTROL, F_SETFD, FD_CLOEXEC) != 0)
        _exit(LAUNCH_FAILED);

    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (plan == MAP_FAILED)
        fault("mmap", NULL, errno);
    hide_program();
    if (syscall(SYS_sched_getaffinity, 0, sizeof own_processors, &own_processors) < 0)
        fault("read", "the processors", errno);
    for (long number = 0; number < MAX_PROCESSORS; number++)
        own_processor_count += own_processors.bits[number / 8] >> number % 8 & 1;
    read_text(&cpuinfo, "/proc/cpuinfo");
    read_text(&cpu_statistics, "/proc/stat");
    /* What is the same for every command is inherited. */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (drop_from_bounding_set(~0ull) != 0)
        fault("bounding set", NULL, errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fault("no_new_privs", NULL, errno);
    become_reserved();
    /* The runtime mounts a tmpfs of its own there, which would lie below the one of the plan. */
    umount2("/tmp", UMOUNT_NOFOLLOW);
    /* An image that has an mtab keeps it. */
    symlink("/proc/mounts", "/etc/mtab");
    /* It is then the same with and without a warm-up. */
    close_lower_root();
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
        struct pollfd fds[2] = {
            { .fd = CONTROL, .events = POLLIN },
            { .fd = state == EXECUTING || state == WARMING_UP ? child_socket : -1, .events = POLLIN },
        };
        flush();
        int ready = ppoll(fds, 2, NULL, &waiting);
        if (ready < 0 && errno != EINTR)
            fault("poll", NULL, errno);
        reap();
        if (ready > 0 && fds[1].revents != 0)
            read_child();
        if (ready > 0 && fds[0].revents != 0)
            read_control();
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
        launch_usage("unknown command");
    /* Also a safeguard: PID 1 kills every process it can see. */
    if (getpid() != 1) {
        dprintf(STDERR_FILENO, "boxer-init: not PID 1\n");
        return LAUNCH_FAILED;
    }
    if (getsockopt(CONTROL, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        dprintf(STDERR_FILENO, "boxer-init: descriptor 3 is not a stream socket\n");
        return LAUNCH_FAILED;
    }
    boot();
    serve();
}
