/*
 * The file worker of a session: a child of PID 1 with the identity and the seccomp filter of the session's user. See "The file worker" in
 * PROTOCOL.md.
 *
 * The worker has the rights of the guest, so nothing that the guest does to its own files can give it more. The worker therefore protects
 * the caller and not PID 1: it never leaves the path that the caller named, never waits for the guest, and opens nothing but files and
 * directories. It must not call fault() or malformed(), which kill processes: an invalid frame only ends the worker.
 */
#include "boxer-pid1.h"

#include <sys/inotify.h>
#include <sys/vfs.h>

enum {
    /* As on Linux (path_resolution(7)). */
    MAX_FOLLOWED = 40,
    /* Mode of a WRITE that keeps the mode of an existing file. */
    KEEP_MODE = 0xFFFF,
    MAX_WATCHES = 1000,
};

/* ---- the socket ---- */

static int host;
static uint8_t incoming[HEADER_SIZE + MAX_PAYLOAD];
static size_t incoming_start;
static size_t incoming_end;
static uint8_t answers[2 * (HEADER_SIZE + MAX_PAYLOAD)];
static size_t answers_length;
static uint8_t payload_buffer[MAX_PAYLOAD];

/* Whether the present operation has sent FILES_FAILED. The host may still be sending its content, which is then ignored. */
static int has_failed;

/* Ends the worker. The host sees the end of the socket. */
_Noreturn static void end_worker(void)
{
    _exit(0);
}

static void send_answers(void)
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

static void answer(enum frame_type type, const uint8_t *end)
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

/* A frame of the host, valid until the next one. */
struct frame {
    uint32_t type;
    const uint8_t *at;
    const uint8_t *end;
};

static struct frame receive_frame(void)
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

static uint32_t frame_number(struct frame *frame)
{
    return get32(frame_bytes(frame, 4));
}

static uint64_t frame_long(struct frame *frame)
{
    return get64(frame_bytes(frame, 8));
}

/* Returns a text of at most max bytes. It is used in place. */
static const char *frame_text(struct frame *frame, size_t max)
{
    size_t length = frame_number(frame);
    if (length > max)
        end_worker();
    const uint8_t *text = frame_bytes(frame, length + 1);
    if (memchr(text, 0, length + 1) != text + length)
        end_worker();
    return (const char *)text;
}

static const char *frame_path(struct frame *frame)
{
    const char *path = frame_text(frame, MAX_PATH);
    if (path[0] != '/')
        end_worker();
    return path;
}

static void frame_end(const struct frame *frame)
{
    if (frame->at != frame->end)
        end_worker();
}

static void fail_at(int error, const char *path)
{
    if (!has_failed)
        answer(FILES_FAILED, put_text(put32(payload_buffer, (uint32_t)error), path, strlen(path)));
    has_failed = 1;
}

static void finish(int result)
{
    if (result != 0)
        fail_at(errno, "");
    if (!has_failed)
        answer(FILES_DONE, payload_buffer);
}

/* ---- paths ---- */

/*
 * A path is followed name by name, from descriptor to descriptor, because openat2(2) is missing in gVisor. So the worker knows each
 * directory that it goes through, and refuses those of the kernel by their file system: a link in /proc leads to an open file of any
 * process, without a path.
 */
struct walk {
    /* The directory of the name; O_PATH. */
    int directory;
    int followed;
    char name[MAX_NAME + 1];
    /* What follows the name. */
    char rest[2 * MAX_PATH + 2];
};

/* Returns 0, or -1 with EACCES if the descriptor is of a file system that shows the kernel. */
static int check_file_system(int fd)
{
    enum { PROC = 0x9FA0, SYSFS = 0x62656572, CGROUP = 0x27E0EB, CGROUP2 = 0x63677270 };
    struct statfs info;
    if (fstatfs(fd, &info) != 0)
        return -1;
    unsigned long type = (unsigned long)info.f_type;
    errno = EACCES;
    return type == PROC || type == SYSFS || type == CGROUP || type == CGROUP2 ? -1 : 0;
}

/* Closes a descriptor that is not allowed. Returns it, or -1 with errno. */
static int allow(int fd)
{
    if (fd >= 0 && check_file_system(fd) != 0) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

static void end_walk(struct walk *walk)
{
    if (walk->directory >= 0)
        close_keeping_errno(walk->directory);
    walk->directory = -1;
}

static int move_to(struct walk *walk, int fd)
{
    fd = allow(fd);
    if (fd < 0)
        return -1;
    end_walk(walk);
    walk->directory = fd;
    return 0;
}

/* Takes the next name of the rest. Returns 0 if there is none, and -1 with errno if it is too long. */
static int next_name(struct walk *walk)
{
    const char *at = walk->rest + strspn(walk->rest, "/");
    size_t size = strcspn(at, "/");
    if (size > MAX_NAME) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(walk->name, at, size);
    walk->name[size] = '\0';
    at += size + strspn(at + size, "/");
    memmove(walk->rest, at, strlen(at) + 1);
    return size > 0;
}

/* Puts a link's target before the rest. */
static int follow(struct walk *walk, const char *target, size_t length)
{
    size_t rest = strlen(walk->rest);
    if (length == 0 || ++walk->followed > MAX_FOLLOWED) {
        errno = length == 0 ? ENOENT : ELOOP;
        return -1;
    }
    if (length > MAX_PATH || rest > MAX_PATH) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memmove(walk->rest + length + 1, walk->rest, rest + 1);
    memcpy(walk->rest, target, length);
    walk->rest[length] = '/';
    return target[0] == '/' ? move_to(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) : 0;
}

/* Opens the name as it is. Makes a missing directory, if that is wanted. */
static int open_step(const struct walk *walk, int makes)
{
    int fd = openat(walk->directory, walk->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || !makes)
        return fd;
    if (mkdirat(walk->directory, walk->name, 0755) != 0 && errno != EEXIST)
        return -1;
    return openat(walk->directory, walk->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* Goes into the directory of the name, or follows its link. */
static int step(struct walk *walk, int makes)
{
    char target[MAX_PATH + 2];
    struct stat info;
    int fd = open_step(walk, makes);
    if (fd < 0)
        return -1;
    int result = -1;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
        return move_to(walk, fd);
    ssize_t length = readlinkat(walk->directory, walk->name, target, sizeof target);
    if (length >= 0)
        result = follow(walk, target, (size_t)length);
    else if (errno == EINVAL)
        errno = ENOTDIR;
    close_keeping_errno(fd);
    return result;
}

static int begin_walk(struct walk *walk, const char *path)
{
    walk->directory = -1;
    walk->followed = 0;
    strcpy(walk->rest, path);
    return move_to(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* Goes to the directory of a path. Returns 0, or -1 with errno. */
static int find_directory(struct walk *walk, const char *path, int makes)
{
    int named = begin_walk(walk, path) == 0 ? next_name(walk) : -1;
    while (named > 0)
        named = step(walk, makes) == 0 ? next_name(walk) : -1;
    if (named < 0)
        end_walk(walk);
    strcpy(walk->name, ".");
    return named;
}

/* Goes to the directory of a path's last name; of the last link's target, if links are followed. Returns 0, or -1 with errno. */
static int find(struct walk *walk, const char *path, int follows, int makes)
{
    char target[MAX_PATH + 2];
    int named = begin_walk(walk, path) == 0 ? next_name(walk) : -1;
    while (named > 0) {
        int is_last = walk->rest[0] == '\0' && !is_dots(walk->name);
        ssize_t length = is_last && follows ? readlinkat(walk->directory, walk->name, target, sizeof target) : -1;
        if (is_last && length < 0)
            return 0;
        int result = is_last ? follow(walk, target, (size_t)length) : step(walk, makes);
        named = result == 0 ? next_name(walk) : -1;
    }
    if (named < 0)
        end_walk(walk);
    strcpy(walk->name, ".");
    return named;
}

/* Opens a directory for reading. */
static int open_directory(int parent, const char *name)
{
    return allow(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

/*
 * Opens a regular file. The kind is checked before, because opening a FIFO or a device does something, and afterwards, because the guest
 * may have replaced it.
 */
static int open_regular(int directory, const char *name, int flags, struct stat *info)
{
    int is_there = fstatat(directory, name, info, AT_SYMLINK_NOFOLLOW);
    if (is_there != 0)
        return -1;
    int fd = S_ISREG(info->st_mode) ? allow(openat(directory, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) : -1;
    if (!S_ISREG(info->st_mode) || (fd >= 0 && fstat(fd, info) == 0 && !S_ISREG(info->st_mode))) {
        close_fd(&fd);
        errno = S_ISDIR(info->st_mode) ? EISDIR : EOPNOTSUPP;
    }
    return fd;
}

/* ---- entries ---- */

/* Path of an entry, relative to the directory of the operation. */
static char entry_path[MAX_PATH + 1];

/* Appends a name to the path. Returns the new length, or 0 with errno if the name cannot be reported. */
static size_t add_name(size_t prefix, const char *name)
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
static int take_content(int fd, const char *path)
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

/* ---- removing ---- */

/* The directory that is being removed. */
static int removed_root;

static int empty_directory(int fd, uint32_t depth);

/*
 * Moves a directory that is too deep to the top of the one that is being removed, so that any depth needs few descriptors. Its new name
 * can replace nothing that would stay.
 */
static int lift(int parent, const char *name)
{
    static uint32_t lifted;
    char place[32];
    for (;;) {
        snprintf(place, sizeof place, ".boxer-%u", (unsigned int)lifted++);
        if (renameat(parent, name, removed_root, place) == 0 || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
            return -1;
    }
}

static int remove_directory(int parent, const char *name, uint32_t depth)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -1;
    if (depth >= MAX_DEPTH)
        return lift(parent, name);
    int fd = open_directory(parent, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (depth == 0)
        removed_root = fd;
    if (empty_directory(fd, depth) != 0)
        return -1;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

static int remove_entry(int parent, const char *name, uint32_t depth)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    return errno == EISDIR ? remove_directory(parent, name, depth) : -1;
}

/* Removes the entries of a directory, until there are none. Closes the directory. */
static int empty_directory(int fd, uint32_t depth)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close_keeping_errno(fd);
        return -1;
    }
    int result = 0;
    /* A removal during the walk can hide entries from it. */
    for (int found = 1; found && result == 0; rewinddir(directory)) {
        struct dirent *entry;
        found = 0;
        while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL) {
            if (is_dots(entry->d_name))
                continue;
            found = 1;
            result = remove_entry(fd, entry->d_name, depth + 1);
        }
        if (result == 0 && errno != 0)
            result = -1;
    }
    int error = errno;
    closedir(directory);
    errno = error;
    return result;
}

static int remove_found(const struct walk *walk)
{
    struct stat info;
    errno = EBUSY;
    if (is_dots(walk->name) || fstatat(walk->directory, walk->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    return S_ISDIR(info.st_mode) ? remove_directory(walk->directory, walk->name, 0) : unlinkat(walk->directory, walk->name, 0);
}

static void remove_path(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    finish(find(&walk, path, 0, 0) == 0 ? remove_found(&walk) : -1);
    end_walk(&walk);
}

/* ---- writing a tree ---- */

/*
 * As the workspace of a run: entries are made below one directory, and no step follows a link. The directory of the last entry stays open,
 * because most entries are beside it.
 */
static int tree_root;
static int tree_fd = -1;
static char tree_directory[MAX_PATH + 1];

/* Opens the path's directory as tree_fd. Returns the path's last name, or NULL with errno. */
static const char *enter_tree(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    const char *name = slash == NULL ? path : slash + 1;
    if (tree_fd >= 0 && strlen(tree_directory) == length && memcmp(tree_directory, path, length) == 0)
        return name;
    close_fd(&tree_fd);
    memcpy(tree_directory, path, length);
    tree_directory[length] = '\0';
    tree_fd = fcntl(tree_root, F_DUPFD_CLOEXEC, 0);
    char part[MAX_NAME + 1];
    for (const char *at = path; tree_fd >= 0 && at < name;) {
        size_t size = strcspn(at, "/");
        memcpy(part, at, size);
        part[size] = '\0';
        int below = allow(openat(tree_fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        close_keeping_errno(tree_fd);
        tree_fd = below;
        at += size + 1;
    }
    return tree_fd < 0 ? NULL : name;
}

/* Creates a file in place of an existing file or link. */
static int create_in_tree(const char *path, mode_t mode)
{
    const char *name = enter_tree(path);
    if (name == NULL)
        return -1;
    int fd;
    for (int attempt = 0; (fd = openat(tree_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)) < 0; attempt++)
        if (attempt > 0 || errno != EEXIST || (unlinkat(tree_fd, name, 0) != 0 && errno != ENOENT))
            return -1;
    return fd;
}

/* Makes a directory, or sets the mode and time of an existing one of the user. keeps: an existing one stays as it is. */
static int make_tree_directory(const char *path, mode_t mode, const struct timespec times[2], int keeps)
{
    const char *name = enter_tree(path);
    if (name == NULL)
        return -1;
    int is_new = mkdirat(tree_fd, name, mode) == 0;
    if (!is_new && errno != EEXIST)
        return -1;
    int fd = allow(openat(tree_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0)
        return -1;
    close(fd);
    fd = is_new || !keeps ? open_directory(tree_fd, name) : -1;
    if (fd >= 0) {
        /* They fail for a directory of another user, in which entries can be made all the same. */
        fchmod(fd, mode);
        futimens(fd, times);
        close(fd);
    }
    return 0;
}

static int make_tree_link(const char *path, const char *target, const struct timespec times[2])
{
    const char *name = enter_tree(path);
    if (name == NULL)
        return -1;
    if (symlinkat(target, tree_fd, name) != 0
        && (errno != EEXIST || unlinkat(tree_fd, name, 0) != 0 || symlinkat(target, tree_fd, name) != 0))
        return -1;
    return utimensat(tree_fd, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Copies a file of the tree: a hard link of an archive becomes a separate file. */
static int copy_in_tree(const char *path, const char *source, mode_t mode, const struct timespec times[2])
{
    struct stat info;
    const char *name = enter_tree(source);
    int from = name == NULL ? -1 : open_regular(tree_fd, name, O_RDONLY, &info);
    if (from < 0)
        return -1;
    int to = create_in_tree(path, mode);
    ssize_t got = -1;
    uint64_t left = (uint64_t)info.st_size;
    while (to >= 0 && (got = RETRY(read(from, payload_buffer, left < MAX_PAYLOAD ? (size_t)left : MAX_PAYLOAD))) > 0) {
        if (write_all(to, payload_buffer, (size_t)got) != 0)
            break;
        left -= (uint64_t)got;
    }
    int copied = to >= 0 && got == 0 && futimens(to, times) == 0;
    close_keeping_errno(from);
    if (to >= 0)
        close_keeping_errno(to);
    return copied ? 0 : -1;
}

/* Returns 1 if the end of the tree came. */
static int take_tree_file(const char *path, mode_t mode, const struct timespec times[2])
{
    char copy[MAX_PATH + 1];
    int fd = has_failed ? -1 : create_in_tree(path, mode);
    if (fd < 0)
        fail_at(errno, path);
    send_answers();
    strcpy(copy, path);
    int is_over = take_content(fd, copy);
    int is_timed = fd < 0 || futimens(fd, times) == 0;
    if ((fd >= 0 && close(fd) != 0) || !is_timed)
        fail_at(errno, copy);
    return is_over;
}

/* Returns 1 if a text is a relative path without empty names and dots. */
static int are_names(const char *path)
{
    for (const char *name = path;; name++) {
        size_t size = strcspn(name, "/");
        if (size == 0 || size > MAX_NAME || (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.'))
            return 0;
        name += size;
        if (*name == '\0')
            return 1;
    }
}

/* Makes an entry. After a failure it only reads the frame. Returns 1 if the end of the tree came. */
static int take_tree_entry(struct frame *frame)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    uint32_t mode = frame_number(frame);
    times[1].tv_sec = (time_t)frame_long(frame);
    times[1].tv_nsec = (long)frame_number(frame);
    const char *path = frame_text(frame, MAX_PATH);
    const char *other = frame->type == TREE_LINK || frame->type == TREE_COPY ? frame_text(frame, MAX_PATH) : NULL;
    frame_end(frame);
    if (mode > 0777 || times[1].tv_nsec > 999999999 || !are_names(path) || (frame->type == TREE_COPY && !are_names(other)))
        end_worker();
    if (frame->type == TREE_FILE)
        return take_tree_file(path, mode, times);
    if (has_failed)
        return 0;
    int result = frame->type == TREE_LINK ? make_tree_link(path, other, times)
        : frame->type == TREE_COPY ? copy_in_tree(path, other, mode, times)
        : make_tree_directory(path, mode, times, frame->type == FILES_TREE_PARENT);
    if (result != 0)
        fail_at(errno, path);
    return 0;
}

static void write_tree(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    if (find_directory(&walk, path, 1) != 0)
        finish(-1);
    tree_root = walk.directory;
    for (int is_over = 0; !is_over;) {
        if (has_failed)
            send_answers();
        struct frame entry = receive_frame();
        if (entry.type == FILES_TREE_PARENT || (entry.type >= TREE_DIRECTORY && entry.type <= TREE_COPY))
            is_over = take_tree_entry(&entry);
        else if (entry.type == FILES_TREE_END && entry.at == entry.end)
            is_over = 1;
        else
            end_worker();
    }
    close_fd(&tree_fd);
    end_walk(&walk);
    finish(0);
}

/* ---- watching ---- */

enum change { CREATED, CHANGED, REMOVED, OVERFLOWED };

struct watch {
    int number;
    char *path;
};

static int notifications;
static struct watch watches[MAX_WATCHES];
static uint32_t watch_count;

/* The watched directory, and the depth of the watched ones: 1 for it alone, 0 for a file. */
static int watch_root;
static uint32_t watch_depth;

/* Whether changes were lost, which the host does not know yet. */
static int are_lost;

/*
 * gVisor's queue of notifications has no bound, so the worker always reads it, and leaves out changes if the host does not take them.
 * A change that is equal to the last one is left out too: a program writes a file in many steps.
 */
static void send_change(enum change kind)
{
    static char last_path[MAX_PATH + 1];
    static uint32_t last_kind;
    size_t length = strlen(entry_path);
    if (answers_length > 0 && last_kind == (uint32_t)kind && strcmp(last_path, entry_path) == 0)
        return;
    if (sizeof answers - answers_length < HEADER_SIZE + 9 + length) {
        are_lost = 1;
        return;
    }
    answer(FILES_CHANGE, put_text(put32(payload_buffer, kind), entry_path, length));
    last_kind = kind;
    strcpy(last_path, entry_path);
}

static void watch_directory(int fd, size_t prefix, uint32_t depth, int is_new);

/* Watches a directory below, if it is not too deep. */
static void watch_below(int parent, const char *name, size_t length, uint32_t depth, int is_new)
{
    if (depth >= watch_depth)
        return;
    int fd = open_directory(parent, name);
    if (fd >= 0)
        watch_directory(fd, length, depth + 1, is_new);
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        are_lost = 1;
}

/* Watches the directories of a directory; of a new one, it reports the entries too. */
static void watch_entries(int fd, size_t prefix, uint32_t depth, int is_new)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        struct stat info;
        if (is_dots(entry->d_name) || fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        size_t length = add_name(prefix, entry->d_name);
        if (length == 0)
            continue;
        if (is_new)
            send_change(CREATED);
        if (S_ISDIR(info.st_mode))
            watch_below(fd, entry->d_name, length, depth, is_new);
    }
    closedir(directory);
}

/* Adds a watch of a name in the working directory. Returns 0, or -1 with errno. */
static int add_watch(const char *name, size_t prefix)
{
    if (watch_count == MAX_WATCHES) {
        errno = ENOSPC;
        return -1;
    }
    const uint32_t events = IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;
    int number = inotify_add_watch(notifications, name, events | IN_DONT_FOLLOW);
    char *path = number < 0 ? NULL : strndup(entry_path, prefix);
    if (path == NULL)
        return -1;
    /* A directory that was moved has its watch already. */
    for (uint32_t i = 0; i < watch_count; i++) {
        if (watches[i].number == number) {
            free(watches[i].path);
            watches[i].path = path;
            return 0;
        }
    }
    watches[watch_count++] = (struct watch){ number, path };
    return 0;
}

/* Watches a directory and those below it. Closes it. A watch that cannot be added is reported as lost changes. */
static void watch_directory(int fd, size_t prefix, uint32_t depth, int is_new)
{
    if (fchdir(fd) != 0 || add_watch(".", prefix) != 0)
        are_lost = 1;
    if (is_new || depth < watch_depth)
        watch_entries(fd, prefix, depth, is_new);
    else
        close(fd);
}

static struct watch *find_watch(int number)
{
    for (uint32_t i = 0; i < watch_count; i++)
        if (watches[i].number == number)
            return &watches[i];
    return NULL;
}

static void forget_watch(struct watch *watch)
{
    free(watch->path);
    *watch = watches[--watch_count];
}

/* Removes the watches of a directory that was moved away, and of those below it. */
static void forget_below(size_t length)
{
    for (uint32_t i = 0; i < watch_count;) {
        const char *path = watches[i].path;
        if (strncmp(path, entry_path, length) != 0 || (path[length] != '\0' && path[length] != '/')) {
            i++;
            continue;
        }
        inotify_rm_watch(notifications, watches[i].number);
        forget_watch(&watches[i]);
    }
}

/* Watches a directory that was made, or moved there, if it is still at its path. */
static void watch_made(size_t length, uint32_t depth)
{
    int fd = fcntl(watch_root, F_DUPFD_CLOEXEC, 0);
    char part[MAX_NAME + 1];
    for (const char *at = entry_path; fd >= 0 && at < entry_path + length;) {
        size_t size = strcspn(at, "/");
        memcpy(part, at, size);
        part[size] = '\0';
        int below = open_directory(fd, part);
        close(fd);
        fd = below;
        at += size + 1;
    }
    if (fd >= 0)
        watch_directory(fd, length, depth, 1);
}

/* A change of an entry of a watched directory. */
static void take_change(const struct watch *watch, const struct inotify_event *event)
{
    size_t prefix = strlen(watch->path);
    uint32_t depth = 2;
    for (const char *at = watch->path; prefix > 0 && at != NULL; at = strchr(at + 1, '/'))
        depth++;
    memcpy(entry_path, watch->path, prefix + 1);
    size_t length = add_name(prefix, event->name);
    if (length == 0) {
        are_lost = 1;
        return;
    }
    int is_made = (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0;
    send_change(is_made ? CREATED : (event->mask & (IN_DELETE | IN_MOVED_FROM)) != 0 ? REMOVED : CHANGED);
    if ((event->mask & IN_ISDIR) == 0 || watch_depth <= 1)
        return;
    if ((event->mask & IN_MOVED_FROM) != 0)
        forget_below(length);
    else if (is_made && depth <= watch_depth)
        watch_made(length, depth);
}

static void take_notification(const struct inotify_event *event)
{
    struct watch *watch = find_watch(event->wd);
    if ((event->mask & IN_Q_OVERFLOW) != 0)
        are_lost = 1;
    if (watch == NULL)
        return;
    if ((event->mask & IN_IGNORED) != 0) {
        forget_watch(watch);
    } else if (event->len > 0) {
        take_change(watch, event);
    } else if (watch->path[0] == '\0') {
        entry_path[0] = '\0';
        send_change((event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0 ? REMOVED : CHANGED);
    }
}

static void read_notifications(void)
{
    static uint8_t events[64 << 10] __attribute__((aligned(8)));
    ssize_t got = RETRY(read(notifications, events, sizeof events));
    if (got <= 0)
        end_worker();
    for (uint8_t *at = events; at < events + got;) {
        const struct inotify_event *event = (const struct inotify_event *)at;
        take_notification(event);
        at += sizeof *event + event->len;
    }
}

/* Sends what the host takes without waiting. */
static void send_changes(void)
{
    if (are_lost && answers_length == 0) {
        are_lost = 0;
        entry_path[0] = '\0';
        send_change(OVERFLOWED);
    }
    ssize_t sent = RETRY(send(host, answers, answers_length, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (sent < 0 && errno != EAGAIN)
        end_worker();
    if (sent > 0) {
        answers_length -= (size_t)sent;
        memmove(answers, answers + sent, answers_length);
    }
}

/* Reports changes until the host closes the socket: nothing else ends a watch. */
_Noreturn static void report_changes(void)
{
    for (;;) {
        int is_waiting = answers_length > 0 || are_lost;
        struct pollfd fds[2] = {
            { .fd = host, .events = (short)(POLLIN | (is_waiting ? POLLOUT : 0)) },
            { .fd = notifications, .events = POLLIN },
        };
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            end_worker();
        if ((fds[0].revents & ~POLLOUT) != 0)
            end_worker();
        if (fds[1].revents != 0)
            read_notifications();
        if ((fds[0].revents & POLLOUT) != 0)
            send_changes();
    }
}

/* Starts the watch of a directory, or of a file. Returns 0, or -1 with errno. */
static int begin_watch(struct walk *walk)
{
    struct stat info;
    if (fstatat(walk->directory, walk->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    notifications = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (notifications < 0)
        return -1;
    entry_path[0] = '\0';
    if (!S_ISDIR(info.st_mode)) {
        watch_depth = 0;
        return fchdir(walk->directory) == 0 ? add_watch(walk->name, 0) : -1;
    }
    watch_root = open_directory(walk->directory, walk->name);
    if (watch_root < 0 || fchdir(watch_root) != 0 || add_watch(".", 0) != 0)
        return -1;
    int fd = watch_depth > 1 ? open_directory(watch_root, ".") : -1;
    if (fd >= 0)
        watch_entries(fd, 0, 1, 0);
    return 0;
}

static void watch_path(struct frame *frame)
{
    struct walk walk;
    watch_depth = frame_number(frame);
    const char *path = frame_path(frame);
    frame_end(frame);
    if (watch_depth < 1 || watch_depth > MAX_DEPTH)
        end_worker();
    notifications = -1;
    watch_root = -1;
    if (find(&walk, path, 1, 0) != 0 || begin_watch(&walk) != 0) {
        finish(-1);
        end_walk(&walk);
        close_fd(&notifications);
        close_fd(&watch_root);
        return;
    }
    end_walk(&walk);
    answer(FILES_OPENED, put64(payload_buffer, 0));
    report_changes();
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
