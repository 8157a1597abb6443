/*
 * Children of a session in PID 1's own memory, until they execute their command (vfork(2)). A fork costs some 15 ms more under systrap.
 * See "While the guest runs" in PROTOCOL.md for what keeps PID 1 safe meanwhile.
 *
 * A thread creates such a child and waits for it, as the guest can stop the child, or name a fifo as its program: PID 1 goes on. The child
 * runs on the thread's errno, plan and other thread-local variables, which nothing else uses until the child is gone.
 */
#include "boxer-session.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(begin, size)
#endif

/* Posted for the thread when there is a child to create, and for PID 1 when it is created, or cannot be. */
static sem_t wanted;
static sem_t created;

/* The child that is created. */
static struct {
    struct plan *plan;
    size_t length;
    enum item_kind kind;
    int streams[STREAMS];
    int socket;
    pid_t pid;
    int error;
} next;

/* Set from the order to create a child until it is gone, PID 1 is dumpable again and the plan is wiped. */
static atomic_int is_busy;

/* PID 1 has asked, and waits for SIGCHLD to ask again. */
static atomic_int is_awaited;

/* The plan that is not in use while no child is in PID 1's memory. */
static struct plan *spare;

/* The stack of the child. */
enum { STACK_SIZE = 128 << 10 };
static uint8_t *stack;

/* A process of user 0 has started: it would own PID 1's files in /proc while PID 1 is not dumpable. */
static int has_user_0_started;

static int become_item(void *unused)
{
    (void)unused;
    sem_post(&created);
    run_child(next.kind, next.streams, next.socket);
}

_Noreturn static void *create_children(void *unused)
{
    (void)unused;
    for (;;) {
        RETRY(sem_wait(&wanted));
        plan = next.plan;
        /* The frames of the last child were never left. */
        ASAN_UNPOISON_MEMORY_REGION(stack, STACK_SIZE);
        /* The kernel writes the child's id before the child runs. */
        if (clone(become_item, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, NULL, &next.pid) < 0) {
            next.error = errno;
            next.pid = -1;
            sem_post(&created);
        }
        /* The child made the shared memory not dumpable when it changed its ids. */
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        forget_exec(plan, next.length);
        spare = plan;
        atomic_store(&is_busy, 0);
        if (atomic_exchange(&is_awaited, 0))
            kill(getpid(), SIGCHLD);
    }
}

/* Returns memory, or NULL. */
static void *map_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Returns 0 if the thread cannot be created. PID 1 then forks. */
static int prepare(void)
{
    static int is_prepared;
    pthread_t thread;
    /* Without close_range(2), close_from() allocates memory: a child that is killed meanwhile would leave PID 1's heap locked. */
    if (is_prepared || syscall(SYS_close_range, INT32_MAX, INT32_MAX, 0) != 0)
        return is_prepared;
    if (spare == NULL)
        spare = map_memory(sizeof *spare);
    if (stack == NULL)
        stack = map_memory(STACK_SIZE);
    is_prepared = spare != NULL && stack != NULL && sem_init(&wanted, 0, 0) == 0 && sem_init(&created, 0, 0) == 0
        && pthread_create(&thread, NULL, create_children, NULL) == 0;
    return is_prepared;
}

int is_spawning(void)
{
    if (!atomic_load(&is_busy))
        return 0;
    atomic_store(&is_awaited, 1);
    return atomic_load(&is_busy);
}

void forget_spawned(void)
{
    if (stack == NULL)
        return;
    madvise(stack, STACK_SIZE, MADV_DONTNEED);
    if (atomic_load(&is_busy))
        madvise(next.plan, sizeof *next.plan, MADV_DONTNEED);
}

int can_spawn(enum item_kind kind)
{
    has_user_0_started |= plan->uid == 0;
    return kind != WORKER && !has_user_0_started && !is_spawning() && prepare();
}

pid_t spawn(enum item_kind kind, const int streams[STREAMS], int socket, size_t length)
{
    next.plan = plan;
    next.length = length;
    next.kind = kind;
    memcpy(next.streams, streams, sizeof next.streams);
    next.socket = socket;
    plan = spare;
    atomic_store(&is_busy, 1);
    sem_post(&wanted);
    RETRY(sem_wait(&created));
    errno = next.error;
    return next.pid;
}
