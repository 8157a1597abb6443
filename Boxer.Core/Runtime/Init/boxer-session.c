/*
 * Sessions: a sandbox that the host keeps, and its commands, processes and connections. See "Sessions" in PROTOCOL.md. This file has the
 * table of ids and the loop.
 *
 * Once OPENED, PID 1 waits for nobody: frames are queued, and the host bounds the queue by what it asks for and by its credit.
 */
#include "boxer-session.h"

#include <fcntl.h>

int tmpfs_fd = -1;
int root_fd = -1;

/* ---- the queue ---- */

static struct {
    uint8_t *bytes;
    size_t start;
    size_t length;
    size_t capacity;
} queue;

/* Memory that is freed keeps its content, which a later child would have too. */
static void free_queue(void)
{
    if (queue.bytes != NULL)
        explicit_bzero(queue.bytes, queue.capacity);
    free(queue.bytes);
    queue.bytes = NULL;
    queue.capacity = 0;
}

static void grow_queue(size_t capacity)
{
    uint8_t *bytes = malloc(capacity);
    if (bytes == NULL)
        _exit(1);
    if (queue.length > 0)
        memcpy(bytes, queue.bytes + queue.start, queue.length);
    free_queue();
    queue.bytes = bytes;
    queue.start = 0;
    queue.capacity = capacity;
}

void queue_frame(const uint8_t *frame, size_t length)
{
    if (queue.start > 0 && queue.start + queue.length + length > queue.capacity) {
        memmove(queue.bytes, queue.bytes + queue.start, queue.length);
        queue.start = 0;
    }
    if (queue.length + length > queue.capacity)
        grow_queue(2 * (queue.length + length));
    memcpy(queue.bytes + queue.start + queue.length, frame, length);
    queue.length += length;
}

/* Sends what the host takes. Exits if it is gone. */
static void send_queue(void)
{
    while (queue.length > 0) {
        ssize_t sent = RETRY(send(CONTROL, queue.bytes + queue.start, queue.length, MSG_NOSIGNAL | MSG_DONTWAIT));
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0)
            leave(0);
        queue.start += (size_t)sent;
        queue.length -= (size_t)sent;
    }
    queue.start = 0;
    /* A flood has passed. */
    if (queue.capacity > LONG_QUEUE)
        free_queue();
}

void flush_queue(void)
{
    send_bytes(queue.bytes + queue.start, queue.length);
    queue.length = 0;
}

/* ---- the table of ids ---- */

struct item **items;
size_t item_count;
static size_t item_capacity;

uint32_t last_id;

uint32_t take_item_id(struct reader *reader)
{
    uint32_t id = take32(reader, "id");
    if (id < 1 || id > INT32_MAX)
        malformed("id");
    return id;
}

struct item *find_item(uint32_t id)
{
    for (size_t i = 0; i < item_count; i++)
        if (items[i]->id == id && items[i]->stage != GONE)
            return items[i];
    return NULL;
}

struct item *find_process(pid_t pid)
{
    for (size_t i = 0; i < item_count; i++)
        if (items[i]->pid == pid && items[i]->stage != GONE)
            return items[i];
    return NULL;
}

struct item *find_session(pid_t session)
{
    for (size_t i = 0; i < item_count; i++)
        if (session > 0 && items[i]->session == session && items[i]->stage != GONE)
            return items[i];
    return NULL;
}

struct item *add_item(uint32_t id, enum item_kind kind)
{
    if (find_item(id) != NULL)
        malformed("id in use");
    if (item_count == item_capacity) {
        item_capacity = 2 * item_capacity + 16;
        if ((items = realloc(items, item_capacity * sizeof *items)) == NULL)
            fault("realloc", NULL, errno);
    }
    struct item *item = calloc(1, sizeof *item);
    if (item == NULL)
        fault("calloc", NULL, errno);
    item->id = id;
    item->kind = kind;
    item->stage = STARTING;
    item->start_socket = item->in.fd = item->out[0].fd = item->out[1].fd = -1;
    items[item_count++] = item;
    if (id > last_id)
        last_id = id;
    return item;
}

static void remove_gone(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < item_count; i++) {
        if (items[i]->stage == GONE) {
            close_fd(&items[i]->start_socket);
            free(items[i]);
        } else {
            items[kept++] = items[i];
        }
    }
    item_count = kept;
}

void forget_others(void)
{
    /* Calls that have returned leave copies in the part of the stack that this array takes. */
    uint8_t left_behind[32 << 10];
    explicit_bzero(left_behind, sizeof left_behind);
    if (queue.bytes != NULL)
        explicit_bzero(queue.bytes, queue.capacity);
    for (size_t i = 0; i < item_count; i++)
        if (items[i]->in.bytes != NULL)
            explicit_bzero(items[i]->in.bytes, INPUT_WINDOW + 1);
    forget_frames();
}

uint8_t *begin_payload(uint32_t id)
{
    return put32(buffer + HEADER_SIZE, id);
}

/* ---- the loop ---- */

enum {
    /* Descriptors of one item in a poll: child, two outputs, input. */
    POLLED = 4,
    KILL_PAUSE_NANOSECONDS = 2000000,
};

static struct pollfd *polled;
static size_t polled_capacity;

/* Item whose streams are read first: a flood of one must not keep the queue full for the others. */
static size_t turn;

static int wants_output(const struct item *item, int index)
{
    const struct source *source = &item->out[index];
    if (source->fd < 0 || source->credit == 0 || queue.length >= SHORT_QUEUE)
        return 0;
    return item->stage == ALIVE || (item->stage == ENDING && source->left > 0);
}

/* A descriptor that is polled for nothing still reports its end, again and again. So it is left out. */
static void fill_poll(const struct item *item, struct pollfd *to)
{
    to[0] = (struct pollfd){ .fd = item->start_socket, .events = POLLIN };
    for (int index = 0; index < 2; index++)
        to[1 + index] = (struct pollfd){ .fd = wants_output(item, index) ? item->out[index].fd : -1, .events = POLLIN };
    to[3] = (struct pollfd){ .fd = item->in.length > 0 ? item->in.fd : -1, .events = POLLOUT };
    if (item->stage == CONNECTING)
        to[3] = (struct pollfd){ .fd = item->out[0].fd, .events = POLLOUT };
}

static void fill_polls(void)
{
    size_t needed = 1 + POLLED * item_count;
    if (needed > polled_capacity) {
        polled_capacity = 2 * needed;
        if ((polled = realloc(polled, polled_capacity * sizeof *polled)) == NULL)
            fault("realloc", NULL, errno);
    }
    short events = queue.length >= LONG_QUEUE ? 0 : POLLIN;
    if (queue.length > 0)
        events |= POLLOUT;
    polled[0] = (struct pollfd){ .fd = CONTROL, .events = events };
    for (size_t i = 0; i < item_count; i++)
        fill_poll(items[i], polled + 1 + POLLED * i);
}

/* Handles what the poll found for one item. Descriptors may have been closed since, by what was found for the same item. */
static void serve_item(struct item *item, const struct pollfd *found)
{
    if (item->stage == CONNECTING) {
        if (found[3].revents != 0)
            end_connecting(item);
        return;
    }
    if (found[0].revents != 0 && item->stage == STARTING)
        read_starting(item);
    for (uint32_t index = 0; index < 2; index++)
        if (found[1 + index].revents != 0 && wants_output(item, (int)index))
            read_output(item, index);
    if (found[3].revents != 0 && item->stage != GONE)
        write_input(item);
}

static void serve_items(void)
{
    size_t count = item_count;
    turn = count > 0 ? (turn + 1) % count : 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = (turn + i) % count;
        serve_item(items[at], polled + 1 + POLLED * at);
    }
}

/* The last output is there already. A terminal that others still hold shows its end only when it is read. */
static void finish_item(struct item *item)
{
    for (uint32_t index = 0; index < 2; index++)
        while (wants_output(item, (int)index))
            read_output(item, index);
    finish_output(item);
}

static void finish_items(void)
{
    for (size_t i = 0; i < item_count; i++) {
        answer_ids(items[i]);
        if (items[i]->has_ended && items[i]->stage < ENDING)
            end_first_process(items[i]);
        if (items[i]->stage == ENDING && !items[i]->is_killing)
            finish_item(items[i]);
    }
}

_Noreturn void serve_session(volatile sig_atomic_t *child_signal)
{
    sigset_t while_waiting;
    sigfillset(&while_waiting);
    sigdelset(&while_waiting, SIGCHLD);
    for (;;) {
        int is_killing = kill_sessions();
        finish_items();
        remove_gone();
        send_queue();
        fill_polls();
        struct timespec pause = { .tv_nsec = *child_signal ? 0 : KILL_PAUSE_NANOSECONDS };
        int ready = ppoll(polled, 1 + POLLED * item_count, is_killing || *child_signal ? &pause : NULL, &while_waiting);
        forget_processes();
        if (ready < 0 && errno != EINTR)
            fault("poll", NULL, errno);
        if (ready > 0)
            serve_items();
        if (*child_signal)
            *child_signal = reap_processes();
        if (ready > 0 && (polled[0].revents & ~POLLOUT) != 0)
            read_control();
    }
}

/* ---- opening ---- */

/*
 * Opens what PID 1 later needs a path for, because the guest can change paths. The plan is not shared from here on: a child reads its
 * copy, or is given the plan and PID 1 takes another one, while PID 1 receives the next EXEC.
 */
void open_session(int tmpfs)
{
    tmpfs_fd = tmpfs;
    root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        fault("open", "the root", errno);
    open_process_table();
    open_terminals();
    munmap(plan, sizeof *plan);
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (plan == MAP_FAILED)
        fault("mmap", NULL, errno);
    flush();
    state = SERVING;
    send_buffer(OPENED, 0);
}
