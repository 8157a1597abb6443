/* Requests of the file worker that read: files, entries, lists and whole trees. */
#include "boxer-files.h"

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
void read_file(struct frame *frame)
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

void stat_path(struct frame *frame)
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

void list_directory(struct frame *frame)
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

void read_tree(struct frame *frame)
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
