// Memory of the CPU backend: the host's, 64-byte aligned.

#include "ops/install.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>

namespace cpu {

// Calls f(first, bytes) for pieces of so many bytes. Each thread takes a contiguous part, the one that it also takes
// of an op's rows; on a machine with several memory controllers the pages that are touched first spread so.
template <class F> static void in_pieces(size_t bytes, const F& f) {
    const size_t piece = 64 << 10, pieces = (bytes + piece - 1) / piece;
    each_row((int64_t)pieces, pieces > 4,
             [&](int64_t i) { f(i * piece, std::min(piece, bytes - i * piece)); });
}

static void parallel_zero(void* memory, size_t bytes) {
    in_pieces(bytes, [&](size_t at, size_t count) { std::memset((char*)memory + at, 0, count); });
}

// Large blocks that were freed wait for the next request of their size: a step draws with a cache that is
// laid out anew, and giving its pages back and faulting them in again costs more than zeroing them. A
// request that none of them answers frees them first, so that they never add to a new peak.
struct Blocks {
    std::map<void*, size_t> size;      // of all large ones
    std::multimap<size_t, void*> kept; // those that wait
};
static Blocks& blocks() {
    static Blocks& instance = *new Blocks; // outlives whatever frees memory at exit
    return instance;
}

static void* allocate(size_t bytes) {
    // Large blocks lie on huge pages where the kernel has them: fewer misses of the address cache.
    const bool large = bytes >= (8 << 20);
    const size_t align = large ? 2 << 20 : 64, size = (bytes + align - 1) / align * align;
    void* memory = nullptr;
    if (auto at = blocks().kept.find(size); large && at != blocks().kept.end()) {
        memory = at->second;
        blocks().kept.erase(at);
    } else {
        if (large) {
            for (auto& [kept_size, block] : blocks().kept)
                blocks().size.erase(block), std::free(block);
            blocks().kept.clear();
        }
        memory = std::aligned_alloc(align, size ? size : align);
        if (!memory) return nullptr;
        if (large) madvise(memory, size, MADV_HUGEPAGE); // a wish: it may be refused
        if (large) blocks().size[memory] = size;
    }
    parallel_zero(memory, bytes);
    return memory;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool keeps = false; // so that a use after free shows
#else
constexpr bool keeps = true;
#endif

static void release(void* memory) {
    if (auto at = blocks().size.find(memory); keeps && at != blocks().size.end())
        blocks().kept.emplace(at->second, memory);
    else
        std::free(memory);
}

static void upload(Tensor device, const void* host) {
    std::memcpy(device.data, host, device.bytes());
}

static void download(void* host, Tensor device) { std::memcpy(host, device.data, device.bytes()); }

static void fill_zero(Tensor x) { parallel_zero(x.data, x.bytes()); }

static void copy(Tensor y, Tensor x) {
    CHECK(y.dtype == x.dtype && y.size() == x.size(), "copy: y is %s, x is %s",
          shape_text(y).c_str(), shape_text(x).c_str());
    in_pieces(x.bytes(), [&](size_t at, size_t count) {
        std::memcpy((char*)y.data + at, (char*)x.data + at, count);
    });
}

template <class T> void install_memory(Ops& ops) {
    ops.alloc = allocate;
    ops.free = release;
    ops.upload = upload;
    ops.download = download;
    ops.fill_zero = fill_zero;
    ops.copy = copy;
}
template void install_memory<float>(Ops&);
template void install_memory<double>(Ops&);

} // namespace cpu
