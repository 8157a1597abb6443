/*
 * Declarations that the files of the file worker share: boxer-files.c (the socket, requests for one path), boxer-files-path.c (paths),
 * boxer-files-read.c (files, lists and trees), boxer-files-tree.c (removing and writing trees) and boxer-files-watch.c.
 */
#ifndef BOXER_FILES_H
#define BOXER_FILES_H

#include "boxer-pid1.h"

/* ---- boxer-files.c ---- */

/* A frame of the host, valid until the next one. */
struct frame {
    uint32_t type;
    const uint8_t *at;
    const uint8_t *end;
};

extern int host;

/* Answers that were not sent yet. */
extern uint8_t answers[2 * (HEADER_SIZE + MAX_PAYLOAD)];
extern size_t answers_length;

/* Buffer for the payload of an answer. */
extern uint8_t payload_buffer[MAX_PAYLOAD];

/* Whether the present operation has sent FILES_FAILED. */
extern int has_failed;

/* Path of an entry, relative to the directory of the operation. */
extern char entry_path[MAX_PATH + 1];

_Noreturn void end_worker(void);
void send_answers(void);
void answer(enum frame_type type, const uint8_t *end);
struct frame receive_frame(void);
uint32_t frame_number(struct frame *frame);
uint64_t frame_long(struct frame *frame);
const char *frame_text(struct frame *frame, size_t max);
const char *frame_path(struct frame *frame);
void frame_end(const struct frame *frame);
void fail_at(int error, const char *path);
void finish(int result);
size_t add_name(size_t prefix, const char *name);
int take_content(int fd, const char *path);

/* ---- boxer-files-path.c ---- */

/*
 * A path is followed name by name, from descriptor to descriptor, because openat2(2) is missing in gVisor. So the worker knows each
 * directory that it goes through, and refuses those of the kernel by their file system: a link in /proc leads to an open file of any
 * process, without a path.
 */
struct walk {
    /* The directory of the name; O_PATH. */
    int directory;
    int followed;
    char name[MAX_NAME + 1];
    /* The path behind the name. */
    char rest[2 * MAX_PATH + 2];
};

int allow(int fd);
void end_walk(struct walk *walk);
int find_directory(struct walk *walk, const char *path, int makes);
int find(struct walk *walk, const char *path, int follows, int makes);
int open_directory(int parent, const char *name);
int open_regular(int directory, const char *name, int flags, struct stat *info);

/* ---- boxer-files-read.c, boxer-files-tree.c, boxer-files-watch.c: requests ---- */

void read_file(struct frame *frame);
void stat_path(struct frame *frame);
void list_directory(struct frame *frame);
void read_tree(struct frame *frame);
void remove_path(struct frame *frame);
void write_tree(struct frame *frame);
void watch_path(struct frame *frame);

#endif
