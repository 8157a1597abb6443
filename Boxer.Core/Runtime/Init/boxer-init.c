/*
 * PID 1 of a sandbox. Its control socket is descriptor 0 at its start. PROTOCOL.md, beside this file, describes the frames on the socket and the
 * reasons for the order of steps.
 *
 * The guest is hostile: it can call, signal and trace everything that gVisor lets it. Read "What protects PID 1" in PROTOCOL.md
 * before a change.
 */
#include "boxer-pid1.h"

#include <sys/ioctl.h>

/* Not every libc comes with the kernel's own headers. */
struct capability_header {
    uint32_t version;
    int pid;
};

struct capability_data {
    uint32_t effective;
    uint32_t permitted;
    uint32_t inheritable;
};

static const uint32_t CAPABILITY_VERSION_3 = 0x20080522;

/* CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SETFCAP: enough to install packages and to change the user. */
static const uint64_t ALLOWED_CAPABILITIES = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 18 | 1u << 31;

/* One bit for each processor (sched_setaffinity(2)). */
struct processors {
    uint8_t bits[MAX_PROCESSORS / 8];
};

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

struct plan *plan;
enum state state = WAITING_FOR_START;

/* The future standard streams of the command; -1 before START. Its child makes them descriptors 0, 1 and 2. */
int standard[STREAMS] = { -1, -1, -1 };
static pid_t child;
static int child_socket = -1;
static int child_status;
static int child_ended;
static int output_fd = -1;

/* Entries of the workspace are made below its own directory and belong to the command's user. */
static struct tree workspace = { .root = -1, .fd = -1 };
static struct mount_point mounts[MAX_ITEMS];
static uint64_t mounted_size;
static uint32_t mount_count;
static struct empty_file empty_files[MAX_ITEMS];
static uint32_t empty_file_count;
static int memory_limit_fd = -1;
static int cpu_quota_fd = -1;
static int cpuset_fd = -1;
static int are_cgroups_shown;
static int is_cwd_made;
static struct processors own_processors;
static struct processors narrow_processors;
static long own_processor_count;
static uint32_t warm_up_errno;
static struct rusage warm_up_usage;

/* Largest RSS (KiB) reaped since the warm-up. The kernel's own maximum includes the warm-up. */
static long max_resident;
static int file_fd = -1;
static char file_path[MAX_PATH + 1];
static struct timespec file_time[2];
static int has_file_time;
uint8_t buffer[HEADER_SIZE + MAX_PAYLOAD];
static uint8_t outgoing[2 * (HEADER_SIZE + MAX_PAYLOAD)];
static size_t outgoing_length;

/* ---- killing and reaping ---- */

static pid_t reap_one(void)
{
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    if (pid > 0 && usage.ru_maxrss > max_resident)
        max_resident = usage.ru_maxrss;
    if (pid > 0 && pid == child) {
        child_status = status;
        child_ended = 1;
    }
    return pid;
}

/* Kills and reaps every process but this one. ECHILD proves that none is left: each is a child of PID 1, or has an ancestor that is. */
void kill_all(void)
{
    for (;;) {
        pid_t pid = 1;
        kill(-1, SIGKILL);
        for (int i = 0; i < MAX_REAPED && pid > 0; i++)
            pid = reap_one();
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid > 0)
            continue;
        /* SIGCHLD ends the wait. The timeout is for a process that forked between two kills. */
        sigset_t all;
        sigfillset(&all);
        sigdelset(&all, SIGCHLD);
        ppoll(NULL, 0, &(struct timespec){ .tv_nsec = 2000000 }, &all);
    }
}

_Noreturn void leave(int code)
{
    kill_all();
    _exit(code);
}

/* ---- sending ---- */

/* Exits if the host is gone. */
static void wait_until_writable(void)
{
    struct pollfd poll_fd = { .fd = CONTROL, .events = POLLOUT };
    int ready = poll(&poll_fd, 1, STALL_MILLISECONDS);
    if (ready == 0 || (ready < 0 && errno != EINTR) || (ready > 0 && (poll_fd.revents & (POLLHUP | POLLERR)) != 0))
        leave(1);
}

void send_bytes(const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = RETRY(send(CONTROL, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT));
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (sent < 0 && errno != EAGAIN) {
            leave(1);
        } else {
            wait_until_writable();
        }
    }
}

void flush(void)
{
    if (state == SERVING) {
        flush_queue();
        return;
    }
    send_bytes(outgoing, outgoing_length);
    outgoing_length = 0;
}

/* Queues the frame whose payload is at buffer + HEADER_SIZE. Frames are sent together, because each send wakes the host. */
void send_buffer(enum frame_type type, size_t length)
{
    put32(buffer, (uint32_t)length);
    buffer[4] = (uint8_t)type;
    buffer[5] = (uint8_t)(type >> 8);
    buffer[6] = type == ENDED || type == OUTPUT_FILE ? REPORT_VERSION : FRAME_VERSION;
    buffer[7] = 0;
    if (state == SERVING) {
        queue_frame(buffer, HEADER_SIZE + length);
        return;
    }
    if (sizeof outgoing - outgoing_length < HEADER_SIZE + length)
        flush();
    memcpy(outgoing + outgoing_length, buffer, HEADER_SIZE + length);
    outgoing_length += HEADER_SIZE + length;
}

void send_payload_end(enum frame_type type, const uint8_t *end)
{
    send_buffer(type, (size_t)(end - (buffer + HEADER_SIZE)));
}

_Noreturn void fault(const char *stage, const char *object, int error)
{
    char text[MAX_STAGE];
    int length = snprintf(text, sizeof text, "%s%s%.200s", stage, object != NULL ? " " : "", object != NULL ? object : "");
    /* A path can have any byte; a stage is printable ASCII. */
    for (int i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    kill_all();
    send_payload_end(FAULT, put_text(put32(buffer + HEADER_SIZE, (uint32_t)error), text, (size_t)length));
    flush();
    _exit(1);
}

_Noreturn void malformed(const char *what)
{
    fault("malformed", what, EBADMSG);
}

/* ---- reading payloads ---- */

const uint8_t *take(struct reader *reader, size_t count, const char *field)
{
    if ((size_t)(reader->end - reader->at) < count)
        malformed(field);
    const uint8_t *taken = reader->at;
    reader->at += count;
    return taken;
}

uint32_t take32(struct reader *reader, const char *field)
{
    return get32(take(reader, 4, field));
}

uint64_t take64(struct reader *reader, const char *field)
{
    return get64(take(reader, 8, field));
}

uint32_t take_count(struct reader *reader, uint32_t max, const char *field)
{
    uint32_t count = take32(reader, field);
    if (count > max)
        malformed(field);
    return count;
}

uint32_t take_id(struct reader *reader, const char *field)
{
    uint32_t id = take32(reader, field);
    if (id == RESERVED_ID || id == UINT32_MAX)
        malformed(field);
    return id;
}

/* A text ends with a NUL that its length does not count, and has no other NUL, so it is used in place. */
const char *take_text(struct reader *reader, const char *field)
{
    uint32_t length = take32(reader, field);
    if (length >= MAX_START)
        malformed(field);
    const uint8_t *text = take(reader, (size_t)length + 1, field);
    if (memchr(text, 0, (size_t)length + 1) != text + length)
        malformed(field);
    return (const char *)text;
}

/* Checks names between slashes: none may be empty, too long, "." or "..". */
static void check_names(const char *names, const char *field)
{
    if (!are_names(names))
        malformed(field);
}

/* Returns an absolute path. Links in it are followed: they stay in the sandbox. */
const char *take_path(struct reader *reader, const char *field)
{
    const char *path = take_text(reader, field);
    if (path[0] != '/' || strlen(path) > MAX_PATH)
        malformed(field);
    check_names(path + 1, field);
    return path;
}

/* Returns a path below the workspace. */
static const char *take_relative(struct reader *reader, const char *field)
{
    const char *path = take_text(reader, field);
    if (strlen(path) >= MAX_PATH)
        malformed(field);
    check_names(path, field);
    return path;
}

/* Returns a path, or the one other text that the field may have. */
const char *take_path_or(struct reader *reader, const char *other, const char *field)
{
    struct reader start = *reader;
    if (strcmp(take_text(reader, field), other) == 0)
        return other;
    *reader = start;
    return take_path(reader, field);
}

void take_end(const struct reader *reader, const char *field)
{
    if (reader->at != reader->end)
        malformed(field);
}

/* ---- reading START and WARM_UP ---- */

void take_identity(struct reader *reader)
{
    plan->uid = take_id(reader, "uid");
    plan->gid = take_id(reader, "gid");
    plan->capabilities = take64(reader, "capabilities");
    if (plan->capabilities != 0 && (plan->uid != 0 || (plan->capabilities & ~ALLOWED_CAPABILITIES) != 0))
        malformed("capabilities");
    plan->group_count = take_count(reader, MAX_GROUPS, "groups");
    for (uint32_t i = 0; i < plan->group_count; i++)
        plan->groups[i] = take_id(reader, "groups");
}

void take_limits(struct reader *reader)
{
    plan->limit_count = take_count(reader, MAX_ITEMS, "limits");
    for (uint32_t i = 0; i < plan->limit_count; i++) {
        struct limit *limit = &plan->limits[i];
        limit->resource = take32(reader, "limits");
        limit->value.rlim_cur = take64(reader, "limits");
        limit->value.rlim_max = take64(reader, "limits");
    }
}

static void take_tmpfs(struct reader *reader)
{
    plan->tmpfs_size = take64(reader, "tmpfs");
    if (plan->tmpfs_size == 0 || plan->tmpfs_size > INT64_MAX)
        malformed("tmpfs");
    plan->tmpfs_count = take_count(reader, MAX_ITEMS, "tmpfs");
    plan->workspace = NULL;
    for (uint32_t i = 0; i < plan->tmpfs_count; i++) {
        struct tmpfs *tmpfs = &plan->tmpfs[i];
        tmpfs->path = take_path(reader, "tmpfs");
        tmpfs->mode = take32(reader, "tmpfs");
        tmpfs->uid = take_id(reader, "tmpfs");
        tmpfs->gid = take_id(reader, "tmpfs");
        tmpfs->kind = take_count(reader, WORKSPACE, "tmpfs");
        if (tmpfs->mode > 07777)
            malformed("tmpfs");
        if (tmpfs->kind != WORKSPACE)
            continue;
        /* A run has at most one workspace, a warm-up none. */
        if (plan->workspace != NULL || plan->is_warm_up)
            malformed("tmpfs");
        plan->workspace = tmpfs->path;
    }
}

static void take_text_files(struct reader *reader)
{
    plan->text_count = take_count(reader, MAX_ITEMS, "text files");
    for (uint32_t i = 0; i < plan->text_count; i++) {
        struct text_file *text = &plan->texts[i];
        text->path = take_path(reader, "text files");
        text->length = take32(reader, "text files");
        text->content = take(reader, text->length, "text files");
    }
}

void take_command(struct reader *reader)
{
    uint32_t used = take_count(reader, MAX_STRINGS, "arguments");
    if ((used == 0) != plan->is_session)
        malformed("arguments");
    plan->argv = plan->strings;
    for (uint32_t i = 0; i < used; i++)
        plan->argv[i] = (char *)take_text(reader, "arguments");
    if (used > 0 && plan->argv[0][0] == '\0')
        malformed("arguments");
    plan->argv[used] = NULL;
    plan->envp = plan->strings + used + 1;
    uint32_t variables = take_count(reader, MAX_STRINGS - used, "environment");
    for (uint32_t i = 0; i < variables; i++)
        plan->envp[i] = (char *)take_text(reader, "environment");
    plan->envp[variables] = NULL;
}

static void parse_plan(size_t length)
{
    struct reader reader = { plan->payload, plan->payload + length };

    take_identity(&reader);
    take_limits(&reader);
    plan->hostname = take_text(&reader, "hostname");
    if (strlen(plan->hostname) > MAX_HOSTNAME)
        malformed("hostname");
    plan->cwd = take_path_or(&reader, "/", "cwd");
    take_tmpfs(&reader);
    take_text_files(&reader);
    plan->output = take_path_or(&reader, "", "output");
    plan->output_bytes = take64(&reader, "output");
    plan->output_entries = take32(&reader, "output");
    take_command(&reader);
    plan->memory_bytes = take64(&reader, "memory");
    plan->cpu_quota = take32(&reader, "processor time");
    if (plan->memory_bytes < LEAST_MEMORY || plan->memory_bytes > INT64_MAX || plan->cpu_quota < 1 || plan->cpu_quota > INT32_MAX)
        malformed("limits to show");
    plan->merges_output = take_count(&reader, 1, "flags");
    plan->change_bytes = take64(&reader, "changes");
    plan->change_entries = take32(&reader, "changes");
    if (plan->change_entries > 0 && plan->workspace == NULL)
        malformed("changes");
    plan->columns = take_count(&reader, MAX_TERMINAL_SIZE, "columns");
    plan->rows = take_count(&reader, MAX_TERMINAL_SIZE, "rows");
    if ((plan->columns == 0) != (plan->rows == 0) || (plan->columns > 0 && (plan->is_warm_up || plan->is_session)))
        malformed("size of the terminal");
    if (plan->is_session && (plan->output[0] != '\0' || plan->merges_output || plan->change_entries > 0))
        malformed("fields of OPEN");
    take_end(&reader, "end of START");
}

/* ---- preparation ---- */

static int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only);

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
static int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only)
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
static int is_used(const char *path)
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

static void unmount(const char *path, int flags)
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
static const char TMPFS_ROOT[] = "/.boxer";

static void file_failed(int error);

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
static void mount_directories(void)
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

static void unmount_directories(void)
{
    while (mount_count > 0) {
        struct mount_point *point = &mounts[--mount_count];
        if (point->is_mounted)
            unmount(point->tmpfs.path, 0);
        free((char *)point->tmpfs.path);
    }
}

/* Returns 1 if the present mounts are those of the plan. */
static int are_mounts_wanted(void)
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
static int create_at(int directory, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    int fd = create_new(directory, name, mode);
    if (fd >= 0 && fchown(fd, uid, gid) != 0) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

/* Creates a file of root, and its missing parents. */
static int create_file(const char *path, mode_t mode)
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

static void write_text(const struct text_file *text)
{
    int fd = take_empty_file(text->path);
    if (fd < 0)
        fd = create_text(text->path);
    if (write_all(fd, text->content, text->length) != 0)
        fault("write", text->path, errno);
    close(fd);
}

static void forget_empty_files(void)
{
    while (empty_file_count > 0) {
        struct empty_file *file = &empty_files[--empty_file_count];
        close_fd(&file->fd);
        free(file->path);
    }
}

/* Makes the mounts and the empty text files that the next plan probably has, while no run waits for them. */
static void make_ahead(void)
{
    mount_directories();
    for (uint32_t i = 0; i < plan->text_count; i++) {
        struct empty_file *file = &empty_files[empty_file_count++];
        file->path = copy_text(plan->texts[i].path);
        file->fd = create_text(file->path);
    }
}

/* ---- files that show programs their limits ---- */

/*
 * The sandbox's kernel shows the host's memory and all processors that it uses; with fewer processors it would be slower. Programs size
 * themselves by cgroup limits, by their affinity and by files of /proc and /sys. PID 1 therefore narrows the affinity that a command
 * inherits. At boot it mounts its own files over those of the kernel, read-only, and keeps descriptors to write the run's limits.
 * It closes the descriptors before the guest's code runs: user 0 could open them through /proc/1/fd. If the kernel lacks one of these
 * mounts, PID 1 leaves it out, and programs see the host's values.
 */
static const char CGROUPS[] = "/sys/fs/cgroup";

enum { VIEW_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC };

/* Binds a file or directory over another, read-only. Removes the mount if it cannot be read-only. */
static int bind_read_only(const char *source, const char *target)
{
    if (mount(source, target, NULL, MS_BIND, NULL) != 0)
        return -1;
    if (mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | VIEW_FLAGS, NULL) == 0)
        return 0;
    int error = errno;
    unmount(target, MNT_DETACH);
    errno = error;
    return -1;
}

static int mount_scratch(void)
{
    char options[64];
    snprintf(options, sizeof options, "size=%d,mode=0755,uid=%u,gid=%u", SCRATCH_BYTES, (unsigned int)RESERVED_ID, (unsigned int)RESERVED_ID);
    return mount("tmpfs", CGROUPS, "tmpfs", VIEW_FLAGS, options);
}

static void unmount_scratch(void)
{
    unmount(CGROUPS, MNT_DETACH);
}

/* A file's text, as the sandbox's kernel wrote it. */
struct text {
    char *bytes;
    size_t length;
};

static struct text cpuinfo;
static struct text cpu_statistics;

static void read_text(struct text *text, const char *path)
{
    size_t capacity = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t got = 1; fd >= 0 && got > 0; text->length += (size_t)got) {
        if (text->length == capacity && (text->bytes = realloc(text->bytes, capacity += 64 << 10)) == NULL)
            fault("realloc", NULL, errno);
        got = RETRY(read(fd, text->bytes + text->length, capacity - text->length));
        if (got < 0)
            fault("read", path, errno);
    }
    close_fd(&fd);
}

enum shown_file { MEMINFO, CPUINFO, STATISTICS, SHOWN_FILES };

/* A file that PID 1 mounts over one of the kernel's. fd is open for writing, or -1. */
static struct view {
    const char *source;
    const char *target;
    int fd;
    int is_shown;
} shown_files[SHOWN_FILES] = {
    [MEMINFO] = { "/sys/fs/cgroup/meminfo", "/proc/meminfo", -1, 0 },
    [CPUINFO] = { "/sys/fs/cgroup/cpuinfo", "/proc/cpuinfo", -1, 0 },
    [STATISTICS] = { "/sys/fs/cgroup/stat", "/proc/stat", -1, 0 },
};

static const char SYSTEM_PROCESSORS[] = "/sys/devices/system/cpu";
static int processor_list_fd = -1;
static int processor_directory_fd = -1;
static int are_processors_shown;

/* Mounts a directory like the kernel's: lists of processors, and a directory for each processor. */
static void show_processors(void)
{
    static const char directory[] = "/sys/fs/cgroup/processors";
    if (mkdir(directory, 0755) != 0)
        return;
    processor_directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (processor_directory_fd < 0)
        return;
    int fd = openat(processor_directory_fd, "online", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd >= 0 && linkat(processor_directory_fd, "online", processor_directory_fd, "possible", 0) == 0
        && linkat(processor_directory_fd, "online", processor_directory_fd, "present", 0) == 0
        && bind_read_only(directory, SYSTEM_PROCESSORS) == 0) {
        processor_list_fd = fd;
        are_processors_shown = 1;
    } else if (fd >= 0) {
        close(fd);
    }
}

/*
 * The files are in a tmpfs that has no path afterwards, so only PID 1's descriptors can write them. They belong to the reserved id: a
 * read-only mount does not prevent user 0 from changing the mode of its own files.
 */
static void show_file(struct view *file)
{
    int fd = open(file->source, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd >= 0 && bind_read_only(file->source, file->target) == 0) {
        file->fd = fd;
        file->is_shown = 1;
    } else if (fd >= 0) {
        close(fd);
    }
}

static void show_files(void)
{
    if (mount_scratch() != 0)
        return;
    for (int i = 0; i < SHOWN_FILES; i++)
        show_file(&shown_files[i]);
    show_processors();
    unmount_scratch();
}

/*
 * Mounts a cgroup controller read-only. limit is the name of the controller's file that PID 1 opens for writing, through a mount that
 * has no path afterwards; or NULL. Returns the descriptor of that file, or -1.
 */
static int mount_controller(const char *controller, const char *limit)
{
    char path[64];
    char file[128];
    int fd = -1;
    snprintf(path, sizeof path, "%s/%s", CGROUPS, controller);
    if (mkdir(path, 0755) != 0)
        return -1;
    if (limit != NULL && mount("cgroup", path, "cgroup", VIEW_FLAGS, controller) == 0) {
        snprintf(file, sizeof file, "%s/%s", path, limit);
        fd = open(file, O_WRONLY | O_CLOEXEC);
        unmount(path, MNT_DETACH);
    }
    /* A controller whose limit PID 1 cannot write would show a wrong limit. */
    if (limit == NULL || fd >= 0)
        mount("cgroup", path, "cgroup", MS_RDONLY | VIEW_FLAGS, controller);
    return fd;
}

static void show_cgroups(void)
{
    if (mount_scratch() != 0)
        return;
    memory_limit_fd = mount_controller("memory", "memory.limit_in_bytes");
    cpu_quota_fd = mount_controller("cpu", "cpu.cfs_quota_us");
    /* Java reads no limit if one of these is missing. */
    mount_controller("cpuacct", NULL);
    cpuset_fd = mount_controller("cpuset", "cpuset.cpus");
    are_cgroups_shown = mount(NULL, CGROUPS, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | VIEW_FLAGS, NULL) == 0;
    if (!are_cgroups_shown)
        unmount_scratch();
}

/*
 * gVisor mounts the root over an empty directory of its own. A process of user 0 gets there with chroot(2) and "..", through a
 * descriptor that it opened before. The directory is read-only, but gVisor lets its owner change mode, times and attributes all the same,
 * and the changes of a warm-up would remain for the run. So PID 1 gives the directory to the reserved id before a warm-up of user 0.
 * Outside of gVisor the path leads to a directory of another owner, which contains at least this root: PID 1 leaves a directory alone
 * that is not empty or not readable. Returns 0, or -1 with errno. Changes the working directory to /.
 */
static int close_lower_root(void)
{
    struct stat upper, lower;
    int result = -1;
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || fstat(root, &upper) != 0 || chroot(TMPFS_ROOT) != 0)
        fault("leave", "the root", errno);
    if (fchdir(root) == 0 && chdir("..") == 0 && stat(".", &lower) == 0) {
        if (lower.st_dev == upper.st_dev && lower.st_ino == upper.st_ino)
            result = 0;
        else if (is_used(".") || access(".", R_OK) != 0)
            errno = ENOTEMPTY;
        else
            result = chown(".", RESERVED_ID, RESERVED_ID) == 0 && chmod(".", 0555) == 0 ? 0 : -1;
    }
    int error = errno;
    if (fchdir(root) != 0 || chroot(".") != 0)
        fault("return to", "the root", errno);
    close(root);
    errno = error;
    return result;
}

/* Mounts the files and cgroups again, with open descriptors for the next run's limits. */
static void renew_views(void)
{
    for (int i = 0; i < SHOWN_FILES; i++) {
        if (shown_files[i].is_shown)
            unmount(shown_files[i].target, MNT_DETACH);
        shown_files[i].is_shown = 0;
    }
    if (are_processors_shown)
        unmount(SYSTEM_PROCESSORS, MNT_DETACH);
    if (are_cgroups_shown)
        unmount_scratch();
    are_processors_shown = 0;
    are_cgroups_shown = 0;
    show_files();
    show_cgroups();
}

/*
 * The sandbox's kernel keeps the last 1000 files of /proc that were opened, with all that it knew of their processes: 170 MB once hundreds of
 * processes were looked up and ended. The option bounds them. A kernel without it has its own bound. Returns 0, or -1 with errno.
 */
static int mount_processes(void)
{
    int result = mount("proc", "/proc", "proc", VIEW_FLAGS, "dentry_cache_limit=64");
    return result == 0 || errno != EINVAL ? result : mount("proc", "/proc", "proc", VIEW_FLAGS, NULL);
}

/*
 * A warm-up has a /proc and a /dev of its own, because user 0 can create files in /dev and change modes in both. /proc/sys is read-only:
 * its settings belong to the sandbox's kernel, whichever mount they are changed through. A warm-up has no cgroup files and no terminals:
 * modes changed there would remain for the run. PID 1's files cover those of the new /proc too.
 */
static void mount_for_warm_up(void)
{
    if (mount_processes() != 0)
        fault("mount", "/proc", errno);
    if (bind_read_only("/proc/sys", "/proc/sys") != 0)
        fault("mount", "/proc/sys", errno);
    if (are_cgroups_shown)
        unmount_scratch();
    are_cgroups_shown = 0;
    if (mount_scratch() == 0) {
        for (int i = 0; i < SHOWN_FILES; i++) {
            close_fd(&shown_files[i].fd);
            if (shown_files[i].is_shown)
                show_file(&shown_files[i]);
        }
        unmount_scratch();
    }
    if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL) != 0)
        fault("mount", "/dev", errno);
}

static void unmount_after_warm_up(void)
{
    unmount("/dev", MNT_DETACH);
    unmount("/proc", MNT_DETACH);
}

/* gVisor lets every process change these values of every other process, and a command inherits them from PID 1. */
static void restore_scheduling(void)
{
    if (setpriority(PRIO_PROCESS, 0, 0) != 0)
        fault("restore", "the priority", errno);
    if (syscall(SYS_sched_setaffinity, 0, sizeof own_processors, &own_processors) != 0)
        fault("restore", "the processors", errno);
    prctl(PR_SET_NAME, "init", 0, 0, 0);
}

static void write_view(int fd, const char *text, size_t length)
{
    if (fd >= 0 && write_all(fd, (const uint8_t *)text, length) != 0)
        fault("write", "a limit", errno);
}

static void show_memory(void)
{
    static const char *const zeros[] = {
        "Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)",
        "Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "SReclaimable",
    };
    static const char *const totals[] = { "MemTotal", "MemFree", "MemAvailable" };
    char text[MAX_MEMINFO];
    int length = 0;
    for (size_t i = 0; i < sizeof totals / sizeof totals[0]; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s:%*llu kB\n", totals[i], 23 - (int)strlen(totals[i]),
            (unsigned long long)plan->memory_bytes / 1024);
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s:%*d kB\n", zeros[i], 23 - (int)strlen(zeros[i]), 0);
    write_view(shown_files[MEMINFO].fd, text, (size_t)length);
    write_view(memory_limit_fd, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)plan->memory_bytes));
}

/* Returns the number of processors that the command sees. */
static long count_processors(void)
{
    long wanted = ((long)plan->cpu_quota + CPU_PERIOD - 1) / CPU_PERIOD;
    return wanted < own_processor_count ? wanted : own_processor_count;
}

/* Children that PID 1 makes afterwards inherit the affinity. */
static void narrow_affinity(void)
{
    long count = count_processors();
    memset(&narrow_processors, 0, sizeof narrow_processors);
    for (long number = 0; number < MAX_PROCESSORS && count > 0; number++) {
        uint8_t bit = own_processors.bits[number / 8] & (uint8_t)(1 << number % 8);
        narrow_processors.bits[number / 8] |= bit;
        count -= bit != 0;
    }
    if (syscall(SYS_sched_setaffinity, 0, sizeof narrow_processors, &narrow_processors) != 0)
        fault("set", "the processors", errno);
}

void reset_scheduling(void)
{
    setpriority(PRIO_PROCESS, 0, 0);
    syscall(SYS_sched_setaffinity, 0, sizeof narrow_processors, &narrow_processors);
}

static int starts_with(const char *text, const char *end, const char *start)
{
    size_t length = strlen(start);
    return (size_t)(end - text) >= length && memcmp(text, start, length) == 0;
}

/* Writes the first paragraphs, one for each processor, with their numbers of processors changed. */
static void write_cpuinfo(long count)
{
    const char *at = cpuinfo.bytes;
    const char *const last = cpuinfo.bytes + cpuinfo.length;
    char *text = malloc(cpuinfo.length + 1 + 64 * (size_t)count);
    if (text == NULL)
        fault("malloc", NULL, errno);
    char *to = text;
    for (long left = count; at < last && left > 0;) {
        const char *line_end = memchr(at, '\n', (size_t)(last - at));
        const char *next = line_end != NULL ? line_end + 1 : last;
        const char *colon = memchr(at, ':', (size_t)(next - at));
        if (colon != NULL && (starts_with(at, next, "siblings") || starts_with(at, next, "cpu cores"))) {
            to = mempcpy(to, at, (size_t)(colon + 1 - at));
            to += sprintf(to, " %ld\n", count);
        } else {
            to = mempcpy(to, at, (size_t)(next - at));
        }
        left -= *at == '\n';
        at = next;
    }
    write_view(shown_files[CPUINFO].fd, text, (size_t)(to - text));
    free(text);
}

/* Writes the line of the sum, the lines of the first processors, and the lines that follow those of all processors. */
static void write_statistics(long count)
{
    size_t head = 0;
    size_t tail = 0;
    for (long lines = 0; cpu_statistics.length - tail > 3 && memcmp(cpu_statistics.bytes + tail, "cpu", 3) == 0; lines++) {
        const char *line_end = memchr(cpu_statistics.bytes + tail, '\n', cpu_statistics.length - tail);
        tail = line_end != NULL ? (size_t)(line_end + 1 - cpu_statistics.bytes) : cpu_statistics.length;
        if (lines <= count)
            head = tail;
    }
    write_view(shown_files[STATISTICS].fd, cpu_statistics.bytes, head);
    write_view(shown_files[STATISTICS].fd, cpu_statistics.bytes + tail, cpu_statistics.length - tail);
}

static void list_processors(long count)
{
    char text[64];
    int length = count == 1 ? snprintf(text, sizeof text, "0\n") : snprintf(text, sizeof text, "0-%ld\n", count - 1);
    write_view(processor_list_fd, text, (size_t)length);
    write_view(cpuset_fd, text, (size_t)length - 1);
    for (long number = 0; number < count && processor_list_fd >= 0; number++) {
        snprintf(text, sizeof text, "cpu%ld", number);
        if (mkdirat(processor_directory_fd, text, 0555) != 0)
            fault("make", text, errno);
    }
}

static void show_limits(void)
{
    char text[32];
    long count = count_processors();
    show_memory();
    write_view(cpu_quota_fd, text, (size_t)snprintf(text, sizeof text, "%u", plan->cpu_quota));
    write_cpuinfo(count);
    write_statistics(count);
    list_processors(count);
    for (int i = 0; i < SHOWN_FILES; i++)
        close_fd(&shown_files[i].fd);
    close_fd(&processor_list_fd);
    close_fd(&processor_directory_fd);
    close_fd(&memory_limit_fd);
    close_fd(&cpu_quota_fd);
    close_fd(&cpuset_fd);
}

/* ---- input files ---- */

static void file_failed(int error)
{
    send_payload_end(FILE_FAILED, put_text(put32(buffer + HEADER_SIZE, (uint32_t)error), file_path, strlen(file_path)));
    close_fd(&file_fd);
    kill_all();
    state = OVER;
}

static void file_begin(const uint8_t *payload, size_t length)
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

static void file_data(const uint8_t *payload, size_t length)
{
    if (file_fd < 0)
        malformed("FILE_DATA");
    if (write_all(file_fd, payload, length) != 0)
        file_failed(errno);
}

static void file_end(size_t length)
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

static void take_tree(uint32_t type, const uint8_t *payload, size_t length)
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

/* ---- the child, until it executes the command ---- */

int report_socket = -1;

_Noreturn void child_fail(enum stage stage)
{
    plan->failed_errno = (uint32_t)errno;
    plan->failed_stage = (uint32_t)stage;
    if (report_socket >= 0) {
        uint8_t failure[8];
        put32(put32(failure, plan->failed_stage), plan->failed_errno);
        send(report_socket, failure, sizeof failure, MSG_NOSIGNAL);
    }
    _exit(127);
}

static int set_capabilities(uint32_t low, uint32_t high)
{
    struct capability_header header = { CAPABILITY_VERSION_3, 0 };
    struct capability_data data[2] = { { low, low, 0 }, { high, high, 0 } };
    return (int)syscall(SYS_capset, &header, data);
}

static int drop_from_bounding_set(uint64_t dropped)
{
    /* EINVAL: past the last capability that this kernel knows. */
    for (unsigned int capability = 0; capability < 64; capability++) {
        if ((dropped >> capability & 1) == 0)
            continue;
        if (prctl(PR_CAPBSET_DROP, (unsigned long)capability, 0, 0, 0) != 0)
            return errno == EINVAL && capability > 0 ? 0 : -1;
    }
    return 0;
}

/*
 * Enters a user namespace with the ids below MAPPED_IDS, the same inside as outside. It does not have the reserved id, so no capability in
 * it reaches PID 1 or its files. PID 1 writes the maps, because that needs a capability outside.
 */
static int enter_user_namespace(int socket)
{
    uint8_t answer[8] = { 0 };
    if (unshare(CLONE_NEWUSER) != 0)
        return -1;
    if (send(socket, "", 1, MSG_NOSIGNAL) != 1 || recv(socket, answer, 4, MSG_WAITALL) != 4)
        return -1;
    errno = (int)get32(answer);
    return errno == 0 ? 0 : -1;
}

/*
 * Installs a filter that rejects calls with which a command could exceed its limits under gVisor.
 * New user namespaces: a process has every capability in its own, and gVisor accepts those for RLIMIT_NPROC and for mounts: 300
 * processes of 64, and a tmpfs without a size. clone3 has its flags in memory, which a filter cannot read; every libc falls back to clone.
 * CLONE_PARENT: the new process would be a child of PID 1, with an exit signal that the guest chooses.
 * F_SETSIG: user 0 could have any signal sent to any process when a descriptor becomes ready, also SIGKILL to PID 1. SIGIO, which is
 * sent without F_SETSIG, is blocked in PID 1.
 */
static int install_command_filter(void)
{
    enum { CLONE3 = 435, SET_SIGNAL = 10 };
    struct bpf_instruction filter[] = {
        { BPF_LOAD_WORD, 0, 0, CALL_ARCHITECTURE },
        { BPF_JUMP_EQUAL, 0, 10, AUDIT_ARCHITECTURE },
        { BPF_LOAD_WORD, 0, 0, CALL_NUMBER },
        { BPF_JUMP_EQUAL, 3, 0, SYS_clone },
        { BPF_JUMP_EQUAL, 2, 0, SYS_unshare },
        { BPF_JUMP_EQUAL, 6, 0, CLONE3 },
        { BPF_JUMP_EQUAL, 2, 4, SYS_fcntl },
        { BPF_LOAD_WORD, 0, 0, CALL_FIRST_ARGUMENT },
        { BPF_JUMP_SET, 4, 2, CLONE_NEWUSER | CLONE_PARENT },
        { BPF_LOAD_WORD, 0, 0, CALL_SECOND_ARGUMENT },
        { BPF_JUMP_EQUAL, 2, 0, SET_SIGNAL },
        { BPF_RETURN, 0, 0, SECCOMP_ALLOW },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | ENOSYS },
        { BPF_RETURN, 0, 0, SECCOMP_ERRNO | EPERM },
    };
    struct bpf_program program = { sizeof filter / sizeof filter[0], filter };
    return install_filter(&program);
}

/* Returns the value of PATH in the command's environment, or a default. */
static const char *search_path(void)
{
    for (char **variable = plan->envp; *variable != NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0)
            return *variable + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Executes the command like execvpe(3), without its fallback to a shell. Returns only on failure, with errno. */
void execute(void)
{
    const char *name = plan->argv[0];
    if (strchr(name, '/') != NULL) {
        execve(name, plan->argv, plan->envp);
        return;
    }

    int denied = 0;
    errno = ENOENT;
    for (const char *path = search_path();; path++) {
        char full[MAX_PATH + 1];
        size_t length = strcspn(path, ":");
        int needed = snprintf(full, sizeof full, "%.*s%s%s", (int)(length > MAX_PATH ? MAX_PATH : length), path, length > 0 ? "/" : "", name);
        if (length <= MAX_PATH && needed < (int)sizeof full) {
            execve(full, plan->argv, plan->envp);
            if (errno == EACCES)
                denied = 1;
            else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP)
                return;
        }
        path += length;
        if (*path == '\0')
            break;
    }
    errno = denied ? EACCES : ENOENT;
}

/* Makes /dev/null the standard streams. */
static int open_null(void)
{
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0)
        return -1;
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup2(fd, stream) < 0)
            return -1;
    if (fd >= STREAMS)
        close(fd);
    return 0;
}

/* Makes the descriptors of START the standard streams; a warm-up has /dev/null. */
static int open_streams(void)
{
    if (plan->is_warm_up)
        return open_null();
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup2(stream == STDERR_FILENO && plan->merges_output ? STDOUT_FILENO : standard[stream], stream) < 0)
            return -1;
    return 0;
}

/*
 * Changes ids and capabilities by system calls: libc's functions also change every thread that libc knows of, and a child in PID 1's
 * memory shares that list. socket is as for become_command().
 */
static void change_identity(int socket)
{
    if (socket >= 0) {
        if (enter_user_namespace(socket) != 0)
            child_fail(STAGE_USER_NAMESPACE);
        /* A new user namespace begins with a full bounding set (user_namespaces(7)). */
        if (drop_from_bounding_set(~plan->capabilities) != 0)
            child_fail(STAGE_BOUNDING);
    }
    if (syscall(SYS_setgroups, (size_t)plan->group_count, plan->groups) != 0)
        child_fail(STAGE_GROUPS);
    if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) != 0)
        child_fail(STAGE_GID);
    if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) != 0)
        child_fail(STAGE_UID);
    if (set_capabilities((uint32_t)plan->capabilities, (uint32_t)(plan->capabilities >> 32)) != 0)
        child_fail(STAGE_CAPABILITIES);
}

void become_user(int socket)
{
    for (uint32_t i = 0; i < plan->limit_count; i++)
        if (setrlimit((int)plan->limits[i].resource, &plan->limits[i].value) != 0)
            child_fail(STAGE_LIMITS);
    change_identity(socket);
    if (install_command_filter() != 0)
        child_fail(STAGE_SECCOMP);
    if (setsid() < 0)
        child_fail(STAGE_SESSION);
    umask(022);
}

/*
 * socket connects to PID 1 if the child makes a user namespace, for a command of user 0. Otherwise it is -1, and the child runs in
 * PID 1's memory.
 */
_Noreturn static void become_command(int socket)
{
    /*
     * System V memory, semaphores and queues outlive their processes, but not their namespace; so do ports that connections used.
     * The host does not learn the failed stage of a warm-up.
     */
    if (plan->is_warm_up && unshare(CLONE_NEWIPC | CLONE_NEWNET) != 0)
        child_fail(STAGE_USER_NAMESPACE);
    become_user(socket);
    if (chdir(plan->cwd) != 0)
        child_fail(STAGE_CWD);
    if (open_streams() != 0 || (plan->columns > 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0))
        child_fail(STAGE_STREAMS);
    /* PID 1 ignores no signal, and an exec resets its handler of SIGCHLD. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute();
    child_fail(STAGE_EXEC);
}

/* ---- PID 1's child ---- */

/* Takes the reserved id. Keeps the capabilities, but none that a child could inherit. */
static void become_reserved(void)
{
    struct capability_header header = { CAPABILITY_VERSION_3, 0 };
    struct capability_data data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        fault("capget", NULL, errno);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
        fault("keepcaps", NULL, errno);
    if (setgroups(0, NULL) != 0 || setresgid(RESERVED_ID, RESERVED_ID, RESERVED_ID) != 0
        || setresuid(RESERVED_ID, RESERVED_ID, RESERVED_ID) != 0)
        fault("reserved uid", NULL, errno);
    if (set_capabilities(data[0].permitted, data[1].permitted) != 0)
        fault("capset", NULL, errno);
    /*
     * setresuid(2) makes the process not dumpable, and then root, which the command may be, owns the files in /proc/1. Dumpable, they
     * belong to the reserved id. Tracing PID 1 still needs that id, or a capability that no command has.
     */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int spawned(void *unused)
{
    (void)unused;
    become_command(-1);
}

/*
 * Creates the child in PID 1's own memory; PID 1 waits for its exec (vfork(2)). With systrap a fork costs some 8 ms more: pages are copied,
 * and a new address space is a process of the host.
 */
static void spawn_child(void)
{
    static uint8_t stack[128 << 10] __attribute__((aligned(16)));
    child = clone(spawned, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    if (child < 0)
        fault("clone", NULL, errno);
    /* The child made the shared memory not dumpable when it changed its ids. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/*
 * Creates a child that waits for GO, for a command of user 0: PID 1 writes the maps of the child's user namespace. The child is created as
 * user 0, so that RLIMIT_NPROC counts it for that user.
 */
static void fork_child(void)
{
    int pair[2];
    /* Sockets: the guest could open a pipe of PID 1 through /proc/1/fd. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fault("socketpair", NULL, errno);
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        fault("user 0", NULL, errno);
    child = fork();
    if (child < 0)
        fault("fork", NULL, errno);
    if (child == 0) {
        uint8_t go;
        close(CONTROL);
        close(pair[0]);
        if (RETRY(read(pair[1], &go, 1)) != 1)
            _exit(127);
        become_command(pair[1]);
    }
    close(pair[1]);
    child_socket = pair[0];
    become_reserved();
}

static void release_child(void)
{
    uint8_t go = 1;
    if (send(child_socket, &go, 1, MSG_NOSIGNAL) != 1)
        fault("go", NULL, errno);
}

/* Closes PID 1's copies: the host must see the end of the streams when the command's processes have ended. */
static void close_standard_streams(void)
{
    for (int stream = 0; stream < STREAMS; stream++)
        close_fd(&standard[stream]);
}

/*
 * Makes the command's user the owner of its streams, so that it can open them by name (/dev/stdout, /proc/self/fd/1). gVisor keeps a
 * separate owner for each. If gVisor refuses, their modes decide.
 */
static void chown_standard_streams(void)
{
    for (int stream = 0; stream < STREAMS; stream++)
        fchown(standard[stream], plan->uid, (gid_t)-1);
}

/* Returns the working directory's path in the workspace, or NULL if it is not below the workspace. */
static const char *cwd_in_workspace(void)
{
    size_t length = plan->workspace == NULL ? 0 : strlen(plan->workspace);
    return length > 0 && strncmp(plan->cwd, plan->workspace, length) == 0 && plan->cwd[length] == '/' ? plan->cwd + length + 1 : NULL;
}

/*
 * Makes the working directory in the workspace, for the command's user. Existing entries stay as they are. A link on the way ends the
 * attempt; the command may follow it.
 */
static void make_cwd_in_workspace(void)
{
    const char *path = cwd_in_workspace();
    char prefix[MAX_PATH + 1];
    for (const char *slash = path; slash != NULL;) {
        slash = strchr(slash, '/');
        size_t length = slash == NULL ? strlen(path) : (size_t)(slash++ - path);
        memcpy(prefix, path, length);
        prefix[length] = '\0';
        const char *name = enter_tree(&workspace, prefix);
        if (name == NULL)
            return;
        if (mkdirat(workspace.fd, name, 0755) == 0 ? fchownat(workspace.fd, name, plan->uid, plan->gid, AT_SYMLINK_NOFOLLOW) != 0 : errno != EEXIST)
            return;
    }
}

/*
 * Makes the working directory, if it is not in the workspace: there it is made after the workspace's entries. If it cannot be made, the
 * command's chdir fails and reports the reason.
 */
static void make_cwd(void)
{
    if (plan->cwd[1] == '\0' || cwd_in_workspace() != NULL)
        return;
    is_cwd_made = access(plan->cwd, F_OK) != 0;
    make_directories(plan->cwd, plan->uid, plan->gid, 0);
}

static void open_output(void)
{
    if (plan->output[0] != '\0' && (output_fd = open(plan->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fault("open", plan->output, errno);
}

static void prepare(size_t length)
{
    parse_plan(length);
    plan->failed_stage = 0;
    int are_wanted = are_mounts_wanted();
    /* With other mounts the files' paths may lead elsewhere. An open file also keeps its mount from being unmounted. */
    if (!are_wanted)
        forget_empty_files();
    narrow_affinity();
    if (plan->columns > 0)
        open_run_terminal();
    /* A session has no command yet, and a child would keep the descriptors of this moment, which user 0 can open. */
    if (plan->uid == 0 && !plan->is_session)
        fork_child();
    if (plan->hostname[0] != '\0' && sethostname(plan->hostname, strlen(plan->hostname)) != 0)
        fault("hostname", NULL, errno);
    show_limits();
    if (!are_wanted) {
        unmount_directories();
        mount_directories();
    }
    for (uint32_t i = 0; i < plan->text_count; i++)
        write_text(&plan->texts[i]);
    forget_empty_files();
    make_cwd();
    open_output();
}

/* ---- outputs and changes of the workspace ---- */

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
static void remember_workspace(void)
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

static void send_outputs(int fd, uint64_t bytes, uint64_t entries, int only_changes)
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

/* ---- the run ---- */

uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Number of the command's processes and threads when KILL arrived; 0 if it did not arrive. */
static uint32_t tasks_at_kill;

/* The number is the only sign of a command that waits for a thread which it could not create. */
static uint32_t count_tasks(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 && info.procs > 1 ? info.procs - 1u : 0;
}

uint8_t *put_status(uint8_t *to, int status)
{
    int signaled = WIFSIGNALED(status);
    return put32(put32(to, (uint32_t)signaled), (uint32_t)(signaled ? WTERMSIG(status) : WEXITSTATUS(status)));
}

/* Returns 1 if the one tmpfs has no free block. Every mounted directory of the plan is part of it. */
static uint32_t is_tmpfs_full(void)
{
    struct statvfs info;
    for (uint32_t i = 0; i < mount_count; i++)
        if (mounts[i].is_mounted)
            return statvfs(mounts[i].tmpfs.path, &info) == 0 && info.f_bavail == 0;
    return 0;
}

static void report_end(void)
{
    kill_all();
    finish_terminal();

    struct rusage usage = { 0 };
    getrusage(RUSAGE_CHILDREN, &usage);
    uint8_t *at = put_status(buffer + HEADER_SIZE, child_status);
    at = put64(at, microseconds(usage.ru_utime) - microseconds(warm_up_usage.ru_utime));
    at = put64(at, microseconds(usage.ru_stime) - microseconds(warm_up_usage.ru_stime));
    at = put64(at, (uint64_t)max_resident * 1024);
    send_payload_end(ENDED, put32(put32(at, is_tmpfs_full()), tasks_at_kill));
    state = OVER;
    if (output_fd >= 0)
        send_outputs(output_fd, plan->output_bytes, plan->output_entries, 0);
    if (workspace.root >= 0 && plan->change_entries > 0)
        send_outputs(workspace.root, plan->change_bytes, plan->change_entries, 1);
}

static int write_map(int table, pid_t pid, const char *name)
{
    char path[64];
    char map[64];
    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    int length = snprintf(map, sizeof map, "0 0 %d\n", MAPPED_IDS);
    int fd = openat(table, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, map, (size_t)length);
    close_keeping_errno(fd);
    return written == length ? 0 : -1;
}

void map_ids(int table, pid_t pid, int socket)
{
    uint8_t answer[4];
    int error = write_map(table, pid, "uid_map") != 0 || write_map(table, pid, "gid_map") != 0 ? errno : 0;
    put32(answer, (uint32_t)error);
    send(socket, answer, sizeof answer, MSG_NOSIGNAL);
}

/* The child has executed the command, or has failed to. */
static void report_start(void)
{
    if (state == WARMING_UP) {
        warm_up_errno = plan->failed_stage != 0 ? plan->failed_errno : 0;
    } else if (plan->failed_stage != 0) {
        put32(put32(buffer + HEADER_SIZE, plan->failed_stage), plan->failed_errno);
        kill_all();
        send_buffer(NOT_STARTED, 8);
        state = OVER;
    } else {
        send_buffer(STARTED, 0);
        state = RUNNING;
    }
}

/* Reads from a forked child. Its exec or its end closes its side of the socket. */
static void read_child(void)
{
    uint8_t asks;
    ssize_t got = RETRY(recv(child_socket, &asks, 1, MSG_DONTWAIT));
    if (got < 0 && errno == EAGAIN)
        return;
    if (got == 1) {
        int table = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        map_ids(table, child, child_socket);
        close_fd(&table);
        return;
    }
    close_fd(&child_socket);
    report_start();
}

/* Releases the waiting child of user 0. For other users it starts the command, and reports the result before it returns. */
static void start_command(void)
{
    if (child_socket >= 0) {
        release_child();
        return;
    }
    spawn_child();
    report_start();
}

static void take_signal(const uint8_t *payload, size_t length)
{
    uint32_t number = length == 4 ? get32(payload) : 0;
    if (number < 1 || number > 64)
        malformed("SIGNAL");
    if (state == RUNNING && !child_ended)
        kill(-child, (int)number);
}

static void take_kill(size_t length)
{
    if (length != 0)
        malformed("KILL");
    if (state < EXECUTING || state == SERVING)
        leave(0);
    if (state != OVER) {
        tasks_at_kill = state == RUNNING ? count_tasks() : 0;
        kill(-1, SIGKILL);
    }
}

/*
 * Takes the descriptors that came with START. gVisor leaves out a descriptor that it does not support, and those after it, without a
 * sign, so their number is checked. A runtime that supports none passes them at boot instead.
 */
static void take_standard_streams(void)
{
    struct descriptors streams = take_descriptors();
    if (streams.count == 0 && standard[0] >= 0)
        return;
    if (streams.count != STREAMS)
        fault("take", "the standard streams", EBADF);
    memcpy(standard, streams.fds, sizeof standard);
}

static void begin_run(size_t length)
{
    take_standard_streams();
    prepare(length);
    chown_standard_streams();
    if (state != OVER)
        state = WAITING_FOR_GO;
}

/* Prepares a session. Its commands come after GO. */
static void begin_opening(size_t length)
{
    plan->is_session = 1;
    close_standard_streams();
    prepare(length);
    if (state != OVER)
        state = WAITING_FOR_GO;
}

/* Returns a descriptor of a directory of the tmpfs, or -1. Its path may lead elsewhere once the guest runs. */
static int open_tmpfs(void)
{
    for (uint32_t i = 0; i < mount_count; i++)
        if (mounts[i].is_mounted)
            return open(mounts[i].tmpfs.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return -1;
}

static void end_opening(void)
{
    make_cwd_in_workspace();
    close_fd(&workspace.fd);
    close_fd(&workspace.root);
    open_session(open_tmpfs());
}

static void begin_warm_up(size_t length)
{
    plan->is_warm_up = 1;
    forget_empty_files();
    unmount_directories();
    mount_for_warm_up();
    prepare(length);
    if (plan->uid == 0 && close_lower_root() != 0)
        fault("close", "the root below", errno);
    state = WARMING_UP;
    start_command();
}

static void begin_command(void)
{
    make_cwd_in_workspace();
    close_fd(&workspace.fd);
    if (plan->change_entries > 0)
        remember_workspace();
    state = EXECUTING;
    start_command();
    close_standard_streams();
}

/* Reports how many descriptors came with the frame. */
static void probe(size_t length)
{
    if (length != 0)
        malformed("PROBE");
    struct descriptors sent = take_descriptors();
    send_payload_end(PROBED, put32(buffer + HEADER_SIZE, sent.count));
    for (uint32_t i = 0; i < sent.count; i++)
        close(sent.fds[i]);
}

static void handle_input(uint32_t type, const uint8_t *payload, size_t length)
{
    if (type == FILE_BEGIN)
        file_begin(payload, length);
    else if (type == FILE_DATA)
        file_data(payload, length);
    else if (type == FILE_END)
        file_end(length);
    else if (type >= TREE_DIRECTORY && type <= TREE_COPY)
        take_tree(type, payload, length);
    else if (type == GO && length == 0 && file_fd < 0 && plan->is_session)
        end_opening();
    else if (type == GO && length == 0 && file_fd < 0)
        begin_command();
    else
        malformed("order of frames");
}

static void handle_frame(uint32_t type, const uint8_t *payload, size_t length)
{
    if (type == KILL)
        take_kill(length);
    else if (state == SERVING)
        handle_session_frame(type, payload, length);
    else if (type == SIGNAL && !plan->is_session)
        take_signal(payload, length);
    else if (state == OVER)
        return; /* The host may still be sending when a file fails. */
    else if (state == WAITING_FOR_START && type == START)
        begin_run(length);
    else if (state == WAITING_FOR_START && type == PROBE)
        probe(length);
    else if (state == WAITING_FOR_START && type == WARM_UP)
        begin_warm_up(length);
    else if (state == WAITING_FOR_START && type == OPEN)
        begin_opening(length);
    else if (state == WAITING_FOR_GO)
        handle_input(type, payload, length);
    else
        malformed("order of frames");
}

/* Returns 1 for a frame that is received into the plan. */
static int is_plan(uint32_t type)
{
    return type == START || type == WARM_UP || type == OPEN || type == EXEC;
}

/* Checks a header. Returns the length of the payload. */
static size_t check_header(const uint8_t *header, uint32_t *type)
{
    size_t length = get32(header);
    *type = (uint32_t)(header[4] | header[5] << 8);
    if ((header[6] | header[7] << 8) != (is_plan(*type) && *type != EXEC ? PLAN_VERSION : FRAME_VERSION))
        malformed("version");
    /* The child reads the plan, so nothing may change it after START. A session's plan is not shared with its children. */
    if (is_plan(*type) ? state != (*type == EXEC ? SERVING : WAITING_FOR_START) || length > MAX_START : length > MAX_PAYLOAD)
        malformed("length");
    return length;
}

/* ---- receiving ---- */

/* Position in the socket's stream: number of bytes that were received, and the frame that is being handled. */
static uint64_t received;
static uint64_t frame_begin;
static uint64_t frame_end;

/*
 * Descriptors that no frame has taken yet. There are at most two: those of an incomplete frame, and those of a frame that begins in the
 * message that completes it.
 */
static struct descriptors waiting[2];
static uint32_t waiting_count;

/* Keeps the descriptors of a message of the given length. */
static void keep_descriptors(const struct cmsghdr *header, size_t length)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || waiting_count == 2 || count > STREAMS)
        malformed("descriptors");
    struct descriptors *kept = &waiting[waiting_count++];
    *kept = (struct descriptors){ .begin = received, .end = received + length, .count = (uint32_t)count };
    memcpy(kept->fds, CMSG_DATA(header), count * sizeof(int));
}

/*
 * A receive ends with the message that has descriptors (unix(7)), and the message has bytes of their frame only: so they belong to the last
 * frame that begins in the received part. A frame whose descriptors got lost in gVisor must not take those of the next one.
 */
struct descriptors take_descriptors(void)
{
    struct descriptors taken = waiting[0];
    if (waiting_count == 0 || frame_begin < taken.begin || frame_begin >= taken.end || frame_end < taken.end)
        return (struct descriptors){ .count = 0 };
    waiting[0] = waiting[1];
    waiting_count--;
    return taken;
}

/* Handles a frame that is complete. Descriptors come only with a frame that takes them. */
static void handle_received(uint32_t type, const uint8_t *payload, size_t length)
{
    handle_frame(type, payload, length);
    if (waiting_count > 0 && waiting[0].end <= frame_end)
        malformed("descriptors");
}

/*
 * Receives available bytes and never waits. Returns their number, 0 if there are none. Exits at the end of the socket. A receive does not
 * go beyond a message with descriptors (unix(7)).
 */
static size_t receive(uint8_t *to, size_t capacity)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(STREAMS * sizeof(int))];
    } control;
    struct iovec content = { to, capacity };
    struct msghdr message = { .msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t got = RETRY(recvmsg(CONTROL, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        leave(0);
    if ((message.msg_flags & MSG_CTRUNC) != 0)
        malformed("descriptors");
    if (CMSG_FIRSTHDR(&message) != NULL)
        keep_descriptors(CMSG_FIRSTHDR(&message), (size_t)got);
    received += (uint64_t)got;
    return (size_t)got;
}

/* The plan that is being received. Its payload goes directly to the plan's memory. */
static uint32_t plan_type;
static size_t plan_got;
static size_t plan_length;

static void receive_plan(void)
{
    plan_got += receive(plan->payload + plan_got, plan_length - plan_got);
    if (plan_got == plan_length)
        handle_received(plan_type, NULL, plan_length);
}

/* Copies the first bytes of a plan's payload. Returns their number. */
static size_t begin_plan(uint32_t type, size_t length, const uint8_t *payload, size_t available)
{
    plan_type = type;
    plan_length = length;
    plan_got = available < length ? available : length;
    memcpy(plan->payload, payload, plan_got);
    return plan_got;
}

static uint8_t incoming[HEADER_SIZE + MAX_PAYLOAD];
static size_t incoming_length;

/* Receives frames and handles each that is complete. */
static void receive_frames(void)
{
    incoming_length += receive(incoming + incoming_length, sizeof incoming - incoming_length);
    size_t used = 0;
    while (incoming_length - used >= HEADER_SIZE) {
        uint32_t type;
        size_t length = check_header(incoming + used, &type);
        size_t available = incoming_length - used - HEADER_SIZE;
        const uint8_t *payload = incoming + used + HEADER_SIZE;
        frame_begin = received - incoming_length + used;
        frame_end = frame_begin + HEADER_SIZE + length;
        if (is_plan(type)) {
            used += HEADER_SIZE + begin_plan(type, length, payload, available);
            if (plan_got < plan_length)
                break;
        } else {
            if (available < length)
                break;
            used += HEADER_SIZE + length;
        }
        handle_received(type, payload, length);
    }
    incoming_length -= used;
    memmove(incoming, incoming + used, incoming_length);
    /* Environments and typed input are forgotten once they were handled. */
    if (state == SERVING)
        explicit_bzero(incoming + incoming_length, used);
}

void forget_frames(void)
{
    explicit_bzero(incoming, sizeof incoming);
    explicit_bzero(buffer, sizeof buffer);
}

void read_control(void)
{
    if (plan_got < plan_length)
        receive_plan();
    else
        receive_frames();
}

static volatile sig_atomic_t child_signaled;

static void on_child_signal(int signal_number)
{
    (void)signal_number;
    child_signaled = 1;
}

/* Signals are blocked except in ppoll, so none arrives here. */
static void reap(void)
{
    pid_t pid = child_signaled;
    for (int i = 0; i < MAX_REAPED && pid > 0; i++)
        pid = reap_one();
    child_signaled = pid > 0;
}

/* Restores the state before the warm-up, except for files written to the root and the caches of the sandbox's kernel. */
static void finish_warm_up(void)
{
    kill_all();
    while (child_socket >= 0)
        read_child();
    uint8_t *at = buffer + HEADER_SIZE;
    at = warm_up_errno != 0 ? put32(put32(at, WARM_UP_NOT_STARTED), warm_up_errno) : put_status(at, child_status);
    send_payload_end(WARMED_UP, at);
    getrusage(RUSAGE_CHILDREN, &warm_up_usage);
    max_resident = 0;

    close_fd(&output_fd);
    unmount_directories();
    unmount_after_warm_up();
    /* The directory belongs to the warm-up's user. A directory with entries remains. */
    if (is_cwd_made)
        rmdir(plan->cwd);
    renew_views();
    restore_scheduling();
    make_ahead();
    plan->is_warm_up = 0;
    child_ended = 0;
    state = WAITING_FOR_START;
}

/*
 * Removes every path of the program that PID 1 executes. gVisor permits writing to a running program, and its overlay then moves the text
 * of the process to the written file: a guest that can write the file could change PID 1.
 */
static void hide_program(void)
{
    char path[MAX_PATH + 1];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        fault("readlink", "/proc/self/exe", errno);
    path[length] = '\0';
    /* EINVAL: the program is a file of the root, not a mount. */
    if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL)
        fault("unmount", path, errno);
    if (unlink(path) != 0)
        fault("unlink", path, errno);
}

static void read_processors(void)
{
    if (syscall(SYS_sched_getaffinity, 0, sizeof own_processors, &own_processors) < 0)
        fault("read", "the processors", errno);
    for (long number = 0; number < MAX_PROCESSORS; number++)
        own_processor_count += own_processors.bits[number / 8] >> number % 8 & 1;
    read_text(&cpuinfo, "/proc/cpuinfo");
    read_text(&cpu_statistics, "/proc/stat");
}

/* Drops the privileges that no command has, once: commands inherit the result. */
static void drop_privileges(void)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (drop_from_bounding_set(~0ull) != 0)
        fault("bounding set", NULL, errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fault("no_new_privs", NULL, errno);
    become_reserved();
}

/*
 * Moves the control socket away from descriptor 0. A socket without a peer takes the place of the standard streams, so that no file gets
 * their numbers: the guest cannot open a socket through /proc/1/fd.
 */
static void place_descriptors(void)
{
    int pair[2];
    if (dup3(STDIN_FILENO, CONTROL, O_CLOEXEC) < 0)
        _exit(LAUNCH_FAILED);
    close_from(CONTROL + 1);
    for (int stream = 0; stream < STREAMS; stream++)
        if (fcntl(PASSED + stream, F_SETFD, FD_CLOEXEC) == 0)
            standard[stream] = PASSED + stream;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fault("socketpair", NULL, errno);
    for (int stream = 0; stream < STREAMS; stream++)
        if (dup3(pair[0], stream, O_CLOEXEC) < 0)
            fault("replace", "the standard streams", errno);
    close(pair[0]);
    close(pair[1]);
}

static void boot(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    struct sigaction action = { .sa_handler = on_child_signal };
    sigaction(SIGCHLD, &action, NULL);
    umask(0);
    place_descriptors();

    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (plan == MAP_FAILED)
        fault("mmap", NULL, errno);
    hide_program();
    read_processors();
    drop_privileges();
    /* The runtime mounts its own tmpfs there, which would be below the plan's. */
    umount2("/tmp", UMOUNT_NOFOLLOW);
    /* Fails if the image has an mtab, which then stays. */
    symlink("/proc/mounts", "/etc/mtab");
    /* Also without a warm-up, so that the directory is the same for every run. */
    close_lower_root();
    mount_processes();
    show_files();
    show_cgroups();
    send_payload_end(READY, put32(buffer + HEADER_SIZE, VERSION));
}

_Noreturn static void serve(void)
{
    sigset_t waiting;
    sigfillset(&waiting);
    sigdelset(&waiting, SIGCHLD);
    for (;;) {
        struct pollfd fds[2 + TERMINAL_POLLS] = {
            { .fd = CONTROL, .events = POLLIN },
            { .fd = state == EXECUTING || state == WARMING_UP ? child_socket : -1, .events = POLLIN },
        };
        fill_terminal_polls(fds + 2);
        flush();
        /* The children that were not reaped yet send no other signal. */
        int ready = ppoll(fds, 2 + TERMINAL_POLLS, child_signaled ? &(struct timespec){ 0 } : NULL, &waiting);
        if (ready < 0 && errno != EINTR)
            fault("poll", NULL, errno);
        reap();
        if (ready > 0 && fds[1].revents != 0)
            read_child();
        if (ready > 0)
            serve_terminal(fds + 2);
        if (ready > 0 && fds[0].revents != 0)
            read_control();
        if (state == SERVING)
            serve_session(&child_signaled);
        if (child_ended && state == WARMING_UP)
            finish_warm_up();
        if (child_ended && state == EXECUTING)
            read_child();
        if (child_ended && state == RUNNING)
            report_end();
        if (child_ended && state < EXECUTING)
            fault("the waiting child died", NULL, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "launch") == 0)
        launch(argc, argv);

    int type = 0;
    socklen_t size = sizeof type;
    if (argc > 1)
        reject_usage("unknown command");
    /* PID 1 kills every process that it can see. */
    if (getpid() != 1) {
        dprintf(STDERR_FILENO, "boxer-init: not PID 1\n");
        return LAUNCH_FAILED;
    }
    if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        dprintf(STDERR_FILENO, "boxer-init: descriptor 0 is not a stream socket\n");
        return LAUNCH_FAILED;
    }
    boot();
    serve();
}
