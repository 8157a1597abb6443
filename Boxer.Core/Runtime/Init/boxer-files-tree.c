/* Requests of the file worker that remove or write whole trees. No step below the directory of the request follows a link. */
#include "boxer-files.h"

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

void remove_path(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    finish(find(&walk, path, 0, 0) == 0 ? remove_found(&walk) : -1);
    end_walk(&walk);
}

/* ---- writing a tree ---- */

/* Entries are made as the user. */
static struct tree tree = { .fd = -1, .allow = allow };

/* Creates a file in place of an existing file or link. */
static int create_in_tree(const char *path, mode_t mode)
{
    const char *name = enter_tree(&tree, path);
    return name == NULL ? -1 : create_new(tree.fd, name, mode);
}

/* Makes a directory, or sets the mode and time of an existing one of the user. keeps: an existing one stays as it is. */
static int make_tree_directory(const char *path, mode_t mode, const struct timespec times[2], int keeps)
{
    const char *name = enter_tree(&tree, path);
    if (name == NULL)
        return -1;
    int is_new = mkdirat(tree.fd, name, mode) == 0;
    if (!is_new && errno != EEXIST)
        return -1;
    int fd = allow(openat(tree.fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0)
        return -1;
    close(fd);
    fd = is_new || !keeps ? open_directory(tree.fd, name) : -1;
    if (fd >= 0) {
        /* Both calls fail for a directory of another user, in which entries can be made all the same. */
        fchmod(fd, mode);
        futimens(fd, times);
        close(fd);
    }
    return 0;
}

static int make_tree_link(const char *path, const char *target, const struct timespec times[2])
{
    const char *name = enter_tree(&tree, path);
    if (name == NULL || make_link(tree.fd, name, target) != 0)
        return -1;
    return utimensat(tree.fd, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Copies a file of the tree: a hard link of an archive becomes a separate file. */
static int copy_in_tree(const char *path, const char *source, mode_t mode, const struct timespec times[2])
{
    struct stat info;
    const char *name = enter_tree(&tree, source);
    int from = name == NULL ? -1 : open_regular(tree.fd, name, O_RDONLY, &info);
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

void write_tree(struct frame *frame)
{
    struct walk walk;
    const char *path = frame_path(frame);
    frame_end(frame);
    if (find_directory(&walk, path, 1) != 0)
        finish(-1);
    tree.root = walk.directory;
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
    close_fd(&tree.fd);
    end_walk(&walk);
    finish(0);
}
