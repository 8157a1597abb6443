/* Directories that PID 1 makes and mounts for a command, and its text files. */
#include "boxer-run.h"

/* A directory of the plan, in the plan's order; the path is a copy. A directory that the image uses is not mounted. */
struct mount_point {
    struct tmpfs tmpfs;
    int is_mounted;
};

/* A text file that has been created and has no content yet; the path is a copy. */
struct empty_file {
    char *path;
    int fd;
};

static struct mount_point mounts[MAX_ITEMS];
static uint64_t mounted_size;
static uint32_t mount_count;
static struct empty_file empty_files[MAX_ITEMS];
static uint32_t empty_file_count;

int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only);

/* Makes the missing target of a link of the image (home -> var/home). Returns 0 if the target exists afterwards. */
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

/* Makes a directory and its missing parents. Parents belong to root, the directory to the given ids. Returns 0, or -1 with errno. */
int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only)
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

/* Returns 1 if the directory has entries, which a mount would hide. */
int is_used(const char *path)
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
        used = !is_dots(entry->d_name);
    closedir(directory);
    return used;
}

void unmount(const char *path, int flags)
{
    if (umount2(path, flags) != 0)
        fault("unmount", path, errno);
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        fault("strdup", NULL, errno);
    return copy;
}

/* Mount point of the one tmpfs while its directories are bound to their paths. Every root has this directory. */
const char TMPFS_ROOT[] = "/.boxer";

/* The image has a file at the workspace's path or at a parent: the request is wrong, not the sandbox. */
static void reject_workspace(struct mount_point *point, int error)
{
    point->is_mounted = 0;
    strcpy(file_path, point->tmpfs.path);
    file_failed(error);
}

/*
 * Makes a home or workspace of a session in the root, so that its files share the root's room. One that is missing or empty gets the owner
 * and the mode.
 */
static void make_in_root(struct mount_point *point)
{
    const struct tmpfs *tmpfs = &point->tmpfs;
    point->is_mounted = 0;
    int fd = make_directories(tmpfs->path, 0, 0, 0) != 0 ? -1 : open(tmpfs->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && tmpfs->kind == WORKSPACE)
        reject_workspace(point, errno);
    else if (fd < 0 || (!is_used(tmpfs->path) && (fchown(fd, tmpfs->uid, tmpfs->gid) != 0 || fchmod(fd, tmpfs->mode) != 0)))
        fault("make", tmpfs->path, errno);
    else if (tmpfs->kind == WORKSPACE)
        workspace.root = fd;
    else
        close(fd);
}

static void mount_directory(const struct tmpfs *tmpfs)
{
    struct mount_point *point = &mounts[mount_count];
    char source[64];
    snprintf(source, sizeof source, "%s/%u", TMPFS_ROOT, mount_count++);
    point->tmpfs = *tmpfs;
    point->tmpfs.path = copy_text(tmpfs->path);
    if (plan->is_session && tmpfs->kind != MOUNTED) {
        make_in_root(point);
        return;
    }
    point->is_mounted = tmpfs->kind != UNLESS_USED || !is_used(tmpfs->path);
    if (!point->is_mounted)
        return;
    /* gVisor mounts a directory on a file, and no entries can then be made there. */
    struct stat info;
    if (tmpfs->kind == WORKSPACE && stat(tmpfs->path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        reject_workspace(point, ENOTDIR);
        return;
    }
    if (mkdir(source, 0700) != 0 || chown(source, tmpfs->uid, tmpfs->gid) != 0 || chmod(source, tmpfs->mode) != 0)
        fault("make", source, errno);
    for (int attempt = 0; mount(source, tmpfs->path, NULL, MS_BIND | MS_NOSUID | MS_NODEV, NULL) != 0; attempt++) {
        if (attempt == 0 && errno == ENOENT && make_directories(tmpfs->path, 0, 0, 0) == 0)
            continue;
        if (tmpfs->kind != WORKSPACE)
            fault("mount", tmpfs->path, errno);
        reject_workspace(point, errno);
        return;
    }
    if (tmpfs->kind == WORKSPACE && (workspace.root = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fault("open", tmpfs->path, errno);
}

/* The directories are in one file system, so that its size limits all of them together. */
void mount_directories(void)
{
    char options[64];
    snprintf(options, sizeof options, "size=%llu,mode=0700", (unsigned long long)plan->tmpfs_size);
    /* A warm-up of user 0 can have replaced it. */
    struct stat info;
    if (lstat(TMPFS_ROOT, &info) != 0 || !S_ISDIR(info.st_mode)) {
        unlink(TMPFS_ROOT);
        mkdir(TMPFS_ROOT, 0700);
    }
    if (plan->tmpfs_count > 0 && mount("tmpfs", TMPFS_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        fault("mount", TMPFS_ROOT, errno);
    for (uint32_t i = 0; i < plan->tmpfs_count; i++)
        mount_directory(&plan->tmpfs[i]);
    if (plan->tmpfs_count > 0)
        unmount(TMPFS_ROOT, MNT_DETACH);
    mounted_size = plan->tmpfs_size;
}

void unmount_directories(void)
{
    while (mount_count > 0) {
        struct mount_point *point = &mounts[--mount_count];
        if (point->is_mounted)
            unmount(point->tmpfs.path, 0);
        free((char *)point->tmpfs.path);
    }
}

/* Returns 1 if the present mounts are those of the plan. */
int are_mounts_wanted(void)
{
    int same = !plan->is_session && mount_count == plan->tmpfs_count && mounted_size == plan->tmpfs_size;
    for (uint32_t i = 0; i < mount_count && same; i++) {
        const struct tmpfs *there = &mounts[i].tmpfs;
        const struct tmpfs *wanted = &plan->tmpfs[i];
        same = strcmp(there->path, wanted->path) == 0 && there->mode == wanted->mode && there->uid == wanted->uid && there->gid == wanted->gid
            && there->kind == wanted->kind;
    }
    return same;
}

/*
 * Opens a new file, in place of an existing file or link; the link is not followed. The file has its final mode at once: no process of
 * the guest runs before GO. Returns the descriptor, or -1 with errno.
 */
int create_at(int directory, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    int fd = create_new(directory, name, mode);
    if (fd >= 0 && fchown(fd, uid, gid) != 0) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

/* Creates a file of root, and its missing parents. */
int create_file(const char *path, mode_t mode)
{
    int fd = create_at(AT_FDCWD, path, mode, 0, 0);
    if (fd < 0 && errno == ENOENT && make_directories(path, 0, 0, 1) == 0)
        fd = create_at(AT_FDCWD, path, mode, 0, 0);
    return fd;
}

static int create_text(const char *path)
{
    int fd = create_file(path, 0644);
    if (fd < 0)
        fault("create", path, errno);
    return fd;
}

/* Returns the descriptor of a file that make_ahead() created, once; or -1. */
static int take_empty_file(const char *path)
{
    for (uint32_t i = 0; i < empty_file_count; i++) {
        if (empty_files[i].fd >= 0 && strcmp(empty_files[i].path, path) == 0) {
            int fd = empty_files[i].fd;
            empty_files[i].fd = -1;
            return fd;
        }
    }
    return -1;
}

void write_text(const struct text_file *text)
{
    int fd = take_empty_file(text->path);
    if (fd < 0)
        fd = create_text(text->path);
    if (write_all(fd, text->content, text->length) != 0)
        fault("write", text->path, errno);
    close(fd);
}

void forget_empty_files(void)
{
    while (empty_file_count > 0) {
        struct empty_file *file = &empty_files[--empty_file_count];
        close_fd(&file->fd);
        free(file->path);
    }
}

/* Makes the mounts and the empty text files that the next plan probably has, while no run waits for them. */
void make_ahead(void)
{
    mount_directories();
    for (uint32_t i = 0; i < plan->text_count; i++) {
        struct empty_file *file = &empty_files[empty_file_count++];
        file->path = copy_text(plan->texts[i].path);
        file->fd = create_text(file->path);
    }
}

/* Returns 1 if the one tmpfs has no free block. Every mounted directory of the plan is part of it. */
uint32_t is_tmpfs_full(void)
{
    struct statvfs info;
    for (uint32_t i = 0; i < mount_count; i++)
        if (mounts[i].is_mounted)
            return statvfs(mounts[i].tmpfs.path, &info) == 0 && info.f_bavail == 0;
    return 0;
}

/* Returns a descriptor of a directory of the tmpfs, or -1. Its path may lead elsewhere once the guest runs. */
int open_tmpfs(void)
{
    for (uint32_t i = 0; i < mount_count; i++)
        if (mounts[i].is_mounted)
            return open(mounts[i].tmpfs.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return -1;
}
