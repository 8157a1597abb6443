/* Declarations that PID 1 (boxer-pid1.h) and the launch step (boxer-launch.c) share. Both are one program. */
#ifndef BOXER_INIT_H
#define BOXER_INIT_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Exit code of the program if it fails before the sandbox's runtime, or PID 1, runs. */
enum { LAUNCH_FAILED = 125 };

/* ---- seccomp filters: the kernel's own headers are not among those of every libc ---- */

struct bpf_instruction {
    uint16_t code;
    uint8_t jump_true;
    uint8_t jump_false;
    uint32_t value;
};

struct bpf_program {
    uint16_t length;
    struct bpf_instruction *instructions;
};

enum bpf_code {
    BPF_LOAD_WORD = 0x20,
    BPF_JUMP_EQUAL = 0x15,
    BPF_JUMP_SET = 0x45,
    BPF_RETURN = 0x06,
};

#define SECCOMP_ALLOW 0x7FFF0000u
#define SECCOMP_ERRNO 0x00050000u
#if defined(__x86_64__)
#define AUDIT_ARCHITECTURE 0xC000003Eu
#elif defined(__aarch64__)
#define AUDIT_ARCHITECTURE 0xC00000B7u
#else
#error "boxer-init is for x86-64 and arm64"
#endif

/* Offsets in struct seccomp_data (seccomp(2)). */
enum call_field {
    CALL_NUMBER = 0,
    CALL_ARCHITECTURE = 4,
    CALL_FIRST_ARGUMENT = 16,
    CALL_SECOND_ARGUMENT = 24,
};

static inline int install_filter(struct bpf_program *program)
{
    return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, program, 0, 0);
}

/* ---- descriptors ---- */

/* Closes every descriptor from the first one on. */
static inline void close_from(unsigned int first)
{
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        for (int fd = (int)first; fd < 65536; fd++)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '\0' && fd >= (long)first && fd != dirfd(directory))
            close((int)fd);
    }
    closedir(directory);
}

/* ---- boxer-launch.c ---- */

/* Prepares this process as its options say, and executes the sandbox's runtime. */
_Noreturn void launch(int argc, char **argv);

/* Reports a wrong command line of the program. */
_Noreturn void reject_usage(const char *fault);

#endif
