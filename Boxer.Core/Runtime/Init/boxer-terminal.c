/*
 * Terminals. PID 1 makes them inside of the sandbox and keeps the master's side. In a session boxer-relay.c relays it in frames. This file
 * also relays the terminal of a run, between the master and the pipes that came with START.
 */
#include "boxer-pid1.h"

#include <sys/ioctl.h>
#include <termios.h>

/* The directory of terminals, opened before the guest can change its path. */
static int terminals_fd = -1;

void open_terminals(void)
{
    terminals_fd = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/*
 * User 0 can replace files in /dev, but none of the file system of terminals. gVisor has no TIOCGPTPEER, so the other side is opened by
 * its name there.
 */
int make_terminal(uint32_t columns, uint32_t rows, int *master, int *other)
{
    struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
    char name[16];
    unsigned int number;
    int unlocked = 0;
    *master = openat(terminals_fd, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (*master < 0 || ioctl(*master, TIOCGPTN, &number) != 0 || ioctl(*master, TIOCSPTLCK, &unlocked) != 0)
        return -1;
    snprintf(name, sizeof name, "%u", number);
    *other = openat(terminals_fd, name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return *other < 0 || ioctl(*master, TIOCSWINSZ, &size) != 0 ? -1 : 0;
}

/* ---- the terminal of a run ---- */

/* One direction. Either bytes wait to be written, or more are read. */
struct pump {
    int from;
    int to;
    size_t start;
    size_t length;
    uint8_t bytes[MAX_PAYLOAD];
};

static struct pump input = { .from = -1, .to = -1 };
static struct pump output = { .from = -1, .to = -1 };

/* PID 1's own copy of the command's side: without it the master would be at its end whenever no process has the terminal open. */
static int kept_fd = -1;

static int copy_fd(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, STREAMS);
    if (copy < 0)
        fault("duplicate", "a terminal", errno);
    return copy;
}

/* Puts a new terminal in place of the streams that came with START. Standard error has no pipe of its own. */
void open_run_terminal(void)
{
    open_terminals();
    if (make_terminal(plan->columns, plan->rows, &output.from, &kept_fd) != 0 || fchown(kept_fd, plan->uid, plan->gid) != 0)
        fault("open", "a terminal", errno);
    input.to = copy_fd(output.from);
    input.from = standard[STDIN_FILENO];
    output.to = standard[STDOUT_FILENO];
    close(standard[STDERR_FILENO]);
    fcntl(input.from, F_SETFL, O_NONBLOCK);
    fcntl(output.to, F_SETFL, O_NONBLOCK);
    for (int stream = 0; stream < STREAMS; stream++)
        standard[stream] = copy_fd(kept_fd);
}

static void fill_poll(const struct pump *pump, struct pollfd to[2])
{
    to[0] = (struct pollfd){ .fd = pump->length == 0 ? pump->from : -1, .events = POLLIN };
    to[1] = (struct pollfd){ .fd = pump->length > 0 ? pump->to : -1, .events = POLLOUT };
}

void fill_terminal_polls(struct pollfd to[TERMINAL_POLLS])
{
    fill_poll(&input, to);
    fill_poll(&output, to + 2);
}

/* Reads what is there. Returns 0 at the end. */
static int fill_pump(struct pump *pump)
{
    ssize_t got = RETRY(read(pump->from, pump->bytes, sizeof pump->bytes));
    pump->start = 0;
    pump->length = got > 0 ? (size_t)got : 0;
    return got > 0 || (got < 0 && errno == EAGAIN);
}

/* Writes as much as the other side takes. Nobody reads after an error, so the rest is dropped. */
static void empty_pump(struct pump *pump)
{
    ssize_t written = RETRY(write(pump->to, pump->bytes + pump->start, pump->length));
    if (written < 0 && errno != EAGAIN) {
        pump->length = 0;
    } else if (written > 0) {
        pump->start += (size_t)written;
        pump->length -= (size_t)written;
    }
}

void serve_terminal(const struct pollfd found[TERMINAL_POLLS])
{
    if (found[0].revents != 0 && !fill_pump(&input)) {
        close_fd(&input.from);
        input.bytes[0] = END_OF_FILE;
        input.length = 1;
    }
    if (found[1].revents != 0)
        empty_pump(&input);
    if (found[2].revents != 0)
        fill_pump(&output);
    if (found[3].revents != 0)
        empty_pump(&output);
}

/* Sends what the terminal still has. No process of the command is left. */
void finish_terminal(void)
{
    if (output.from < 0)
        return;
    for (size_t total = 0; total < MAX_LAST_OUTPUT; total += output.length) {
        if (output.length == 0 && (!fill_pump(&output) || output.length == 0))
            break;
        struct pollfd writable = { .fd = output.to, .events = POLLOUT };
        if (poll(&writable, 1, STALL_MILLISECONDS) != 1)
            break;
        empty_pump(&output);
    }
    close_fd(&input.from);
    close_fd(&input.to);
    close_fd(&output.from);
    close_fd(&output.to);
    close_fd(&kept_fd);
}
