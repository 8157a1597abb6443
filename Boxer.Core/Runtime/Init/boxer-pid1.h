/*
 * Declarations that the files of PID 1 share: those of boot, runs and warm-ups (boxer-run.h), of sessions (boxer-session.h), and of the file
 * worker of a session (boxer-files.h). Include it first.
 */
#ifndef BOXER_PID1_H
#define BOXER_PID1_H

#define _GNU_SOURCE
#include "boxer-init.h"

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
    /* The protocol's version, then layout versions: START, WARM_UP and OPEN; ENDED and OUTPUT_FILE; all other frames. */
    VERSION = 5,
    PLAN_VERSION = 5,
    REPORT_VERSION = 2,
    FRAME_VERSION = 1,
    /* Number of standard streams, and of descriptors that come with START. */
    STREAMS = 3,
    /* First of the command's streams if the runtime passes them at boot. */
    PASSED = 3,
    CONTROL = PASSED + STREAMS,
    RESERVED_ID = 0x7FFFFF00,
    /* Number of ids, from 0 on, in the user namespace of a command of user 0. */
    MAPPED_IDS = 65536,
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
    /* Maximum number of workspace entries examined for changes. */
    MAX_WALK = 200000,
    MAX_LINKS = 8,
    MAX_PROCESSORS = 8192,
    MAX_MEMINFO = 1024,
    SCRATCH_BYTES = 16 << 20,
    /* Period of cpu.cfs_quota_us, in microseconds. */
    CPU_PERIOD = 100000,
    LEAST_MEMORY = 1024,
    /* Maximum number of processes that PID 1 reaps before it does other things: a guest can make them faster than they are reaped. */
    MAX_REAPED = 64,
    /* A host that reads nothing for this long is treated as gone. */
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
    OPEN = 0x000D,
    PROBE = 0x000E,
    EXEC = 0x0010,
    PROCESS_SIGNAL = 0x0011,
    INPUT = 0x0012,
    INPUT_END = 0x0013,
    CREDIT = 0x0014,
    RESIZE = 0x0015,
    PROCESS_LIMITS = 0x0016,
    CONNECT = 0x0017,
    RELEASE = 0x0018,
    FILES = 0x0019,
    USAGE = 0x001A,
    PROCESS_USAGE = 0x001B,
    QUIESCE = 0x001C,
    FILES_READ = 0x0100,
    FILES_WRITE = 0x0101,
    FILES_STAT = 0x0102,
    FILES_LIST = 0x0103,
    FILES_MAKE_DIRECTORY = 0x0104,
    FILES_MOVE = 0x0105,
    FILES_REMOVE = 0x0106,
    FILES_READ_TREE = 0x0107,
    FILES_WRITE_TREE = 0x0108,
    FILES_TREE_PARENT = 0x0109,
    FILES_TREE_END = 0x010A,
    FILES_WATCH = 0x010B,
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
    OPENED = 0x800E,
    PROBED = 0x800F,
    PROCESS_STARTED = 0x8010,
    PROCESS_NOT_STARTED = 0x8011,
    PROCESS_ENDED = 0x8012,
    OUTPUT = 0x8013,
    OUTPUT_END = 0x8014,
    CONNECTED = 0x8015,
    NOT_CONNECTED = 0x8016,
    INPUT_TAKEN = 0x8017,
    CLOSED = 0x8018,
    PROCESS_LIMITS_SET = 0x8019,
    USAGE_REPORT = 0x801A,
    PROCESS_USAGE_REPORT = 0x801B,
    QUIET = 0x801C,
    FILES_DONE = 0x8100,
    FILES_FAILED = 0x8101,
    FILES_OPENED = 0x8102,
    FILES_DATA = 0x8103,
    FILES_ENTRY = 0x8104,
    FILES_INCOMPLETE = 0x8105,
    FILES_CHANGE = 0x8106,
};

/* Kinds of directories of the tmpfs. */
enum {
    MOUNTED = 0,
    UNLESS_USED = 1,
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
    STAGE_STREAMS = 13,
};

/* Kind of WARMED_UP for a command that could not be executed; other kinds are as in ENDED. */
enum { WARM_UP_NOT_STARTED = 2 };

enum truncation {
    CUT_BYTES = 1,
    CUT_ENTRIES = 2,
    CUT_DEPTH = 3,
    CUT_PATH = 4,
    CUT_NOT_REGULAR = 5,
    CUT_UNREADABLE = 6,
    CUT_REASONS = 7,
};

/* Repeats a system call that a signal interrupted. */
#define RETRY(call)                                   \
    ({                                                \
        __typeof__(call) result_;                     \
        do                                            \
            result_ = (call);                         \
        while (result_ == -1 && errno == EINTR);      \
        result_;                                      \
    })

static inline void close_keeping_errno(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
}

/* Closes a descriptor of the state, if it is open, and marks it closed. */
static inline void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- state ---- */

struct limit {
    uint32_t resource;
    struct rlimit value;
};

struct tmpfs {
    const char *path;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t kind;
};

struct text_file {
    const char *path;
    const uint8_t *content;
    uint32_t length;
};

/*
 * A START or WARM_UP frame, in memory that PID 1 and its child share: PID 1 reads and checks it, the child uses it and records in it
 * which step failed. The pointers are valid in both processes, because the mapping is older than the fork.
 */
struct plan {
    uint32_t failed_stage;
    uint32_t failed_errno;
    int is_warm_up;
    int is_session;
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
    /* Size of the terminal; 0 for none. */
    uint32_t columns;
    uint32_t rows;
    uint64_t change_bytes;
    uint32_t change_entries;
    char **argv;
    char **envp;
    char *strings[MAX_STRINGS + 2];
    /* Aligned to a page, to be dropped by pages. */
    _Alignas(4096) uint8_t payload[MAX_START];
};

enum state {
    WAITING_FOR_START,
    WARMING_UP,
    WAITING_FOR_GO,
    EXECUTING,
    RUNNING,
    OVER,
    SERVING,
};

/* Descriptors that came with one message, and the part of the socket's stream that the message brought. */
struct descriptors {
    uint64_t begin;
    uint64_t end;
    uint32_t count;
    int fds[STREAMS];
};

/* ---- little-endian ---- */

static inline uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static inline uint64_t get64(const uint8_t *from)
{
    return (uint64_t)get32(from) | (uint64_t)get32(from + 4) << 32;
}

static inline uint8_t *put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        *to++ = (uint8_t)(value >> (8 * i));
    return to;
}

static inline uint8_t *put64(uint8_t *to, uint64_t value)
{
    return put32(put32(to, (uint32_t)value), (uint32_t)(value >> 32));
}

static inline uint8_t *put_text(uint8_t *to, const char *text, size_t length)
{
    to = put32(to, (uint32_t)length);
    memcpy(to, text, length);
    to[length] = 0;
    return to + length + 1;
}

static inline uint8_t *put_time(uint8_t *to, struct timespec time)
{
    /* gVisor has negative nanoseconds in times before 1970. */
    int32_t nanoseconds = (int32_t)time.tv_nsec;
    int64_t seconds = time.tv_sec - (nanoseconds < 0);
    return put32(put64(to, (uint64_t)seconds), (uint32_t)(nanoseconds < 0 ? nanoseconds + 1000000000 : nanoseconds));
}

/* ---- names and files ---- */

static inline int is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Checks RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static inline int is_utf8(const char *text)
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

static inline int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = RETRY(write(fd, bytes, length));
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

/* ---- boxer-tree.c ---- */

/* A directory that entries are made below. The directory of the last entry stays open, because most entries are beside it. */
struct tree {
    int root;
    int fd;
    char directory[MAX_PATH + 1];
    /* Closes a directory that must not be entered, and returns it or -1 with errno; NULL: all can be. */
    int (*allow)(int fd);
};

/* Opens the path's directory as fd of the tree. Returns the path's last name, or NULL with errno. */
const char *enter_tree(struct tree *tree, const char *path);

/* Returns 1 if a text is a relative path: no name is empty, too long, "." or "..". */
int are_names(const char *path);

/* Opens a new file, in place of an existing file or link. Returns the descriptor, or -1 with errno. */
int create_new(int directory, const char *name, mode_t mode);

/* Makes a link, in place of an existing file or link. Returns 0, or -1 with errno. */
int make_link(int directory, const char *name, const char *target);

/* ---- the state ---- */

/* PID 1's second thread, and the children in its memory, have another one (boxer-spawn.c). */
extern _Thread_local struct plan *plan;
extern enum state state;

/* The future standard streams of the command; -1 before START. Its child makes them descriptors 0, 1 and 2. */
extern int standard[STREAMS];
extern uint8_t buffer[HEADER_SIZE + MAX_PAYLOAD];

/* ---- killing (boxer-init.c), receiving, sending (boxer-frames.c) ---- */

void kill_all(void);
_Noreturn void leave(int code);

/* Receives what has arrived on the socket, and handles each complete frame. */
void read_control(void);

/* Overwrites what was received and is to be sent, in a child that does not execute a program. */
void forget_frames(void);

/* Returns the descriptors that came with the frame that is being handled: none, or up to three. */
struct descriptors take_descriptors(void);

/* Waits until the host takes all bytes. Exits if it is gone. */
void send_bytes(const uint8_t *bytes, size_t length);
void flush(void);
void send_buffer(enum frame_type type, size_t length);
void send_payload_end(enum frame_type type, const uint8_t *end);
_Noreturn void fault(const char *stage, const char *object, int error);
_Noreturn void malformed(const char *what);

/* ---- reading payloads (boxer-frames.c): a payload that is not as PROTOCOL.md says is a fault ---- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

const uint8_t *take(struct reader *reader, size_t count, const char *field);
uint32_t take32(struct reader *reader, const char *field);
uint64_t take64(struct reader *reader, const char *field);
uint32_t take_count(struct reader *reader, uint32_t max, const char *field);
uint32_t take_id(struct reader *reader, const char *field);
const char *take_text(struct reader *reader, const char *field);
const char *take_path(struct reader *reader, const char *field);
const char *take_path_or(struct reader *reader, const char *other, const char *field);
void take_end(const struct reader *reader, const char *field);

/* ---- fields that START and EXEC have (boxer-plan.c) ---- */

void take_identity(struct reader *reader);
void take_limits(struct reader *reader);
void take_command(struct reader *reader);

/* ---- a child, until it executes the command (boxer-child.c, boxer-run.c) ---- */

/* The child of a session's command sends the step that failed on this socket; -1 in others, which record it in the plan. */
extern _Thread_local int report_socket;

_Noreturn void child_fail(enum stage stage);

/* Takes the plan's limits and identity, the filter of a command, and a session of its own. socket is as for become_command(). */
void become_user(int socket);

/* Executes the plan's program. Returns only on failure, with errno. */
void execute(void);

/* Writes the maps of a child's user namespace, and tells the child the result on the socket. table is /proc. */
void map_ids(int table, pid_t pid, int socket);

/* Gives this process the priority and processors of a command: gVisor lets the guest change those of PID 1, which a child inherits. */
void reset_scheduling(void);

/* Returns how a child ended: kind and value. */
uint8_t *put_status(uint8_t *to, int status);

uint64_t microseconds(struct timeval time);

/* ---- sessions ---- */

/* Begins to serve the session whose OPEN is the plan. tmpfs is a descriptor of a directory of the tmpfs, or -1. */
void open_session(int tmpfs);

void handle_session_frame(uint32_t type, const uint8_t *payload, size_t length);

/* Queues a frame. Once OPENED, PID 1 never waits for the host. */
void queue_frame(const uint8_t *frame, size_t length);

/* Waits until the host has taken the queue. */
void flush_queue(void);

/* Serves the session until the end of the socket. child_signal is set when a child has ended. */
_Noreturn void serve_session(volatile sig_atomic_t *child_signal);

/* ---- boxer-files.c ---- */

/* Serves requests on the socket until its end. It has the identity and the filter of a command, and no other open descriptor. */
_Noreturn void serve_files(int socket);

/* ---- boxer-terminal.c ---- */

enum {
    TERMINAL_POLLS = 4,
    MAX_TERMINAL_SIZE = 65535,
    /* Maximum that is read from a terminal after its first process has ended. */
    MAX_LAST_OUTPUT = 256 << 10,
    /* The character that is the end of file for a terminal. */
    END_OF_FILE = 4,
};

/* Opens the directory of terminals. In a session it is called before the guest can change its path. */
void open_terminals(void);

/* Makes a terminal. Returns 0, or -1 with errno. */
int make_terminal(uint32_t columns, uint32_t rows, int *master, int *other);

/* Makes the terminal of a run, and relays it. */
void open_run_terminal(void);
void fill_terminal_polls(struct pollfd to[TERMINAL_POLLS]);
void serve_terminal(const struct pollfd found[TERMINAL_POLLS]);
void finish_terminal(void);

#endif
