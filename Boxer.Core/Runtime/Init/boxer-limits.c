/* Limits that programs read, and what hides the kernel's own values. See "Limits that programs read" in PROTOCOL.md. */
#include "boxer-run.h"

/* One bit for each processor (sched_setaffinity(2)). */
struct processors {
    uint8_t bits[MAX_PROCESSORS / 8];
};

static int memory_limit_fd = -1;
static int cpu_quota_fd = -1;
static int cpuset_fd = -1;
static int are_cgroups_shown;
static struct processors own_processors;
static struct processors narrow_processors;
static long own_processor_count;

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

void show_files(void)
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

void show_cgroups(void)
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
int close_lower_root(void)
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
void renew_views(void)
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
int mount_processes(void)
{
    int result = mount("proc", "/proc", "proc", VIEW_FLAGS, "dentry_cache_limit=64");
    return result == 0 || errno != EINVAL ? result : mount("proc", "/proc", "proc", VIEW_FLAGS, NULL);
}

/*
 * A warm-up has a /proc and a /dev of its own, because user 0 can create files in /dev and change modes in both. /proc/sys is read-only:
 * its settings belong to the sandbox's kernel, whichever mount they are changed through. A warm-up has no cgroup files and no terminals:
 * modes changed there would remain for the run. PID 1's files cover those of the new /proc too.
 */
void mount_for_warm_up(void)
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

void unmount_after_warm_up(void)
{
    unmount("/dev", MNT_DETACH);
    unmount("/proc", MNT_DETACH);
}

/* gVisor lets every process change these values of every other process, and a command inherits them from PID 1. */
void restore_scheduling(void)
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
void narrow_affinity(void)
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

void show_limits(void)
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

void read_processors(void)
{
    if (syscall(SYS_sched_getaffinity, 0, sizeof own_processors, &own_processors) < 0)
        fault("read", "the processors", errno);
    for (long number = 0; number < MAX_PROCESSORS; number++)
        own_processor_count += own_processors.bits[number / 8] >> number % 8 & 1;
    read_text(&cpuinfo, "/proc/cpuinfo");
    read_text(&cpu_statistics, "/proc/stat");
}
