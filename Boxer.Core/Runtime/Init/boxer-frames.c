/* The control socket: frames to the host, frames from it, and the descriptors that come with them. */
#include "boxer-run.h"

uint8_t buffer[HEADER_SIZE + MAX_PAYLOAD];
static uint8_t outgoing[2 * (HEADER_SIZE + MAX_PAYLOAD)];
static size_t outgoing_length;

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
const char *take_relative(struct reader *reader, const char *field)
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
    /* The child reads the plan, so nothing may change it after START. In a session PID 1 goes on with another plan, or a copy. */
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
