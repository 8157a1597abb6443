/*
 * The streams of a session that PID 1 relays: pipes and terminals of processes, and connections. PID 1 never waits for one of them: it
 * reads with the host's credit only, and holds a bounded number of bytes for each.
 */
#include "boxer-session.h"

#include <netinet/in.h>

/* ---- making streams ---- */

static void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* Makes one pipe. Returns 0, or -1 with errno. */
static int open_pipe(int *read_end, int *write_end)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0)
        return -1;
    *read_end = pair[0];
    *write_end = pair[1];
    return 0;
}

int open_pipes(struct item *item, int merges, int theirs[STREAMS])
{
    if (open_pipe(&theirs[0], &item->in.fd) != 0 || open_pipe(&item->out[0].fd, &theirs[1]) != 0)
        return -1;
    if (!merges && open_pipe(&item->out[1].fd, &theirs[2]) != 0)
        return -1;
    set_nonblocking(item->in.fd);
    set_nonblocking(item->out[0].fd);
    if (!merges)
        set_nonblocking(item->out[1].fd);
    return 0;
}

int open_terminal(struct item *item, uint32_t columns, uint32_t rows, int theirs[STREAMS])
{
    if (make_terminal(columns, rows, &item->out[0].fd, &theirs[0]) != 0)
        return -1;
    item->in.fd = fcntl(item->out[0].fd, F_DUPFD_CLOEXEC, 0);
    return item->in.fd < 0 ? -1 : 0;
}

/* ---- input ---- */

static void close_sink(struct sink *sink)
{
    close_fd(&sink->fd);
    /* A later child has a copy of freed memory too. */
    if (sink->bytes != NULL)
        explicit_bzero(sink->bytes, INPUT_WINDOW + 1);
    free(sink->bytes);
    sink->bytes = NULL;
    sink->length = 0;
}

void report_taken(struct item *item, uint32_t count)
{
    struct sink *sink = &item->in;
    sink->taken += count;
    /* After its end the host needs no room for more input, and a terminal's end-of-file character is not the host's. */
    if (sink->is_ending || sink->taken < TAKEN_AT_LEAST || item->stage == STARTING || item->stage == CONNECTING || item->stage == GONE)
        return;
    send_payload_end(INPUT_TAKEN, put32(begin_payload(item->id), sink->taken));
    sink->taken = 0;
}

/* Nobody reads the input any more. Input of a process that goes on is dropped, as a shell does with a closed pipe. */
static void drop_input(struct item *item)
{
    uint32_t dropped = item->in.length;
    close_sink(&item->in);
    report_taken(item, dropped);
}

static void append(struct sink *sink, const uint8_t *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        size_t at = (sink->start + sink->length) % (INPUT_WINDOW + 1);
        size_t room = INPUT_WINDOW + 1 - at;
        size_t part = length - done < room ? length - done : room;
        memcpy(sink->bytes + at, bytes + done, part);
        sink->length += (uint32_t)part;
        done += part;
    }
}

void put_input(struct item *item, const uint8_t *bytes, size_t length)
{
    struct sink *sink = &item->in;
    if (sink->is_ending || length == 0 || (size_t)sink->length + sink->taken + length > INPUT_WINDOW)
        malformed("INPUT");
    if (sink->fd < 0 && item->stage != CONNECTING) {
        report_taken(item, (uint32_t)length);
        return;
    }
    /* One byte more than the window: the end of a terminal's input is a character. */
    if (sink->bytes == NULL && (sink->bytes = malloc(INPUT_WINDOW + 1)) == NULL)
        fault("malloc", NULL, errno);
    append(sink, bytes, length);
    write_input(item);
}

static void check_connection(struct item *item);

/* All input was written. The guest may still send on a connection. */
static void finish_input(struct item *item)
{
    if (item->in.fd < 0 || item->kind == TERMINAL)
        return;
    if (item->kind == CONNECTION)
        shutdown(item->in.fd, SHUT_WR);
    close_sink(&item->in);
    if (item->kind == CONNECTION)
        check_connection(item);
}

void end_input(struct item *item)
{
    struct sink *sink = &item->in;
    if (sink->is_ending)
        malformed("INPUT_END");
    sink->is_ending = 1;
    if (item->kind == TERMINAL && sink->fd >= 0) {
        if (sink->bytes == NULL && (sink->bytes = malloc(INPUT_WINDOW + 1)) == NULL)
            fault("malloc", NULL, errno);
        append(sink, (const uint8_t[]){ END_OF_FILE }, 1);
    }
    write_input(item);
}

static void close_connection(struct item *item, int error);

/* Writes input as far as the guest takes it. */
void write_input(struct item *item)
{
    struct sink *sink = &item->in;
    while (sink->fd >= 0 && sink->length > 0 && item->stage != CONNECTING) {
        size_t first = INPUT_WINDOW + 1 - sink->start;
        size_t part = sink->length < first ? sink->length : first;
        ssize_t written = item->kind == CONNECTION ? RETRY(send(sink->fd, sink->bytes + sink->start, part, MSG_NOSIGNAL | MSG_DONTWAIT))
                                                   : RETRY(write(sink->fd, sink->bytes + sink->start, part));
        if (written < 0 && errno == EAGAIN)
            return;
        if (written <= 0) {
            if (item->kind == CONNECTION)
                close_connection(item, errno);
            else
                drop_input(item);
            return;
        }
        sink->start = (sink->start + (uint32_t)written) % (INPUT_WINDOW + 1);
        sink->length -= (uint32_t)written;
        report_taken(item, (uint32_t)written);
    }
    if (sink->is_ending && sink->length == 0 && item->stage != CONNECTING)
        finish_input(item);
}

/* ---- output ---- */

static void end_source(struct item *item, uint32_t index)
{
    if (item->out[index].fd < 0)
        return;
    close_fd(&item->out[index].fd);
    send_payload_end(OUTPUT_END, put32(begin_payload(item->id), index + 1));
}

/* A connection is over when both sides have ended. */
static void check_connection(struct item *item)
{
    if (item->out[0].fd < 0 && item->in.fd < 0)
        close_connection(item, 0);
}

void read_output(struct item *item, uint32_t index)
{
    struct source *source = &item->out[index];
    size_t room = MAX_PAYLOAD - OUTPUT_PREFIX;
    if (room > source->credit)
        room = source->credit;
    if (item->stage == ENDING && room > source->left)
        room = source->left;
    ssize_t got = RETRY(read(source->fd, buffer + HEADER_SIZE + OUTPUT_PREFIX, room));
    if (got > 0) {
        source->credit -= (uint32_t)got;
        if (item->stage == ENDING)
            source->left -= (uint32_t)got;
        put32(put32(buffer + HEADER_SIZE, item->id), index + 1);
        send_buffer(OUTPUT, OUTPUT_PREFIX + (size_t)got);
    } else if (got < 0 && errno == EAGAIN) {
        /* A terminal has nothing more after the end of its first process. */
        if (item->stage == ENDING)
            source->left = 0;
    } else if (got < 0 && item->kind == CONNECTION) {
        close_connection(item, errno);
        return;
    } else {
        end_source(item, index);
    }
    if (item->kind == CONNECTION)
        check_connection(item);
}

/* After the end of the first process, PID 1 sends what is in the streams. Others can still hold them, and write without an end. */
void finish_output(struct item *item)
{
    int is_over = 1;
    for (uint32_t index = 0; index < 2; index++) {
        if (item->out[index].fd >= 0 && item->out[index].left == 0)
            end_source(item, index);
        is_over &= item->out[index].fd < 0;
    }
    if (!is_over)
        return;
    close_relay(item);
    report_process_end(item);
}

void close_relay(struct item *item)
{
    close_fd(&item->out[0].fd);
    close_fd(&item->out[1].fd);
    close_sink(&item->in);
}

/* ---- connections ---- */

static void close_connection(struct item *item, int error)
{
    close_relay(item);
    item->stage = GONE;
    send_payload_end(CLOSED, put32(begin_payload(item->id), (uint32_t)error));
}

static void fail_connection(struct item *item, int error)
{
    close_relay(item);
    item->stage = GONE;
    send_payload_end(NOT_CONNECTED, put32(begin_payload(item->id), (uint32_t)error));
}

static int connect_to_loopback(int fd, int family, uint32_t port)
{
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    return family == 4 ? connect(fd, (struct sockaddr *)&four, sizeof four) : connect(fd, (struct sockaddr *)&six, sizeof six);
}

static void begin_relay(struct item *item)
{
    item->in.fd = fcntl(item->out[0].fd, F_DUPFD_CLOEXEC, 0);
    if (item->in.fd < 0) {
        fail_connection(item, errno);
        return;
    }
    item->stage = ALIVE;
    send_payload_end(CONNECTED, begin_payload(item->id));
    write_input(item);
}

void begin_connection(uint32_t id, int family, uint32_t port)
{
    struct item *item = add_item(id, CONNECTION);
    item->stage = CONNECTING;
    item->out[0].fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (item->out[0].fd < 0)
        fail_connection(item, errno);
    else if (connect_to_loopback(item->out[0].fd, family, port) == 0)
        begin_relay(item);
    else if (errno != EINPROGRESS)
        fail_connection(item, errno);
}

void end_connecting(struct item *item)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(item->out[0].fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0)
        fail_connection(item, error);
    else
        begin_relay(item);
}

void release_item(struct item *item)
{
    if (item->kind == CONNECTION)
        close_connection(item, 0);
    else if (item->kind == PIPES || item->kind == TERMINAL)
        close_relay(item);
    if (item->kind == TERMINAL)
        hang_up(item);
}
