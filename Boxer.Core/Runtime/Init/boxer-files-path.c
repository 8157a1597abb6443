/* Paths of the file worker: links are followed, but none into the files of the sandbox's kernel. */
#include "boxer-files.h"

#include <sys/vfs.h>

/* Linux follows as many links (path_resolution(7)). */
enum { MAX_FOLLOWED = 40 };

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
int allow(int fd)
{
    if (fd >= 0 && check_file_system(fd) != 0) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

void end_walk(struct walk *walk)
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
int find_directory(struct walk *walk, const char *path, int makes)
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
int find(struct walk *walk, const char *path, int follows, int makes)
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
int open_directory(int parent, const char *name)
{
    return allow(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

/*
 * Opens a regular file. The kind is checked before, because opening a FIFO or a device does something, and afterwards, because the guest
 * may have replaced it.
 */
int open_regular(int directory, const char *name, int flags, struct stat *info)
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
