/* Frames of the host in an open session. */
#include "boxer-session.h"

/* Reads an id that the host has used. */
static uint32_t take_used_id(struct reader *reader)
{
    uint32_t id = take_item_id(reader);
    if (id > last_id)
        malformed("id");
    return id;
}

/* Returns the item of a frame, or NULL if it is over. */
static struct item *take_item(struct reader *reader)
{
    return find_item(take_used_id(reader));
}

static void take_process_signal(struct reader *reader)
{
    struct item *item = take_item(reader);
    uint32_t number = take_count(reader, MAX_SIGNAL, "signal");
    uint32_t whole_session = take_count(reader, 1, "scope");
    take_end(reader, "end of PROCESS_SIGNAL");
    if (number == 0 || (item != NULL && item->kind == CONNECTION))
        malformed("PROCESS_SIGNAL");
    if (item != NULL)
        signal_item(item, (int)number, (int)whole_session);
}

static int is_relayed(const struct item *item)
{
    return item->kind != DIRECT && item->kind != WORKER;
}

static void take_input(struct reader *reader)
{
    struct item *item = take_item(reader);
    if (reader->at == reader->end || (item != NULL && !is_relayed(item)))
        malformed("INPUT");
    if (item != NULL)
        put_input(item, reader->at, (size_t)(reader->end - reader->at));
}

static void take_input_end(struct reader *reader)
{
    struct item *item = take_item(reader);
    take_end(reader, "end of INPUT_END");
    if (item != NULL && !is_relayed(item))
        malformed("INPUT_END");
    if (item != NULL)
        end_input(item);
}

static void take_credit(struct reader *reader)
{
    struct item *item = take_item(reader);
    uint32_t stream = take_count(reader, 2, "stream");
    uint32_t bytes = take_count(reader, MAX_CREDIT, "credit");
    take_end(reader, "end of CREDIT");
    if (stream == 0 || bytes == 0)
        malformed("CREDIT");
    if (item == NULL)
        return;
    if (!is_relayed(item) || (stream == 2 && item->kind != PIPES) || bytes > MAX_CREDIT - item->out[stream - 1].credit)
        malformed("CREDIT");
    item->out[stream - 1].credit += bytes;
}

static void take_resize(struct reader *reader)
{
    struct item *item = take_item(reader);
    uint32_t columns = take_count(reader, MAX_TERMINAL_SIZE, "columns");
    uint32_t rows = take_count(reader, MAX_TERMINAL_SIZE, "rows");
    take_end(reader, "end of RESIZE");
    if (columns == 0 || rows == 0 || (item != NULL && item->kind != TERMINAL))
        malformed("RESIZE");
    if (item != NULL)
        resize_terminal(item, columns, rows);
}

static void take_process_limits(struct reader *reader)
{
    uint32_t id = take_used_id(reader);
    const struct item *item = find_item(id);
    if (item != NULL && item->kind == CONNECTION)
        malformed("PROCESS_LIMITS");
    int error = set_limits(item, reader);
    send_payload_end(PROCESS_LIMITS_SET, put32(begin_payload(id), (uint32_t)error));
}

static void take_connect(struct reader *reader)
{
    uint32_t id = take_item_id(reader);
    uint32_t family = take32(reader, "family");
    uint32_t port = take_count(reader, 65535, "port");
    take_end(reader, "end of CONNECT");
    if ((family != 4 && family != 6) || port == 0)
        malformed("CONNECT");
    begin_connection(id, (int)family, port);
}

static void take_release(struct reader *reader)
{
    struct item *item = take_item(reader);
    take_end(reader, "end of RELEASE");
    if (item != NULL)
        release_item(item);
}

static void take_usage(uint32_t type, struct reader *reader)
{
    uint32_t tag = take32(reader, "tag");
    if (type == PROCESS_USAGE) {
        uint32_t id = take_used_id(reader);
        take_end(reader, "end of PROCESS_USAGE");
        report_process_usage(tag, id, find_item(id));
        return;
    }
    take_end(reader, "end of a question");
    if (type == USAGE)
        report_usage(tag);
    else
        report_quiet(tag);
}

void handle_session_frame(uint32_t type, const uint8_t *payload, size_t length)
{
    struct reader reader = { payload, payload + length };
    switch (type) {
    case EXEC: take_exec(length); break;
    case FILES: take_files(payload, length); break;
    case PROCESS_SIGNAL: take_process_signal(&reader); break;
    case INPUT: take_input(&reader); break;
    case INPUT_END: take_input_end(&reader); break;
    case CREDIT: take_credit(&reader); break;
    case RESIZE: take_resize(&reader); break;
    case PROCESS_LIMITS: take_process_limits(&reader); break;
    case CONNECT: take_connect(&reader); break;
    case RELEASE: take_release(&reader); break;
    case USAGE:
    case PROCESS_USAGE:
    case QUIESCE: take_usage(type, &reader); break;
    default: malformed("order of frames");
    }
}
