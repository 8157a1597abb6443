/*
 * Entries that are made below one directory: the workspace of a run, and the trees of the file worker. No step of a path follows a link:
 * links in a tree come from the caller or the guest, and could lead out of it.
 */
#include "boxer-pid1.h"

int are_names(const char *path)
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

static int remove_existing(int directory, const char *name)
{
    return unlinkat(directory, name, 0) == 0 || errno == ENOENT ? 0 : -1;
}

int create_new(int directory, const char *name, mode_t mode)
{
    int fd;
    for (int attempt = 0; (fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)) < 0; attempt++)
        if (attempt > 0 || errno != EEXIST || remove_existing(directory, name) != 0)
            return -1;
    return fd;
}

int make_link(int directory, const char *name, const char *target)
{
    if (symlinkat(target, directory, name) == 0)
        return 0;
    return errno == EEXIST && remove_existing(directory, name) == 0 ? symlinkat(target, directory, name) : -1;
}

const char *enter_tree(struct tree *tree, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    const char *name = slash == NULL ? path : slash + 1;
    if (tree->fd >= 0 && strlen(tree->directory) == length && memcmp(tree->directory, path, length) == 0)
        return name;
    close_fd(&tree->fd);
    memcpy(tree->directory, path, length);
    tree->directory[length] = '\0';
    tree->fd = fcntl(tree->root, F_DUPFD_CLOEXEC, 0);
    char step[MAX_NAME + 1];
    for (const char *at = path; tree->fd >= 0 && at < name;) {
        size_t size = strcspn(at, "/");
        memcpy(step, at, size);
        step[size] = '\0';
        int below = openat(tree->fd, step, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (tree->allow != NULL)
            below = tree->allow(below);
        close_keeping_errno(tree->fd);
        tree->fd = below;
        at += size + 1;
    }
    return tree->fd < 0 ? NULL : name;
}
