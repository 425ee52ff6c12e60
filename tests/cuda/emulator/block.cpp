/* block.cpp - runs the threads of a block as fibers: a thread runs until it waits for others, then
 * the next one does. */
#undef _FORTIFY_SOURCE /* its longjmp takes a change of stacks for an error */
#include "tests/cuda/emulator/cuda_runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <numeric>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

enum { WARP = 32, STACK = 64 << 10, SHARED_MOST = 227 << 10 };

/* What HY_SHARED() names; SHARED_MOST is what the largest devices have. */
thread_local unsigned char __align__(128) hy_shared[SHARED_MOST];

namespace
{

enum state { READY, AT_BLOCK, AT_WARP, DONE };

struct fiber {
    jmp_buf at;
    ucontext_t start;
    bool started;
    void *stack;
    void *fake_stack; /* the address sanitizer's */
    int thread;       /* that it runs; -1: none */
    fiber *next;      /* while idle */
};

struct thread {
    enum state state;
    unsigned mask; /* AT_WARP: with whom */
    int source;    /* AT_WARP: whose value it takes; -1: it votes, -2: it only waits */
    uint64_t value;
    fiber *home;
};

struct block {
    const std::function<void()> *body;
    std::vector<thread> threads;
    std::vector<int> order;
    size_t begun, limit; /* of order: threads that have begun; that may begin now */
    bool eager;          /* a warp goes on until it waits for other warps */
    int done;
    std::vector<void *> boards; /* WARP a warp */
};

block now;
fiber *idle; /* a list */
fiber *running;
jmp_buf scheduler;
void *scheduler_fake_stack;
const void *scheduler_stack;
size_t scheduler_size;
uint64_t orders; /* how often an order was chosen */

/* The sanitizer must know on which stack the program goes on. */
void announce(void **save, const void *stack, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(save, stack, size);
#else
    (void)save, (void)stack, (void)size;
#endif
}

void arrived(void *saved, const void **stack, size_t *size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(saved, stack, size);
#else
    (void)saved, (void)stack, (void)size;
#endif
}

void enter_thread(int i)
{
    running->thread = i;
    threadIdx.x = (unsigned)i % blockDim.x;
    threadIdx.y = (unsigned)i / blockDim.x % blockDim.y;
    threadIdx.z = (unsigned)i / blockDim.x / blockDim.y;
}

/* From a fiber to the scheduler, until the scheduler resumes it. */
__attribute__((noinline)) void leave(void)
{
    fiber *self = running;
    announce(&self->fake_stack, scheduler_stack, scheduler_size);
    if (!_setjmp(self->at))
        _longjmp(scheduler, 1);
    arrived(self->fake_stack, nullptr, nullptr);
    if (self->thread >= 0)
        enter_thread(self->thread);
}

/* A fiber runs thread after thread, as long as none waits. */
void live(void)
{
    arrived(nullptr, &scheduler_stack, &scheduler_size);
    for (;;) {
        fiber *self = running;
        while (now.begun < now.limit) {
            const int i = now.order[now.begun++];
            now.threads[(size_t)i].home = self;
            enter_thread(i);
            (*now.body)();
            now.threads[(size_t)i].state = DONE;
            now.done++;
        }
        self->thread = -1;
        self->next = idle;
        idle = self;
        leave();
    }
}

__attribute__((noinline)) void resume(fiber *f)
{
    running = f;
    announce(&scheduler_fake_stack, f->stack, STACK);
    if (!_setjmp(scheduler)) {
        if (running->started)
            _longjmp(running->at, 1);
        running->started = true;
        setcontext(&running->start);
    }
    arrived(scheduler_fake_stack, nullptr, nullptr);
}

__attribute__((noinline)) fiber *new_fiber(void)
{
    static fiber *made;
    made = new fiber();
    made->stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made->stack == MAP_FAILED || getcontext(&made->start))
        hy_emulator::stop("no stack for a thread");
    made->start.uc_stack.ss_sp = made->stack;
    made->start.uc_stack.ss_size = STACK;
    makecontext(&made->start, live, 0);
    return made;
}

fiber *idle_fiber(void)
{
    fiber *f = idle;
    if (!f)
        return new_fiber();
    idle = f->next;
    return f;
}

/* Forwards, backwards, with a stride, or forwards with eager warps: what a thread reads before
 * another has written it changes with the order. */
void choose_order(size_t count)
{
    const uint64_t way = orders++ % 4;
    now.eager = way == 3;
    size_t at = 0, stride = count / 3 * 2 + 1;
    while (std::gcd(stride, count) != 1)
        stride++;
    now.order.resize(count);
    for (size_t i = 0; i < count; i++) {
        now.order[i] = (int)(way % 3 == 0 ? i : way == 1 ? count - 1 - i : at);
        at = (at + stride) % count;
    }
}

/* The exchange of the lanes in t's mask, once all of them are there. */
bool release_warp(size_t first, const thread &t)
{
    const unsigned mask = t.mask;
    unsigned votes = 0;
    for (size_t k = 0; k < WARP; k++) {
        if (!(mask >> k & 1))
            continue;
        if (first + k >= now.threads.size())
            return false;
        const thread &other = now.threads[first + k];
        if (other.state != AT_WARP || other.mask != mask)
            return false;
        if ((other.source < 0 || t.source < 0) && other.source != t.source)
            hy_emulator::stop("lanes of one warp meet in different exchanges");
        votes |= (unsigned)(other.value != 0) << k;
    }
    uint64_t values[WARP] = {};
    for (size_t k = 0; k < WARP && first + k < now.threads.size(); k++)
        values[k] = now.threads[first + k].value;
    for (size_t k = 0; k < WARP; k++) {
        if (!(mask >> k & 1))
            continue;
        thread &other = now.threads[first + k];
        if (other.source >= 0 && !(mask >> other.source & 1))
            hy_emulator::stop("lane %zu reads lane %d, which is not in the mask %08x", k,
                              other.source, mask);
        other.value = other.source >= 0 ? values[other.source] : votes;
        other.state = READY;
    }
    return true;
}

/* Lets go on who waits for nobody any more. */
bool release(void)
{
    bool any = false, vote = false;
    size_t at_block = 0;
    for (size_t i = 0; i < now.threads.size(); i++) {
        const thread &t = now.threads[i];
        at_block += t.state == AT_BLOCK;
        vote |= t.state == AT_BLOCK && t.value;
        if (t.state == AT_WARP)
            any |= release_warp(i / WARP * WARP, t);
    }
    if (at_block + (size_t)now.done < now.threads.size())
        return any;
    for (thread &t : now.threads)
        if (t.state == AT_BLOCK) {
            t.state = READY;
            t.value = vote;
        }
    return true;
}

/* Lets the warp whose first thread this is go on by itself as far as it can. */
void drain(size_t first)
{
    const size_t end = std::min(first + WARP, now.threads.size());
    for (bool any = true; any;) {
        any = false;
        for (size_t i = first; i < end; i++)
            if (now.threads[i].state == AT_WARP)
                any |= release_warp(first, now.threads[i]);
        for (size_t i = first; i < end; i++)
            if (now.threads[i].state == READY)
                resume(now.threads[i].home);
    }
}

void run_block(const std::function<void()> &body)
{
    const size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
    now.body = &body;
    now.threads.assign(count, thread());
    now.boards.assign((count + WARP - 1) / WARP * WARP, nullptr);
    now.begun = 0;
    now.done = 0;
    choose_order(count);
    for (size_t first = 0; first < count; first = now.limit) {
        now.limit = now.eager && count - first > WARP ? first + WARP : count;
        while (now.begun < now.limit)
            resume(idle_fiber());
        if (now.eager)
            drain(first);
    }
    while (now.done < (int)count) {
        if (!release())
            hy_emulator::stop("block (%u, %u, %u): threads wait for others that never come",
                              blockIdx.x, blockIdx.y, blockIdx.z);
        for (size_t at = 0; at < count; at++) {
            const size_t i = (size_t)now.order[at];
            if (now.threads[i].state == READY)
                resume(now.threads[i].home);
            if (now.eager && (i % WARP == WARP - 1 || i + 1 == count))
                drain(i / WARP * WARP);
        }
    }
}

/* Waits until the exchange or barrier is over. */
void wait(enum state state, unsigned mask, int source, uint64_t value)
{
    thread &t = now.threads[(size_t)running->thread];
    if (state == AT_WARP && !(mask >> hy_emulator::lane() & 1))
        hy_emulator::stop("lane %d is not in the mask %08x of its own exchange",
                          hy_emulator::lane(), mask);
    t.mask = mask;
    t.source = source;
    t.value = value;
    t.state = state;
    leave();
}

} // namespace

namespace hy_emulator
{

void stop(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "emulator: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

int lane(void)
{
    return running->thread % WARP;
}

void sync_block(void)
{
    wait(AT_BLOCK, 0, 0, 0);
}

bool vote_block(bool value)
{
    wait(AT_BLOCK, 0, 0, value);
    return now.threads[(size_t)running->thread].value != 0;
}

void sync_warp(unsigned mask)
{
    wait(AT_WARP, mask, -2, 0);
}

uint64_t take(unsigned mask, uint64_t value, int source)
{
    wait(AT_WARP, mask, source, value);
    return now.threads[(size_t)running->thread].value;
}

unsigned vote(unsigned mask, bool value)
{
    wait(AT_WARP, mask, -1, value);
    return (unsigned)now.threads[(size_t)running->thread].value;
}

void **board(void)
{
    return &now.boards[(size_t)(running->thread / WARP * WARP)];
}

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body)
{
    gridDim = grid;
    blockDim = block;
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(hy_shared + shared_bytes, SHARED_MOST - shared_bytes);
#endif
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                memset(hy_shared, 0xff, shared_bytes); /* NaN: nothing is there yet */
                run_block(body);
            }
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(hy_shared, SHARED_MOST);
#endif
}

} // namespace hy_emulator
