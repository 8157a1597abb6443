/*
 * The file worker of a session: a child of PID 1 with the identity and the seccomp filter of the session's user. See "The file worker" in
 * PROTOCOL.md.
 *
 * The worker has the rights of the guest, so nothing that the guest does to its own files can give it more. The worker therefore protects
 * the caller and not PID 1: it never leaves the path that the caller named, never waits for the guest, and opens nothing but files and
 * directories. It must not call fault() or malformed(), which kill processes: an invalid frame only ends the worker.
 */
#include "boxer-files.h"

enum {
    /* Mode of a WRITE that keeps the mode of an existing file. */
    KEEP_MODE = 0xFFFF,
};

/* ---- the socket ---- */

int host;
static uint8_t incoming[HEADER_SIZE + MAX_PAYLOAD];
static size_t incoming_start;
static size_t incoming_end;
uint8_t answers[2 * (HEADER_SIZE + MAX_PAYLOAD)];
size_t answers_length;
uint8_t payload_buffer[MAX_PAYLOAD];

/* Whether the present operation has sent FILES_FAILED. The host may still be sending its content, which is then ignored. */
int has_failed;

/* Ends the worker. The host sees the end of the socket. */
_Noreturn void end_worker(void)
{
    _exit(0);
}

void send_answers(void)
{
    size_t sent = 0;
    while (sent < answers_length) {
        ssize_t count = RETRY(send(host, answers + sent, answers_length - sent, MSG_NOSIGNAL));
        if (count <= 0)
            end_worker();
        sent += (size_t)count;
    }
    answers_length = 0;
}

/* Writes a frame's header where the next answer begins, and returns the place of its payload. */
static uint8_t *begin_answer(enum frame_type type, size_t length)
{
    if (sizeof answers - answers_length < HEADER_SIZE + length)
        send_answers();
    uint8_t *at = answers + answers_length;
    put32(at, (uint32_t)length);
    at[4] = (uint8_t)type;
    at[5] = (uint8_t)(type >> 8);
    at[6] = FRAME_VERSION;
    at[7] = 0;
    answers_length += HEADER_SIZE + length;
    return at + HEADER_SIZE;
}

void answer(enum frame_type type, const uint8_t *end)
{
    size_t length = (size_t)(end - payload_buffer);
    memcpy(begin_answer(type, length), payload_buffer, length);
}

static void receive_bytes(size_t wanted)
{
    if (incoming_start > 0) {
        memmove(incoming, incoming + incoming_start, incoming_end - incoming_start);
        incoming_end -= incoming_start;
        incoming_start = 0;
    }
    while (incoming_end < wanted) {
        ssize_t got = RETRY(recv(host, incoming + incoming_end, sizeof incoming - incoming_end, 0));
        if (got <= 0)
            end_worker();
        incoming_end += (size_t)got;
    }
}

struct frame receive_frame(void)
{
    if (incoming_end - incoming_start < HEADER_SIZE)
        receive_bytes(HEADER_SIZE);
    size_t length = get32(incoming + incoming_start);
    if (length > MAX_PAYLOAD || incoming[incoming_start + 6] != FRAME_VERSION || incoming[incoming_start + 7] != 0)
        end_worker();
    if (incoming_end - incoming_start < HEADER_SIZE + length)
        receive_bytes(HEADER_SIZE + length);
    const uint8_t *header = incoming + incoming_start;
    incoming_start += HEADER_SIZE + length;
    return (struct frame){ (uint32_t)(header[4] | header[5] << 8), header + HEADER_SIZE, header + HEADER_SIZE + length };
}

static const uint8_t *frame_bytes(struct frame *frame, size_t count)
{
    if ((size_t)(frame->end - frame->at) < count)
        end_worker();
    frame->at += count;
    return frame->at - count;
}

uint32_t frame_number(struct frame *frame)
{
    return get32(frame_bytes(frame, 4));
}

uint64_t frame_long(struct frame *frame)
{
    return get64(frame_bytes(frame, 8));
}

/* Returns a text of at most max bytes. It is used in place. */
const char *frame_text(struct frame *frame, size_t max)
{
    size_t length = frame_number(frame);
    if (length > max)
        end_worker();
    const uint8_t *text = frame_bytes(frame, length + 1);
    if (memchr(text, 0, length + 1) != text + length)
        end_worker();
    return (const char *)text;
}

const char *frame_path(struct frame *frame)
{
    const char *path = frame_text(frame, MAX_PATH);
    if (path[0] != '/')
        end_worker();
    return path;
}

void frame_end(const struct frame *frame)
{
    if (frame->at != frame->end)
        end_worker();
}

void fail_at(int error, const char *path)
{
    if (!has_failed)
        answer(FILES_FAILED, put_text(put32(payload_buffer, (uint32_t)error), path, strlen(path)));
    has_failed = 1;
}

void finish(int result)
{
    if (result != 0)
        fail_at(errno, "");
    if (!has_failed)
        answer(FILES_DONE, payload_buffer);
}

/* ---- entries ---- */

/* Path of an entry, relative to the directory of the operation. */
char entry_path[MAX_PATH + 1];

/* Appends a name to the path. Returns the new length, or 0 with errno if the name cannot be reported. */
size_t add_name(size_t prefix, const char *name)
{
    size_t start = prefix + (prefix > 0);
    size_t length = start + strlen(name);
    entry_path[prefix] = '\0';
    errno = length > MAX_PATH ? ENAMETOOLONG : EILSEQ;
    if (length > MAX_PATH || !is_utf8(name))
        return 0;
    if (prefix > 0)
        entry_path[prefix] = '/';
    strcpy(entry_path + start, name);
    return length;
}

/* ---- writing ---- */

/* Opens a file for writing, new or as it is. */
static int open_for_writing(const struct walk *walk, mode_t mode)
{
    struct stat info;
    for (int attempt = 0;; attempt++) {
        int fd = open_regular(walk->directory, walk->name, O_WRONLY, &info);
        if (fd >= 0 || errno != ENOENT)
            return fd;
        fd = openat(walk->directory, walk->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST || attempt > 0)
            return fd;
    }
}

/*
 * Writes content until its end. After a failure, which has the path, the rest is ignored. Returns 1 if the end of the tree came instead: the
 * host has seen the failure.
 */
int take_content(int fd, const char *path)
{
    for (;;) {
        struct frame frame = receive_frame();
        if ((frame.type == FILE_END || (frame.type == FILES_TREE_END && has_failed)) && frame.at == frame.end)
            return frame.type != FILE_END;
        if (frame.type != FILE_DATA)
            end_worker();
        if (!has_failed && write_all(fd, frame.at, (size_t)(frame.end - frame.at)) != 0)
            fail_at(errno, path);
        /* At once, so that the host can stop. */
        if (has_failed)
            send_answers();
    }
}

static void write_file(struct frame *frame)
{
    struct walk walk;
    uint32_t mode = frame_number(frame);
    const char *path = frame_path(frame);
    frame_end(frame);
    if (mode != KEEP_MODE && mode > 0777)
        end_worker();
    int fd = find(&walk, path, 1, 1) == 0 ? open_for_writing(&walk, mode == KEEP_MODE ? 0644 : mode) : -1;
    end_walk(&walk);
    if (fd < 0 || ftruncate(fd, 0) != 0 || (mode != KEEP_MODE && fchmod(fd, mode) != 0))
        finish(-1);
    send_answers();
    take_content(fd, "");
    /* A file system can report here that it is full. */
    if (fd >= 0 && close(fd) != 0)
        finish(-1);
    finish(0);
}

static void make_directory(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    finish(find_directory(&walk, path, 1));
    end_walk(&walk);
}

static void move_entry(struct frame *frame)
{
    struct walk from = { .directory = -1 };
    struct walk to = { .directory = -1 };
    const char *old_path = frame_path(frame);
    const char *new_path = frame_path(frame);
    frame_end(frame);
    int result = find(&from, old_path, 0, 0) == 0 && find(&to, new_path, 0, 0) == 0 ? 0 : -1;
    finish(result == 0 ? renameat(from.directory, from.name, to.directory, to.name) : -1);
    end_walk(&from);
    end_walk(&to);
}

/* ---- requests ---- */

static void serve_request(struct frame *frame)
{
    has_failed = 0;
    switch (frame->type) {
    case FILES_READ: read_file(frame); break;
    case FILES_WRITE: write_file(frame); break;
    case FILES_STAT: stat_path(frame); break;
    case FILES_LIST: list_directory(frame); break;
    case FILES_MAKE_DIRECTORY: make_directory(frame); break;
    case FILES_MOVE: move_entry(frame); break;
    case FILES_REMOVE: remove_path(frame); break;
    case FILES_READ_TREE: read_tree(frame); break;
    case FILES_WRITE_TREE: write_tree(frame); break;
    case FILES_WATCH: watch_path(frame); break;
    default: end_worker();
    }
    send_answers();
}

_Noreturn void serve_files(int socket)
{
    host = socket;
    /* Modes are those of the requests. */
    umask(0);
    for (;;) {
        struct frame frame = receive_frame();
        serve_request(&frame);
    }
}
