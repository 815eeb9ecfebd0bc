// Access checker: races, reads of what was never written, and accesses outside of device memory, by the
// GPU's rules. The .cu files are compiled with -fsanitize=thread, whose calls before every access end here
// instead of in libtsan.
//
// - Two threads of a block are ordered by __syncthreads alone, two lanes of a warp by __syncwarp, too
//   (a vector clock per lane; shuffles order nothing), threads of different blocks by nothing.
// - Atomics do not race with atomics.
// - An asynchronous copy writes from its start to the wait for it; in between there is no value to read.
// - Shared memory and fresh device memory hold no value until they are written. Copies and libraries write
//   all that they are said to write.
// - Launches are ordered, but for one that may begin early (programmatic dependent launch): before a thread
//   of it has waited, it may write nothing, and read nothing that was written since the last launch that did
//   not begin early. What different streams do at the same time is not modelled (the stream orders are for that).
// - A block that has learnt by an atomic that the others are done is ordered after those that have run; that
//   they have fenced before is not checked.

#include "checker.h"

#include "engine.h"

#include <bitset>
#include <map>
#include <set>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

struct Access {
    uint32_t block = 0;   // serial number of the block's run, counted over all launches; 0: none
    uint32_t barrier = 0; // how many barriers the block had passed
    uint32_t clock = 0;   // of the lane
    uint32_t place = 0;   // program counter; the program is linked below 4 GiB
    uint16_t thread = 0;
    bool atomic = false;
};
struct Cell { // of 2 bytes, a bf16
    Access write, reads[2];
    bool written = false;
};
struct Page {
    static constexpr size_t bytes = 4096;
    std::unique_ptr<Cell[]> cells; // none: as `written` says, not accessed by a kernel yet
    bool written = false;
    uint32_t writer = 0; // a library's call, counted as blocks are
    uint32_t block = 0;  // shared memory: the run that the cells are of

    Cell& at(uintptr_t address) {
        if (!cells) {
            cells.reset(new Cell[bytes / 2]);
            if (written)
                for (size_t i = 0; i < bytes / 2; ++i)
                    cells[i].written = true, cells[i].write.block = writer;
        }
        return cells[address % bytes / 2];
    }
};

std::map<uintptr_t, Page> pages; // by address / Page::bytes
std::map<uintptr_t, size_t> device_blocks;
std::vector<std::pair<uintptr_t, size_t>>
    runtime_ranges; // the engine's own, which kernels' code reads
std::pair<uintptr_t, size_t> dynamic_range, argument_range;
uint32_t block_serial = 0, launch_first = 1, barrier = 0;
uint32_t chain_first = 1;     // the first block of the last launch that did not begin early
bool early = false;           // the launch that runs now may have begun early
std::bitset<1024> has_waited; // its threads, for the launches before
bool blocks_seen = false;     // the block knows that the others are done
uint32_t clocks[32][32][32];  // warp, lane: what the lane knows of every lane
std::vector<std::string> reports;
std::set<std::tuple<std::string, uint32_t, uint32_t>> reported;

extern "C" char __executable_start, __bss_start, _end; // static shared memory lies in .bss

bool in(const std::pair<uintptr_t, size_t>& range, uintptr_t a) {
    return a - range.first < range.second;
}

const std::string& source_line(uint32_t place) {
    static std::map<uint32_t, std::string> known;
    auto [entry, fresh] = known.try_emplace(place, "?");
    if (!fresh) return entry->second;
    char command[160], line[512];
    snprintf(command, sizeof command, "addr2line -Cse /proc/%d/exe %#x", int(getpid()), place - 1);
    if (FILE* out = popen(command, "r")) {
        if (fgets(line, sizeof line, out)) entry->second.assign(line, strcspn(line, "\n"));
        pclose(out);
    }
    return entry->second;
}

// Each fault of a pair of places once.
void report(const char* what, const char* memory, uint32_t place, const Access* other) {
    if (!reported.insert({what, place, other ? other->place : 0}).second) return;
    char text[200];
    snprintf(text, sizeof text, "%s in %s memory by block (%u,%u,%u) thread %d at ", what, memory,
             blockIdx.x, blockIdx.y, blockIdx.z, cusim::self ? cusim::self->number : -1);
    std::string line = text + source_line(place);
    if (other) {
        snprintf(text, sizeof text, ", other access by thread %d of %s block at ", other->thread,
                 other->block == block_serial ? "the same" : "another");
        line += text + source_line(other->place);
    }
    reports.push_back(line);
}

// Whether nothing orders the earlier access before one of the running thread.
bool unordered(const Access& earlier, bool shared) {
    if (earlier.block < launch_first) return false; // launches are ordered
    if (earlier.block != block_serial) return !shared && !blocks_seen;
    int me = cusim::self->number, other = earlier.thread;
    if (other == me || earlier.barrier != barrier) return false;
    bool same_warp = other / 32 == me / 32;
    return !(same_warp && clocks[me / 32][me % 32][other % 32] >= earlier.clock);
}

Page& page_of(uintptr_t address) {
    static uintptr_t last_number = ~0ull;
    static Page* last = nullptr;
    if (address / Page::bytes != last_number) {
        last_number = address / Page::bytes;
        last = &pages[last_number];
    }
    return *last;
}

bool is_device(uintptr_t a, size_t bytes) {
    static std::pair<uintptr_t, size_t> last;
    static uintptr_t last_end_of_map = 0; // a change of the list forgets the last
    if (last_end_of_map == device_blocks.size() && in(last, a) && in(last, a + bytes - 1))
        return true;
    auto next = device_blocks.upper_bound(a);
    if (next == device_blocks.begin()) return false;
    last = *std::prev(next), last_end_of_map = device_blocks.size();
    return in(last, a) && in(last, a + bytes - 1);
}

// What the running kernel has allocated: the host versions of instructions may hold a std::vector.
std::map<uintptr_t, size_t> kernel_heap;
thread_local constinit bool noting = false;

// What kernels' code may touch besides device and shared memory: constants, its stack, its arguments,
// thread_local variables (threadIdx) and what warp functions exchange.
bool is_own(uintptr_t a) {
    if (a >= (uintptr_t)&__executable_start && a < (uintptr_t)&__bss_start) return true;
    if (in(argument_range, a)) return true;
    uintptr_t tls = (uintptr_t)__builtin_thread_pointer();
    if (a >= tls - (64 << 10) && a < tls + 4096) return true;
    for (const auto& range : runtime_ranges)
        if (in(range, a)) return true;
    auto next = kernel_heap.upper_bound(a);
    return next != kernel_heap.begin() && in(*std::prev(next), a);
}

// started: the write of an asynchronous copy, whose value is not there yet.
void access(uintptr_t address, size_t bytes, bool write, bool atomic, void* return_address,
            bool started = false) {
    if (!cusim::self) return; // host code of a .cu file
    uint32_t place = (uint32_t)(uintptr_t)return_address;
    bool is_static = address >= (uintptr_t)&__bss_start && address < (uintptr_t)&_end;
    bool shared = is_static || in(dynamic_range, address);
    if (!shared && !is_device(address, bytes)) {
        if (!is_own(address)) report(write ? "a write" : "a read", "host or freed", place, nullptr);
        return;
    }
    const char* memory = shared ? "shared" : "device";
    int me = cusim::self->number;
    uint32_t clock = clocks[me / 32][me % 32][me % 32];
    Access now{block_serial, barrier, clock, place, (uint16_t)me, atomic};
    for (uintptr_t a = address & ~1ull; a < address + bytes; a += 2) {
        Page& page = page_of(a);
        if (shared && page.block != block_serial) {
            page.cells.reset();
            page.written = false, page.block = block_serial;
        }
        Cell& cell = page.at(a);
        const char* fault = nullptr;
        const Access* other = nullptr;
        if (!cell.written && (!write || atomic)) fault = "read of uninitialised data";
        if (unordered(cell.write, shared) && !(atomic && cell.write.atomic))
            fault = write ? "write-write race" : "read-write race", other = &cell.write;
        if (early && !shared && !has_waited[me]) {
            const bool in_chain =
                cell.write.block >= chain_first && cell.write.block < launch_first;
            if (write) fault = "write before the wait for earlier launches";
            if (!write && in_chain)
                fault = "read before the wait for the launch that wrote it", other = &cell.write;
        }
        for (const Access& read : cell.reads)
            if (write && unordered(read, shared) && !(atomic && read.atomic))
                fault = "write-read race", other = &read;
        if (fault) {
            report(fault, memory, place, other);
            cell = Cell{}; // once is enough
            cell.written = true;
        }
        if (write) {
            cell.write = now, cell.written = !started;
        } else {
            if (cell.reads[0].thread != me || cell.reads[0].block != block_serial)
                cell.reads[1] = cell.reads[0];
            cell.reads[0] = now;
        }
        if (fault) return;
    }
}

// Forgets the accesses to device memory; what it holds is `written`, by a library's call or the host (0).
void reset(uintptr_t address, size_t bytes, bool written, uint32_t writer = 0) {
    for (uintptr_t a = address; a < address + bytes;) {
        uintptr_t page_end = (a / Page::bytes + 1) * Page::bytes;
        uintptr_t end = std::min(page_end, address + bytes);
        Page& page = page_of(a);
        if (a % Page::bytes == 0 && end == page_end) {
            page.cells.reset();
            page.written = written, page.writer = writer;
        } else {
            for (uintptr_t b = a & ~1ull; b < end; b += 2) page.at(b) = Cell{{writer}, {}, written};
        }
        a = end;
    }
}

} // namespace

void* operator new(size_t bytes) {
    void* p = malloc(bytes ? bytes : 1);
    if (!p) cusim::die("out of memory");
    if (cusim::self && !noting) {
        noting = true;
        kernel_heap[(uintptr_t)p] = bytes;
        noting = false;
    }
    return p;
}
void operator delete(void* p) noexcept {
    if (cusim::self && !noting) {
        noting = true;
        kernel_heap.erase((uintptr_t)p);
        noting = false;
    }
    free(p);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

extern "C" {

void cusim_check_runtime(const void* p, size_t bytes) {
    runtime_ranges.push_back({(uintptr_t)p, bytes});
}
void cusim_check_launch(const void* arguments, size_t bytes, bool may_begin_early) {
    argument_range = {(uintptr_t)arguments, bytes};
    kernel_heap.clear();
    launch_first = block_serial + 1, early = may_begin_early;
    if (!early) chain_first = launch_first;
}
void cusim_check_block_start(const void* dynamic_shared, size_t bytes) {
    dynamic_range = {(uintptr_t)dynamic_shared, bytes};
    ++block_serial, barrier = 0;
    has_waited.reset(), blocks_seen = false;
    for (auto& warp : clocks)
        for (int i = 0; i < 32; ++i)
            for (int k = 0; k < 32; ++k) warp[i][k] = i == k;
}
void cusim_check_block_sync() { ++barrier; }
void cusim_check_warp_sync(unsigned mask) {
    auto& warp = clocks[cusim::self->number / 32];
    uint32_t joined[32] = {};
    for (int i = 0; i < 32; ++i)
        for (int k = 0; k < 32 && mask >> i & 1; ++k) joined[k] = std::max(joined[k], warp[i][k]);
    for (int i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        memcpy(warp[i], joined, sizeof joined);
        ++warp[i][i];
    }
}
void cusim_check_atomic(const void* p, size_t bytes, void* place) {
    access((uintptr_t)p, bytes, true, true, place);
}
void cusim_check_launches_waited_for() { has_waited[cusim::self->number] = true; }
void cusim_check_blocks_seen() { blocks_seen = true; }
void cusim_check_copy_source(const void* from, size_t bytes, void* place) {
    access((uintptr_t)from, bytes, false, false, place);
}
void cusim_check_copy_started(const void* to, size_t bytes, void* place) {
    access((uintptr_t)to, bytes, true, false, place, true);
}
void cusim_check_allocated(const void* p, size_t bytes) {
    device_blocks[(uintptr_t)p] = bytes;
    reset((uintptr_t)p, bytes, false);
}
void cusim_check_freed(const void* p) {
    auto block = device_blocks.find((uintptr_t)p);
    reset(block->first, block->second, false);
    device_blocks.erase(block);
}
// A copy, which nothing runs beside.
void cusim_check_written(const void* p, size_t bytes) {
    chain_first = block_serial + 1;
    if (is_device((uintptr_t)p, bytes)) reset((uintptr_t)p, bytes, true);
}
void cusim_check_library_wrote(const void* p, size_t bytes) {
    chain_first = ++block_serial;
    if (is_device((uintptr_t)p, bytes)) reset((uintptr_t)p, bytes, true, block_serial);
}
void cusim_check_read(const void* p, size_t bytes) {
    for (uintptr_t a = (uintptr_t)p; a < (uintptr_t)p + bytes; a += 2) {
        Page& page = page_of(a);
        if (page.cells ? page.cells[a % Page::bytes / 2].written : page.written) continue;
        return report("a library's read of uninitialised data", "device", 1, nullptr);
    }
}

// ---- what -fsanitize=thread calls -------------------------------------------------------------------
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define PLACE __builtin_return_address(0)
// A vector access that is not aligned is a fault of the device, and often of the CPU.
static void check_aligned(const void* p, size_t bytes, void* place) {
    if ((uintptr_t)p % bytes && cusim::self)
        cusim::die("a misaligned access of %zu bytes at %s", bytes,
                   source_line((uint32_t)(uintptr_t)place).c_str());
}
#define CUSIM_ACCESSES(n)                                                                          \
    void __tsan_read##n(void* p) {                                                                 \
        check_aligned(p, n, PLACE);                                                                \
        access((uintptr_t)p, n, false, false, PLACE);                                              \
    }                                                                                              \
    void __tsan_write##n(void* p) {                                                                \
        check_aligned(p, n, PLACE);                                                                \
        access((uintptr_t)p, n, true, false, PLACE);                                               \
    }                                                                                              \
    void __tsan_unaligned_read##n(void* p) { access((uintptr_t)p, n, false, false, PLACE); }       \
    void __tsan_unaligned_write##n(void* p) { access((uintptr_t)p, n, true, false, PLACE); }
CUSIM_ACCESSES(1)
CUSIM_ACCESSES(2)
CUSIM_ACCESSES(4)
CUSIM_ACCESSES(8)
CUSIM_ACCESSES(16)
void __tsan_read_range(void* p, size_t bytes) { access((uintptr_t)p, bytes, false, false, PLACE); }
void __tsan_write_range(void* p, size_t bytes) { access((uintptr_t)p, bytes, true, false, PLACE); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
    access((uintptr_t)from, bytes, false, false, PLACE);
    access((uintptr_t)to, bytes, true, false, PLACE);
    return memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
    access((uintptr_t)from, bytes, false, false, PLACE);
    access((uintptr_t)to, bytes, true, false, PLACE);
    return memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
    access((uintptr_t)to, bytes, true, false, PLACE);
    return memset(to, value, bytes);
}

// Host code of the .cu files: reference counts and the guards of static variables.
#define CUSIM_ATOMICS(bits, T)                                                                     \
    T __tsan_atomic##bits##_load(const volatile T* p, int) {                                       \
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);                                               \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) {                                   \
        return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);                                         \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) {                                   \
        return __atomic_fetch_sub(p, v, __ATOMIC_ACQ_REL);                                         \
    }
CUSIM_ATOMICS(8, uint8_t)
CUSIM_ATOMICS(32, uint32_t)
CUSIM_ATOMICS(64, uint64_t)

} // extern "C"

namespace cusim {
std::vector<std::string> take_reports() {
    reported.clear();
    return std::exchange(reports, {});
}
} // namespace cusim
