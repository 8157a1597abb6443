/* The fields of START, WARM_UP and OPEN, and those that EXEC has too. */
#include "boxer-run.h"

/* CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SETFCAP: enough to install packages and to change the user. */
static const uint64_t ALLOWED_CAPABILITIES = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 18 | 1u << 31;

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

void parse_plan(size_t length)
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
