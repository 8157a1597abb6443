/* Watches of the file worker (inotify(7)). */
#include "boxer-files.h"

#include <sys/inotify.h>

enum { MAX_WATCHES = 1000 };

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

void watch_path(struct frame *frame)
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
