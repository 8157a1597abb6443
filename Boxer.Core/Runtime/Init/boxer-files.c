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

static uint32_t kind_of(mode_t mode)
{
    return S_ISREG(mode) ? 0 : S_ISDIR(mode) ? 1 : S_ISLNK(mode) ? 2 : 3;
}

/* Sends an entry with its path in entry_path. Returns 0, or -1 with errno. */
static int send_entry(int directory, const char *name, const struct stat *info)
{
    char target[MAX_PATH + 2] = "";
    ssize_t length = S_ISLNK(info->st_mode) ? readlinkat(directory, name, target, sizeof target) : 0;
    if (length < 0)
        return -1;
    target[length <= MAX_PATH ? length : 0] = '\0';
    errno = EILSEQ;
    if (length > MAX_PATH || !is_utf8(target))
        return -1;
    uint8_t *at = put32(put32(payload_buffer, kind_of(info->st_mode)), info->st_mode & 07777);
    at = put64(put32(put32(at, info->st_uid), info->st_gid), S_ISREG(info->st_mode) ? (uint64_t)info->st_size : 0);
    at = put_text(put_time(at, info->st_mtim), target, strlen(target));
    answer(FILES_ENTRY, put_text(at, entry_path, strlen(entry_path)));
    return 0;
}

/* Sends up to size bytes of a file. Returns the number of bytes, or -1 with errno. */
static int64_t send_data(int fd, uint64_t size)
{
    uint64_t left = size;
    while (left > 0) {
        ssize_t got = RETRY(read(fd, payload_buffer, left < MAX_PAYLOAD ? (size_t)left : MAX_PAYLOAD));
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        answer(FILES_DATA, payload_buffer + got);
        left -= (uint64_t)got;
    }
    return (int64_t)(size - left);
}

/* ---- reading ---- */

/* Sends as many bytes as the file had when it was opened, so that a file which grows has an end. */
static void read_file(struct frame *frame)
{
    struct walk walk;
    struct stat info;
    const char *path = frame_path(frame);
    frame_end(frame);
    int fd = find(&walk, path, 1, 0) == 0 ? open_regular(walk.directory, walk.name, O_RDONLY, &info) : -1;
    end_walk(&walk);
    if (fd < 0) {
        finish(-1);
        return;
    }
    answer(FILES_OPENED, put64(payload_buffer, (uint64_t)info.st_size));
    finish(send_data(fd, (uint64_t)info.st_size) < 0 ? -1 : 0);
    close(fd);
}

static int stat_entry(const struct walk *walk)
{
    struct stat info;
    int fd = allow(openat(walk->directory, walk->name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0)
        return -1;
    close(fd);
    entry_path[0] = '\0';
    return fstatat(walk->directory, walk->name, &info, AT_SYMLINK_NOFOLLOW) == 0 ? send_entry(walk->directory, walk->name, &info) : -1;
}

static void stat_path(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    finish(find(&walk, path, 0, 0) == 0 ? stat_entry(&walk) : -1);
    end_walk(&walk);
}

/* ---- lists and trees ---- */

/* The present walk through a directory. A list leaves out what it cannot report; a tree, which is read for its contents, fails. */
static struct {
    int is_tree;
    int is_incomplete;
    uint32_t depth;
    uint32_t entries_left;
    uint64_t bytes_left;
} scan;

static int scan_directory(int fd, size_t prefix, uint32_t depth);

/* An entry cannot be reported. Returns 0 if the walk goes on. */
static int omit(int error)
{
    scan.is_incomplete = 1;
    if (!scan.is_tree)
        return 0;
    fail_at(error, entry_path);
    return -1;
}

/* Sends a file of a tree with its content, which has exactly the size of the entry. */
static int send_file(int directory, const char *name)
{
    struct stat info;
    int fd = open_regular(directory, name, O_RDONLY, &info);
    if (fd < 0)
        return errno == ENOENT ? 0 : omit(errno);
    uint64_t size = (uint64_t)info.st_size;
    int result = size > scan.bytes_left ? omit(EFBIG) : send_entry(directory, name, &info);
    if (result == 0) {
        scan.bytes_left -= size;
        int64_t sent = send_data(fd, size);
        /* EBUSY: the file became shorter while it was read. */
        if (sent < 0 || (uint64_t)sent < size)
            result = omit(sent < 0 ? errno : EBUSY);
    }
    close(fd);
    return result;
}

/* Goes into a directory of the walk. A list has directories of its last level, and not their entries. */
static int scan_below(int parent, const char *name, size_t length, uint32_t depth)
{
    if (depth + 1 >= scan.depth)
        return 0;
    int fd = open_directory(parent, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : omit(errno);
    return scan_directory(fd, length, depth + 1);
}

/* Sends an entry and what is below it. Returns 0 if the walk goes on. */
static int scan_entry(int directory, const char *name, size_t prefix, uint32_t depth)
{
    struct stat info;
    size_t length = add_name(prefix, name);
    if (length == 0 || (scan.is_tree && depth == MAX_DEPTH))
        return omit(length == 0 ? errno : EFBIG);
    if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : omit(errno);
    if (scan.entries_left == 0) {
        omit(EFBIG);
        return -1;
    }
    scan.entries_left--;
    if (scan.is_tree && kind_of(info.st_mode) == 3)
        return 0;
    if (scan.is_tree && S_ISREG(info.st_mode))
        return send_file(directory, name);
    if (send_entry(directory, name, &info) != 0)
        return errno == ENOENT ? 0 : omit(errno);
    return S_ISDIR(info.st_mode) ? scan_below(directory, name, length, depth) : 0;
}

/* Sends the entries of a directory. Returns 0 if the walk goes on. Closes the directory. */
static int scan_directory(int fd, size_t prefix, uint32_t depth)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close_keeping_errno(fd);
        return omit(errno);
    }
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL)
        if (!is_dots(entry->d_name))
            result = scan_entry(fd, entry->d_name, prefix, depth);
    int error = errno;
    entry_path[prefix] = '\0';
    if (result == 0 && error != 0)
        result = omit(error);
    closedir(directory);
    return result;
}

static void list_directory(struct frame *frame)
{
    struct walk walk;
    memset(&scan, 0, sizeof scan);
    scan.depth = frame_number(frame);
    scan.entries_left = frame_number(frame);
    const char *path = frame_path(frame);
    frame_end(frame);
    if (scan.depth < 1 || scan.depth > MAX_DEPTH)
        end_worker();
    int fd = find_directory(&walk, path, 0) == 0 ? open_directory(walk.directory, ".") : -1;
    end_walk(&walk);
    if (fd >= 0)
        scan_directory(fd, 0, 0);
    if (fd >= 0 && scan.is_incomplete)
        answer(FILES_INCOMPLETE, payload_buffer);
    finish(fd < 0 ? -1 : 0);
}

/* Sends the entries of a directory with their contents, or one file, whose path is empty. */
static int read_tree_at(struct walk *walk)
{
    struct stat info;
    entry_path[0] = '\0';
    if (fstatat(walk->directory, walk->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    if (!S_ISDIR(info.st_mode)) {
        errno = EOPNOTSUPP;
        return S_ISREG(info.st_mode) ? send_file(walk->directory, walk->name) : -1;
    }
    int fd = open_directory(walk->directory, walk->name);
    return fd < 0 ? -1 : scan_directory(fd, 0, 0);
}

static void read_tree(struct frame *frame)
{
    struct walk walk;
    memset(&scan, 0, sizeof scan);
    scan.is_tree = 1;
    scan.depth = MAX_DEPTH + 1;
    scan.bytes_left = frame_long(frame);
    scan.entries_left = frame_number(frame);
    const char *path = frame_path(frame);
    frame_end(frame);
    finish(find(&walk, path, 1, 0) == 0 ? read_tree_at(&walk) : -1);
    end_walk(&walk);
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
