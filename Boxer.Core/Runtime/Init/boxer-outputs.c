/* Outputs, and changes of the workspace, that are sent when the command has ended. */
#include "boxer-run.h"

/* Number of omitted entries, by reason. */
static uint64_t cut[CUT_REASONS];
static uint64_t bytes_left;
static uint64_t entries_left;
static uint64_t walk_left;

/* The walk of a workspace sends only entries that the command changed, and also symbolic links. */
static int walks_changes;
static struct timespec command_began;
static char output_path[MAX_PATH + 1];

static void send_cut(enum truncation reason, uint64_t count)
{
    send_payload_end(OUTPUT_TRUNCATED, put64(put32(buffer + HEADER_SIZE, (uint32_t)reason), count));
}

static void send_content(int fd, uint64_t size)
{
    while (size > 0) {
        ssize_t got = RETRY(read(fd, buffer + HEADER_SIZE, size < MAX_PAYLOAD ? (size_t)size : MAX_PAYLOAD));
        if (got <= 0) {
            /* Reported at once, because this frame ends the file. */
            send_cut(CUT_UNREADABLE, 1);
            return;
        }
        send_buffer(OUTPUT_DATA, (size_t)got);
        size -= (uint64_t)got;
    }
}

static void send_file(int directory, const char *name, size_t length)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        cut[CUT_UNREADABLE]++;
    } else if ((uint64_t)info.st_size > bytes_left) {
        cut[CUT_BYTES]++;
    } else {
        uint64_t size = (uint64_t)info.st_size;
        bytes_left -= size;
        uint8_t *at = put_time(put64(put32(buffer + HEADER_SIZE, info.st_mode & 0777), size), info.st_mtim);
        send_payload_end(OUTPUT_FILE, put_text(at, output_path, length));
        send_content(fd, size);
    }
    close_fd(&fd);
}

/*
 * A path of the workspace and the file that was there when the command began. The status change time alone does not reveal every change:
 * entries of a renamed directory keep theirs, and so does, in gVisor, a file with another link.
 */
struct known {
    uint64_t path;
    uint64_t inode;
};

static struct known *known;
static size_t known_count;
static size_t known_capacity;

/* FNV-1a. A command that constructs two paths with the same hash only hides its own changes. */
static uint64_t hash_path(size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)output_path[i]) * 0x100000001B3u;
    return hash;
}

static int compare_known(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct known));
}

/* Appends a name to the path in output_path. Returns the new length, or 0 if the path is too long. */
static size_t append_name(size_t prefix, const char *name)
{
    size_t length = prefix + (prefix > 0) + strlen(name);
    if (length > MAX_PATH)
        return 0;
    if (prefix > 0)
        output_path[prefix] = '/';
    strcpy(output_path + prefix + (prefix > 0), name);
    return length;
}

/* Runs before the command: PID 1 made every entry. Closes the directory. */
static void remember_directory(int fd, size_t prefix)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL)
        fault("remember", "the workspace", errno);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        size_t length = is_dots(entry->d_name) ? 0 : append_name(prefix, entry->d_name);
        struct stat info;
        if (length == 0 || fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (known_count == known_capacity && (known = realloc(known, (known_capacity += 4096) * sizeof *known)) == NULL)
            fault("realloc", NULL, errno);
        known[known_count++] = (struct known){ hash_path(length), info.st_ino };
        int below = S_ISDIR(info.st_mode) ? openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (below >= 0)
            remember_directory(below, length);
    }
    closedir(directory);
}

/* Uses the clock of time stamps, which on Linux is behind the precise clock. */
void remember_workspace(void)
{
    /* Not a duplicate: it would share its position with the walk after the end. */
    int fd = openat(workspace.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fault("open", "the workspace", errno);
    remember_directory(fd, 0);
    qsort(known, known_count, sizeof *known, compare_known);
    clock_gettime(CLOCK_REALTIME_COARSE, &command_began);
}

static int is_changed(size_t length, const struct stat *info)
{
    if (!walks_changes)
        return 1;
    struct known entry = { hash_path(length), info->st_ino };
    const struct timespec *changed = &info->st_ctim;
    return changed->tv_sec > command_began.tv_sec
        || (changed->tv_sec == command_began.tv_sec && changed->tv_nsec >= command_began.tv_nsec)
        || bsearch(&entry, known, known_count, sizeof *known, compare_known) == NULL;
}

static void send_link(int directory, const char *name, size_t length)
{
    char target[MAX_PATH + 1];
    ssize_t got = readlinkat(directory, name, target, sizeof target - 1);
    target[got < 0 ? 0 : got] = '\0';
    if (got <= 0 || !is_utf8(target)) {
        cut[got < 0 ? CUT_UNREADABLE : CUT_PATH]++;
        return;
    }
    send_payload_end(OUTPUT_LINK, put_text(put_text(buffer + HEADER_SIZE, target, (size_t)got), output_path, length));
}

static int send_directory(int fd, size_t prefix, int depth);

/* Opens and sends a directory of the walk. Returns 0 if the walk must stop. */
static int send_subdirectory(int parent, const char *name, size_t length, const struct stat *info, int depth, int is_sent)
{
    if (depth >= MAX_DEPTH) {
        cut[CUT_DEPTH]++;
        return 1;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        cut[CUT_UNREADABLE]++;
        return 1;
    }
    if (is_sent)
        send_payload_end(OUTPUT_DIRECTORY, put_text(put32(buffer + HEADER_SIZE, info->st_mode & 0777), output_path, length));
    return send_directory(fd, length, depth + 1);
}

/* Sends one entry of a directory. Returns 0 if the walk must stop. */
static int send_entry(int directory, const char *name, size_t prefix, int depth)
{
    struct stat info;
    size_t length = append_name(prefix, name);
    int is_there = fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    int is_sent = !is_there || length == 0 || is_changed(length, &info);
    if (walk_left == 0 || (is_sent && entries_left == 0)) {
        cut[CUT_ENTRIES]++;
        return 0;
    }
    walk_left--;
    if (is_sent)
        entries_left--;
    else if (!S_ISDIR(info.st_mode))
        return 1;

    if (length == 0 || !is_utf8(name))
        cut[CUT_PATH]++;
    else if (!is_there)
        cut[CUT_UNREADABLE]++;
    else if (S_ISDIR(info.st_mode))
        return send_subdirectory(directory, name, length, &info, depth, is_sent);
    else if (S_ISREG(info.st_mode))
        send_file(directory, name, length);
    else if (S_ISLNK(info.st_mode) && walks_changes)
        send_link(directory, name, length);
    else
        cut[CUT_NOT_REGULAR]++;
    return 1;
}

/* Sends the entries of a directory. Returns 0 if the walk must stop. Closes the directory. */
static int send_directory(int fd, size_t prefix, int depth)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        cut[CUT_UNREADABLE]++;
        close(fd);
        return 1;
    }
    int go_on = 1;
    struct dirent *entry;
    while (go_on && (errno = 0, entry = readdir(directory)) != NULL)
        if (!is_dots(entry->d_name))
            go_on = send_entry(fd, entry->d_name, prefix, depth);
    if (go_on && errno != 0)
        cut[CUT_UNREADABLE]++;
    closedir(directory);
    return go_on;
}

void send_outputs(int fd, uint64_t bytes, uint64_t entries, int only_changes)
{
    bytes_left = bytes;
    entries_left = entries;
    walks_changes = only_changes;
    walk_left = only_changes ? MAX_WALK : UINT64_MAX;
    send_directory(fd, 0, 0);
    for (enum truncation reason = CUT_BYTES; reason < CUT_REASONS; reason++) {
        if (cut[reason] > 0)
            send_cut(reason, cut[reason]);
        cut[reason] = 0;
    }
    send_buffer(OUTPUT_DONE, 0);
}
