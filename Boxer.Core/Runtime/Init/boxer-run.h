/* Declarations that the files of boot, runs and warm-ups share, in the order of a run. */
#ifndef BOXER_RUN_H
#define BOXER_RUN_H

#include "boxer-pid1.h"

/* ---- boxer-init.c ---- */

/* The command's first process, and its status once it has ended. */
extern pid_t child;
extern int child_status;
extern int child_ended;
extern long max_resident;

/* ---- boxer-frames.c ---- */

/* Reads a path below the workspace. */
const char *take_relative(struct reader *reader, const char *field);

/* ---- boxer-plan.c ---- */

/* Reads START, WARM_UP or OPEN into the plan, whose payload it is. */
void parse_plan(size_t length);

/* ---- boxer-mounts.c ---- */

/* Mount point of the one tmpfs while its directories are bound to their paths. Every root has this directory. */
extern const char TMPFS_ROOT[];

int make_directories(const char *path, uid_t uid, gid_t gid, int parents_only);
int is_used(const char *path);
void unmount(const char *path, int flags);
void mount_directories(void);
void unmount_directories(void);

/* Returns 1 if what is mounted is what the plan wants. */
int are_mounts_wanted(void);

int create_at(int directory, const char *name, mode_t mode, uid_t uid, gid_t gid);
int create_file(const char *path, mode_t mode);

/* Makes the directories and the empty text files of the next START. */
void make_ahead(void);
void write_text(const struct text_file *text);
void forget_empty_files(void);

uint32_t is_tmpfs_full(void);
int open_tmpfs(void);

/* ---- boxer-limits.c ---- */

void read_processors(void);
int close_lower_root(void);
int mount_processes(void);
void show_files(void);
void show_cgroups(void);

/* Before and after a warm-up. */
void mount_for_warm_up(void);
void unmount_after_warm_up(void);
void renew_views(void);
void restore_scheduling(void);

/* For the plan's command. */
void narrow_affinity(void);
void show_limits(void);

/* ---- boxer-inputs.c ---- */

/* Entries of the workspace are made below its own directory and belong to the command's user. */
extern struct tree workspace;

/* The input file that is being written, or -1, and its path. */
extern int file_fd;
extern char file_path[MAX_PATH + 1];

void file_begin(const uint8_t *payload, size_t length);
void file_data(const uint8_t *payload, size_t length);
void file_end(size_t length);
void take_tree(uint32_t type, const uint8_t *payload, size_t length);

/* Reports that the file of file_path cannot be made. The command does not start. */
void file_failed(int error);

/* ---- boxer-child.c ---- */

/* Connects to a child that waits for GO; -1 without one. */
extern int child_socket;

int drop_from_bounding_set(uint64_t dropped);
void become_reserved(void);
void spawn_child(void);
void fork_child(void);
void release_child(void);
void chown_standard_streams(void);
void close_standard_streams(void);

/* ---- boxer-outputs.c ---- */

void remember_workspace(void);
void send_outputs(int fd, uint64_t bytes, uint64_t entries, int only_changes);

/* ---- boxer-run.c ---- */

void handle_frame(uint32_t type, const uint8_t *payload, size_t length);
void read_child(void);
void report_end(void);
void finish_warm_up(void);

#endif
