/* Files and workspace entries of the host that are made before the command starts. */
#include "boxer-run.h"

struct tree workspace = { .root = -1, .fd = -1 };

int file_fd = -1;
char file_path[MAX_PATH + 1];
static struct timespec file_time[2];
static int has_file_time;

/* ---- input files ---- */

void file_failed(int error)
{
    send_payload_end(FILE_FAILED, put_text(put32(buffer + HEADER_SIZE, (uint32_t)error), file_path, strlen(file_path)));
    close_fd(&file_fd);
    kill_all();
    state = OVER;
}

void file_begin(const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    if (file_fd >= 0)
        malformed("FILE_BEGIN");
    uint32_t is_executable = take_count(&reader, 1, "file flags");
    strcpy(file_path, take_path(&reader, "file path"));
    take_end(&reader, "end of FILE_BEGIN");
    file_fd = create_file(file_path, is_executable ? 0555 : 0444);
    if (file_fd < 0)
        file_failed(errno);
}

void file_data(const uint8_t *payload, size_t length)
{
    if (file_fd < 0)
        malformed("FILE_DATA");
    if (write_all(file_fd, payload, length) != 0)
        file_failed(errno);
}

void file_end(size_t length)
{
    if (file_fd < 0 || length != 0)
        malformed("FILE_END");
    if (has_file_time && futimens(file_fd, file_time) != 0) {
        file_failed(errno);
        return;
    }
    has_file_time = 0;
    close_fd(&file_fd);
}

/* ---- the workspace ---- */

/* Creates a file in place of an existing file or link. The host checks that it is not a directory. */
static int create_in_tree(const char *path, mode_t mode)
{
    const char *name = enter_tree(&workspace, path);
    return name == NULL ? -1 : create_at(workspace.fd, name, mode, plan->uid, plan->gid);
}

static int make_tree_directory(const char *path, mode_t mode, const struct timespec times[2])
{
    const char *name = enter_tree(&workspace, path);
    if (name == NULL || (mkdirat(workspace.fd, name, 0700) != 0 && errno != EEXIST))
        return -1;
    int fd = openat(workspace.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int made = fchown(fd, plan->uid, plan->gid) == 0 && fchmod(fd, mode) == 0 && futimens(fd, times) == 0;
    close_keeping_errno(fd);
    return made ? 0 : -1;
}

static int make_tree_link(const char *path, const char *target, const struct timespec times[2])
{
    const char *name = enter_tree(&workspace, path);
    if (name == NULL)
        return -1;
    if (make_link(workspace.fd, name, target) != 0 || fchownat(workspace.fd, name, plan->uid, plan->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    return utimensat(workspace.fd, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Copies a file of the workspace: a hard link of an archive becomes a separate file. */
static int copy_in_tree(const char *path, const char *source, mode_t mode, const struct timespec times[2])
{
    static uint8_t piece[MAX_PAYLOAD];
    struct stat info;
    const char *name = enter_tree(&workspace, source);
    int from = name == NULL ? -1 : openat(workspace.fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        return -1;
    errno = EINVAL;
    int to = fstat(from, &info) != 0 || !S_ISREG(info.st_mode) ? -1 : create_in_tree(path, mode);
    ssize_t got = -1;
    while (to >= 0 && (got = RETRY(read(from, piece, sizeof piece))) > 0)
        if (write_all(to, piece, (size_t)got) != 0)
            break;
    int copied = to >= 0 && got == 0 && futimens(to, times) == 0;
    close_keeping_errno(from);
    if (to >= 0)
        close_keeping_errno(to);
    return copied ? 0 : -1;
}

void take_tree(uint32_t type, const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    if (file_fd >= 0 || workspace.root < 0)
        malformed("order of frames");
    uint32_t mode = take_count(&reader, 0777, "mode");
    file_time[0].tv_nsec = UTIME_OMIT;
    file_time[1].tv_sec = (time_t)take64(&reader, "time");
    file_time[1].tv_nsec = (long)take_count(&reader, 999999999, "time");
    const char *path = take_relative(&reader, "path");
    const char *other = type == TREE_LINK ? take_text(&reader, "target") : type == TREE_COPY ? take_relative(&reader, "source") : NULL;
    take_end(&reader, "end of an entry");
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
