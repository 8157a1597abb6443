/*
 * Declarations that the files of a session share: boxer-session.c (ids and the loop), boxer-requests.c (frames of the host),
 * boxer-process.c (start and end of processes), boxer-spawn.c (children in PID 1's memory), boxer-table.c (/proc) and boxer-relay.c
 * (streams).
 */
#ifndef BOXER_SESSION_H
#define BOXER_SESSION_H

#include "boxer-pid1.h"

enum {
    /* Bytes of input that PID 1 holds for one id. */
    INPUT_WINDOW = 65536,
    /* Bytes of input after which PID 1 reports that they were taken, at the latest. */
    TAKEN_AT_LEAST = INPUT_WINDOW / 2,
    MAX_CREDIT = 1 << 24,
    /* Relayed data is read only while fewer bytes than this wait for the host. */
    SHORT_QUEUE = 256 << 10,
    /* Frames of the host are read only while fewer bytes than this wait for it. */
    LONG_QUEUE = 1 << 20,
    /* Bytes of OUTPUT before the data: id and stream. */
    OUTPUT_PREFIX = 8,
    MAX_SIGNAL = 64,
};

/* Kinds of a process's streams, as in EXEC; then the other kinds of items. */
enum item_kind { DIRECT, PIPES, TERMINAL, CONNECTION, WORKER };

enum item_stage {
    STARTING,
    CONNECTING,
    ALIVE,
    /* The first process has ended; its output is not sent completely. */
    ENDING,
    /* The last frame was queued. */
    GONE,
};

/* Bytes from the guest to the host. fd is -1 if the stream is over or was never relayed. left counts what is still read after the end. */
struct source {
    int fd;
    uint32_t credit;
    uint32_t left;
};

/* Bytes from the host to the guest: a ring. fd is -1 if nobody can read them; they are then dropped. */
struct sink {
    int fd;
    uint8_t *bytes;
    uint32_t start;
    uint32_t length;
    /* Bytes taken that the host does not know of. */
    uint32_t taken;
    int is_ending;
};

/* A command, a process, a connection or a file worker. */
struct item {
    uint32_t id;
    enum item_kind kind;
    enum item_stage stage;
    /* First process, which leads a session of its own; 0 for a connection, and once it was reaped. */
    pid_t pid;
    /* The session's number, as long as the item lives. */
    pid_t session;
    /* The child closes its side when it executes the command. */
    int start_socket;
    /* The child of user 0 waits for its ids. */
    int waits_for_ids;
    struct source out[2];
    struct sink in;
    /* Its processes are to end; the present pass over them has found one. */
    int is_killing;
    int is_found;
    int has_ended;
    int status;
    uint64_t user_time;
    uint64_t system_time;
    uint64_t resident;
};

/* ---- boxer-session.c ---- */

extern struct item **items;
extern size_t item_count;
extern int tmpfs_fd;
extern int root_fd;

/* Adds an item. The id must not be in use. */
struct item *add_item(uint32_t id, enum item_kind kind);

/* Returns the item of an id, or NULL if it is over. */
struct item *find_item(uint32_t id);

/* Largest id that the host used. An id at most as large that is not in the table is over. */
extern uint32_t last_id;

/* Returns the item whose first process this is, or NULL. */
struct item *find_process(pid_t pid);

/* Returns the item that a session belongs to, or NULL. */
struct item *find_session(pid_t session);

/* Reads an id. */
uint32_t take_item_id(struct reader *reader);

/* Begins the payload of a frame. Returns where the next field goes. */
uint8_t *begin_payload(uint32_t id);

/* Overwrites the copies of frames and streams that a child has. */
void forget_others(void);

/* ---- boxer-process.c ---- */

/* Handles EXEC, whose payload is in the plan. */
void take_exec(size_t length);

void take_files(const uint8_t *payload, size_t length);

/* Overwrites the payload of an EXEC: nothing of one command's environment stays in the memory of a later child. */
void forget_exec(struct plan *of, size_t length);

/* Becomes the command or the worker of an item, in a child of PID 1. socket connects to PID 1. */
_Noreturn void run_child(enum item_kind kind, const int streams[STREAMS], int socket);

/* Gives the child of user 0 its ids, if it waits for them and may have them. */
void answer_ids(struct item *item);

/* Reads from a child that starts. */
void read_starting(struct item *item);

/* ---- boxer-spawn.c ---- */

/* Returns 1 if the plan's command can start in PID 1's memory. */
int can_spawn(enum item_kind kind);

/* Creates a child in PID 1's memory. The plan, whose payload has length bytes, is the child's then, and PID 1 goes on with another one. */
pid_t spawn(enum item_kind kind, const int streams[STREAMS], int socket, size_t length);

/* Drops a forked child's copy of the child in PID 1's memory, and of its plan. */
void forget_spawned(void);

/* Returns 1 while a child is in PID 1's memory. SIGCHLD then comes when it is gone. */
int is_spawning(void);

/* Reaps some of the processes that have ended. Returns 1 if there may be more. */
int reap_processes(void);

/* Tells the processes of a terminal that it is gone. */
void hang_up(const struct item *item);

/* Begins the end of an item whose first process was reaped. */
void end_first_process(struct item *item);

/* Reports the end of an item's first process, when its output is sent. */
void report_process_end(struct item *item);

void signal_item(struct item *item, int number, int whole_session);

void resize_terminal(struct item *item, uint32_t columns, uint32_t rows);

/* Sets limits of an item's first process. Returns 0 or errno. */
int set_limits(const struct item *item, struct reader *reader);

/* ---- boxer-table.c ---- */

/* The living processes of a session. */
struct census {
    pid_t session;
    uint32_t count;
    uint64_t user_time;
    uint64_t system_time;
};

/* The directory /proc. */
extern int process_table_fd;

void open_process_table(void);

/* Forgets what /proc showed. It is read again when it is needed. */
void forget_processes(void);

struct census count_session(pid_t session);

/* Sends a signal to every process of a session. */
void signal_session(pid_t session, int number);

/* Kills the processes that are to end. Returns 1 if some may still live. */
int kill_sessions(void);

void report_usage(uint32_t tag);
void report_process_usage(uint32_t tag, uint32_t id, const struct item *item);
void report_quiet(uint32_t tag);

/* ---- boxer-relay.c ---- */

/* Makes the streams of a relayed process. theirs gets the command's side. Returns 0, or -1 with errno. */
int open_pipes(struct item *item, int merges, int theirs[STREAMS]);
int open_terminal(struct item *item, uint32_t columns, uint32_t rows, int theirs[STREAMS]);

void begin_connection(uint32_t id, int family, uint32_t port);
void end_connecting(struct item *item);

/* Records that bytes of input were taken, and reports it when the window of a living item is half empty. */
void report_taken(struct item *item, uint32_t count);
void put_input(struct item *item, const uint8_t *bytes, size_t length);
void end_input(struct item *item);
void write_input(struct item *item);
void read_output(struct item *item, uint32_t index);

/* Ends the relay of a process whose first process has ended, as far as the host's credit permits. */
void finish_output(struct item *item);
void close_relay(struct item *item);
void release_item(struct item *item);

#endif
