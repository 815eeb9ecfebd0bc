// Runs a grid: blocks one after another, the threads of a block as fibers. A thread runs until it waits;
// one that never waits hands its stack to the next without a switch, so that an element-wise kernel is a
// plain loop. The next thread is picked from bit masks of the ready lanes: the lowest (forward), the
// highest (reverse) or a random one.

#include "engine.h"

#include "checker.h"

#include <mutex>
#include <sys/mman.h>
#include <utility>
#include <vector>
#ifdef CUSIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

thread_local constinit uint3 threadIdx{}, blockIdx{};
thread_local constinit dim3 blockDim, gridDim;

namespace cusim {

thread_local constinit Thread* self = nullptr;
thread_local constinit unsigned char* dynamic_shared = nullptr;

// ---- fibers -----------------------------------------------------------------------------------------
// Saves the registers that a callee must preserve, and the stack pointer to *save; goes on at `load`.
extern "C" void cusim_switch(void** save, void* load);
#if !defined(__x86_64__)
#error                                                                                             \
    "the stand-in runtime switches fibers by x86-64 code; another machine needs its own cusim_switch"
#endif
asm(R"(.text
.globl cusim_switch
cusim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

#ifdef CUSIM_ASAN
constexpr size_t stack_bytes = 256 << 10;
#else
// Not a power of two, which would put the tops of all stacks into the same cache sets.
constexpr size_t stack_bytes = (64 << 10) + 17 * 64;
#endif
constexpr int max_threads = 1024, max_masks = 40;
constexpr uint64_t canary = 0xc0dec0dec0dec0de;

struct Stack {
    char* base;
    void* pointer; // while its fiber waits
};

struct Fiber : Thread {
    struct Warp* warp;
    Stack* stack = nullptr; // null before it starts and after it ends
};

// One meeting per mask. Two buffers, so that a lane may post again while others still read.
struct Meeting {
    unsigned mask, arrived, count;
    alignas(16) unsigned char posts[2][32][16];
};

struct Warp {
    unsigned ready = 0, exists = 0;
    int number, masks = 0;
    Meeting meetings[max_masks]; // one per mask that the block has used
};

// Of one host thread.
struct Engine {
    Fiber* running = nullptr;
    void* scheduler = nullptr; // stack pointer of run_block
    std::vector<Stack> stacks;
    std::vector<Stack*> free_stacks;
    std::vector<Fiber> fibers = std::vector<Fiber>(max_threads);
    std::vector<Warp> warps = std::vector<Warp>(max_threads / 32);
    unsigned ready_warps = 0, warp_count = 0;
    int live = 0, arrived = 0; // threads that have not ended; those that wait at the barrier
    int votes = 0, last_votes = 0;
    const char* barrier_file = nullptr;
    int barrier_line = 0;
    const Call* call = nullptr;
    const void* host_stack = nullptr; // for ASan
    size_t host_stack_bytes = 0;
    uint64_t random = 1;

    Engine() {
        size_t bytes = max_threads * stack_bytes + (4 << 20);
        char* base = (char*)mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) die("no memory for the stacks of the threads");
        madvise(base, bytes, MADV_HUGEPAGE);
        for (int i = 0; i < max_threads; ++i) stacks.push_back({base + i * stack_bytes, nullptr});
        for (Stack& s : stacks) free_stacks.push_back(&s);
        CUSIM_CHECKER(cusim_check_runtime(base, bytes));
        CUSIM_CHECKER(cusim_check_runtime(fibers.data(), fibers.size() * sizeof(Fiber)));
        CUSIM_CHECKER(cusim_check_runtime(warps.data(), warps.size() * sizeof(Warp)));
    }
};
// A plain pointer: a thread_local object with a constructor costs a test at every access. Never freed.
static thread_local constinit Engine* engine = nullptr;

ThreadOrder thread_order = ThreadOrder(setting("CUSIM_ORDER", {"forward", "reverse", "random"}));

static int pick_bit(unsigned mask) {
    if (thread_order == ThreadOrder::forward) return __builtin_ctz(mask);
    if (thread_order == ThreadOrder::reverse) return 31 - __builtin_clz(mask);
    engine->random = engine->random * 6364136223846793005u + 1442695040888963407u;
    for (int k = (engine->random >> 33) % __builtin_popcount(mask); k > 0; --k) mask &= mask - 1;
    return __builtin_ctz(mask);
}

// Stays in the warp while it can: fewer stacks are live at a time.
static Fiber* pick() {
    if (!engine->ready_warps) return nullptr;
    Fiber* last = engine->running;
    bool stay = thread_order != ThreadOrder::random && last && last->warp->ready;
    int warp = stay ? last->warp->number : pick_bit(engine->ready_warps);
    return &engine->fibers[warp * 32 + pick_bit(engine->warps[warp].ready)];
}

static void set_waiting(Fiber* f) {
    f->warp->ready &= ~(1u << f->lane);
    if (!f->warp->ready) engine->ready_warps &= ~(1u << f->warp->number);
}

static void set_ready(Warp& warp, unsigned lanes) {
    warp.ready |= lanes;
    if (warp.ready) engine->ready_warps |= 1u << warp.number;
}

[[noreturn]] static void report_deadlock() {
    std::string waits;
    char line[160];
    for (unsigned w = 0; w < engine->warp_count; ++w) {
        const Warp& warp = engine->warps[w];
        for (int i = 0; i < warp.masks; ++i) {
            const Meeting& m = warp.meetings[i];
            if (!m.arrived) continue;
            snprintf(line, sizeof line, "\n  warp %u: lanes %08x wait for lanes %08x of mask %08x",
                     w, m.arrived, m.mask & ~m.arrived, m.mask);
            waits += line;
        }
    }
    if (engine->arrived) {
        snprintf(line, sizeof line, "\n  %d threads wait at __syncthreads, line %d",
                 engine->arrived, engine->barrier_line);
        waits += line;
    }
    die("deadlock in block (%u,%u,%u), %d threads are left and all wait:%s", blockIdx.x, blockIdx.y,
        blockIdx.z, engine->live, waits.c_str());
}

static void become(Fiber* f) {
    engine->running = f;
    self = f;
    if (f) threadIdx = f->index;
}

static void run_fibers();

// To the fiber `to`, or to the scheduler where it is null. `ended`: the stack that is left for good.
static void switch_to(Fiber* to, void** save, Stack* ended) {
    become(to);
    if (to && !to->stack) {
        to->stack = engine->free_stacks.back();
        engine->free_stacks.pop_back();
        memcpy(to->stack->base, &canary, sizeof canary);
        void** top = (void**)(to->stack->base + stack_bytes - 64);
        *--top = nullptr;
        *--top = (void*)run_fibers;
        for (int i = 0; i < 6; ++i) *--top = nullptr; // the saved registers
        to->stack->pointer = top;
    }
    if (ended) engine->free_stacks.push_back(ended);
#ifdef CUSIM_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(ended ? nullptr : &fake,
                                   to ? to->stack->base : engine->host_stack,
                                   to ? stack_bytes : engine->host_stack_bytes);
#endif
    cusim_switch(save, to ? to->stack->pointer : engine->scheduler);
#ifdef CUSIM_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

static void wait() {
    Fiber* f = engine->running;
    Fiber* next = pick();
    if (!next) report_deadlock();
    switch_to(next, &f->stack->pointer, nullptr);
}

static void release_barrier() {
    engine->arrived = 0, engine->barrier_file = nullptr;
    engine->last_votes = std::exchange(engine->votes, 0);
    CUSIM_CHECKER(cusim_check_block_sync());
    for (unsigned w = 0; w < engine->warp_count; ++w)
        set_ready(engine->warps[w], engine->warps[w].exists);
}

// The first frame of every stack.
static void run_fibers() {
#ifdef CUSIM_ASAN
    bool first = !engine->host_stack;
    __sanitizer_finish_switch_fiber(nullptr, first ? &engine->host_stack : nullptr,
                                    first ? &engine->host_stack_bytes : nullptr);
#endif
    for (;;) {
        engine->call->run(engine->call->arguments.get());
        Fiber* f = engine->running;
        if (memcmp(f->stack->base, &canary, sizeof canary) != 0)
            die("a thread needs more than its %zu bytes of stack", stack_bytes);
        set_waiting(f);
        f->warp->exists &= ~(1u << f->lane);
        if (--engine->live && engine->arrived == engine->live) release_barrier();
        Stack* stack = f->stack;
        f->stack = nullptr;
        Fiber* next = pick();
        if (!next && engine->live) report_deadlock();
        if (next && !next->stack) { // has not started: it takes this stack over
            next->stack = stack;
            become(next);
            continue;
        }
        void* unused;
        switch_to(next, &unused, stack);
    }
}

int block_meet(const char* file, int line, bool vote) {
    if (!engine->barrier_file) engine->barrier_file = file, engine->barrier_line = line;
    if (line != engine->barrier_line || strcmp(file, engine->barrier_file) != 0)
        die("thread %d of block (%u,%u,%u) meets the others at %s:%d, they are at the "
            "__syncthreads "
            "of %s:%d",
            self->number, blockIdx.x, blockIdx.y, blockIdx.z, file, line, engine->barrier_file,
            engine->barrier_line);
    engine->votes += vote;
    if (++engine->arrived == engine->live) {
        release_barrier();
    } else {
        set_waiting(engine->running);
        wait();
    }
    return engine->last_votes;
}

Posts warp_meet(unsigned mask, const void* value, size_t bytes, bool orders_memory) {
    Fiber* f = engine->running;
    Warp& warp = *f->warp;
    if (bytes > 16) die("a lane posts %zu bytes, 16 are the most", bytes);
    if (!(mask >> f->lane & 1)) die("lane %d is not in its own mask %08x", f->lane, mask);
    int at = 0;
    while (at < warp.masks && warp.meetings[at].mask != mask) ++at;
    if (at == max_masks) die("a warp uses more than %d masks in one block", max_masks);
    if (at == warp.masks) {
        Meeting& fresh = warp.meetings[warp.masks++];
        fresh.mask = mask, fresh.arrived = 0, fresh.count = 0;
    }
    Meeting& m = warp.meetings[at];
    unsigned buffer = m.count & 1;
    memcpy(m.posts[buffer][f->lane], value, bytes);
    m.arrived |= 1u << f->lane;
    if (m.arrived == mask) {
        m.arrived = 0, ++m.count;
        if (orders_memory) CUSIM_CHECKER(cusim_check_warp_sync(mask));
        set_ready(warp, mask);
    } else {
        set_waiting(f);
        wait();
    }
    return m.posts[buffer];
}

void note_atomic([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
    CUSIM_CHECKER(cusim_check_atomic(p, bytes, __builtin_return_address(0)));
}
void note_launches_waited_for() { CUSIM_CHECKER(cusim_check_launches_waited_for()); }
void note_blocks_seen() { CUSIM_CHECKER(cusim_check_blocks_seen()); }
void note_copy_source([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
    CUSIM_CHECKER(cusim_check_copy_source(p, bytes, __builtin_return_address(0)));
}
void note_copy_started([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
    CUSIM_CHECKER(cusim_check_copy_started(p, bytes, __builtin_return_address(0)));
}

void note_written([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
    CUSIM_CHECKER(cusim_check_library_wrote(p, bytes));
}
void note_read([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
    CUSIM_CHECKER(cusim_check_read(p, bytes));
}

// ---- blocks -----------------------------------------------------------------------------------------
static void run_block(uint3 index, dim3 block, size_t shared_bytes) {
    int threads = block.x * block.y * block.z;
    blockIdx = index;
    if (shared_bytes)
        memset(dynamic_shared, 0xff, shared_bytes); // NaN: a read before a write shows
    engine->warp_count = (threads + 31) / 32;
    engine->ready_warps = 0, engine->arrived = 0, engine->votes = 0;
    engine->barrier_file = nullptr;
    engine->live = threads;
    for (unsigned w = 0; w < engine->warp_count; ++w) {
        Warp& warp = engine->warps[w];
        int lanes = std::min(32, threads - int(w) * 32);
        warp.number = w, warp.ready = 0;
        warp.exists = lanes == 32 ? ~0u : (1u << lanes) - 1;
        warp.masks = 0;
        set_ready(warp, warp.exists);
    }
    for (int i = 0; i < threads; ++i) {
        Fiber& f = engine->fibers[i];
        f.index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        f.number = i, f.lane = i % 32;
        f.warp = &engine->warps[i / 32], f.stack = nullptr;
    }
    CUSIM_CHECKER(cusim_check_block_start(dynamic_shared, shared_bytes));
    engine->running = nullptr;
    switch_to(pick(), &engine->scheduler, nullptr);
}

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const Call& call,
              [[maybe_unused]] bool may_begin_early) {
    static std::mutex one_kernel; // static shared memory: one at a time, however many host threads
    std::lock_guard hold(one_kernel);
    if (!engine) engine = new Engine;
    CUSIM_CHECKER(cusim_check_launch(call.arguments.get(), call.bytes, may_begin_early));
    size_t blocks = size_t(grid.x) * grid.y * grid.z;
    std::vector<size_t> list(blocks);
    for (size_t i = 0; i < blocks; ++i)
        list[i] = thread_order == ThreadOrder::reverse ? blocks - 1 - i : i;
    if (thread_order == ThreadOrder::random)
        std::shuffle(list.begin(), list.end(), random_numbers());
    engine->random = random_numbers()();
    engine->call = &call;
    blockDim = block, gridDim = grid;
    void* shared = nullptr;
    if (shared_bytes && posix_memalign(&shared, 1024, shared_bytes)) die("no memory for a block");
    dynamic_shared = (unsigned char*)shared;
    for (size_t k : list) {
        unsigned x = k % grid.x, y = k / grid.x % grid.y, z = k / grid.x / grid.y;
        run_block({x, y, z}, block, shared_bytes);
    }
    free(shared);
}

} // namespace cusim
