// Device memory, pinned host memory and copies. Fresh memory is NaN in f32 and bf16 (all bits set). Device
// memory lies in one range of addresses that faults when host code reads or writes it outside of a copy.
// Copies from pageable memory are staged at the call; pinned memory is read when the copy runs, so that
// a buffer that is reused too early shows. Under ASan device memory is the heap, where every allocation has
// red zones, and is not hidden from the host.

#include "checker.h"
#include "engine.h"

#include <map>
#include <mutex>
#include <sys/mman.h>
#include <vector>

using cusim::note_error;

namespace {

std::mutex lock;
std::map<const char*, size_t> device_blocks, pinned_blocks; // address: bytes
size_t device_used = 0;

bool inside(const std::map<const char*, size_t>& blocks, const void* p, size_t bytes) {
    auto next = blocks.upper_bound((const char*)p);
    if (next == blocks.begin()) return false;
    auto& [start, size] = *std::prev(next);
    return (const char*)p + bytes <= start + size;
}

size_t device_total() {
    return size_t(cusim::number_setting("CUSIM_MEMORY_MIB").value_or(16 << 10)) << 20;
}

#ifdef CUSIM_ASAN
void* take(size_t bytes) {
    void* p = nullptr;
    return posix_memalign(&p, 256, bytes) ? nullptr : p;
}
void give_back(void* p, size_t) { free(p); }
void set_access(bool) {}
#else
// Pages of a reserved range. `end` is the highest address ever used: what set_access has to cover, in huge
// pages, so that it takes microseconds.
constexpr size_t range_bytes = size_t(1) << 40, page = 4096, huge_page = 2 << 20;
char* range = nullptr;
size_t end = 0;
int accessing = 0;             // threads inside of a DeviceAccess
std::map<size_t, size_t> gaps; // offset: bytes, of what was given back

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
size_t pages(size_t bytes) { return rounded(bytes, page); }

void set_access(bool allowed) {
    std::lock_guard hold(lock);
    accessing += allowed ? 1 : -1;
    if (end && accessing == (allowed ? 1 : 0) &&
        mprotect(range, rounded(end, huge_page), allowed ? PROT_READ | PROT_WRITE : PROT_NONE))
        cusim::die("mprotect failed on the device's memory");
}

void* take(size_t bytes) {
    if (!range) {
        void* p = mmap(nullptr, range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
        if (p == MAP_FAILED) cusim::die("no room for the device's addresses");
        range = (char*)rounded((size_t)p, huge_page);
        madvise(range, range_bytes - huge_page, MADV_HUGEPAGE);
    }
    bytes = pages(bytes);
    size_t at = end;
    auto gap = gaps.begin();
    while (gap != gaps.end() && gap->second < bytes) ++gap;
    if (gap != gaps.end()) {
        at = gap->first;
        if (gap->second > bytes) gaps[at + bytes] = gap->second - bytes;
        gaps.erase(gap);
    } else {
        if (end + bytes > range_bytes - huge_page) return nullptr;
        end += bytes;
    }
    if (accessing) mprotect(range, rounded(end, huge_page), PROT_READ | PROT_WRITE);
    return range + at;
}

void give_back(void* p, size_t bytes) {
    size_t at = (char*)p - range;
    bytes = pages(bytes);
    madvise(p, bytes, MADV_DONTNEED);
    auto next = gaps.lower_bound(at);
    if (next != gaps.end() && next->first == at + bytes) {
        bytes += next->second;
        next = gaps.erase(next);
    }
    if (next != gaps.begin() && std::prev(next)->first + std::prev(next)->second == at)
        std::prev(next)->second += bytes;
    else
        gaps[at] = bytes;
}
#endif

thread_local int access_depth = 0;

// Both ends of a copy, by its kind; a null pointer is host memory that is given by value.
bool ends_are_right(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    std::lock_guard hold(lock);
    bool to_device = inside(device_blocks, to, bytes);
    bool from_device = inside(device_blocks, from, bytes);
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
        return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
        return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
        return to_device && from_device;
    case cudaMemcpyDefault:
        return true;
    }
    return false;
}

bool is_pinned(const void* p, size_t bytes) {
    std::lock_guard hold(lock);
    return inside(pinned_blocks, p, bytes);
}

} // namespace

namespace cusim {
DeviceAccess::DeviceAccess() {
    if (!access_depth++) set_access(true);
}
DeviceAccess::~DeviceAccess() {
    if (!--access_depth) set_access(false);
}
bool is_device(const void* p, size_t bytes) {
    std::lock_guard hold(lock);
    return inside(device_blocks, p, bytes);
}
} // namespace cusim

// ---- allocations ------------------------------------------------------------------------------------
cudaError_t cudaMalloc(void** p, size_t bytes) {
    *p = nullptr;
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    if (!bytes) return cudaSuccess;
    {
        std::lock_guard hold(lock);
        if (device_used + bytes > device_total() || !(*p = take(bytes)))
            return note_error(cudaErrorMemoryAllocation);
        device_used += bytes;
        device_blocks[(char*)*p] = bytes;
    }
    cusim::DeviceAccess access;
    memset(*p, 0xff, bytes);
    CUSIM_CHECKER(cusim_check_allocated(*p, bytes));
    return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
    if (!p) return cudaSuccess;
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    cusim::finish_all_streams();
    std::lock_guard hold(lock);
    auto block = device_blocks.find((char*)p);
    if (block == device_blocks.end()) return note_error(cudaErrorInvalidValue);
    CUSIM_CHECKER(cusim_check_freed(p));
    device_used -= block->second;
    give_back(p, block->second);
    device_blocks.erase(block);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    if (posix_memalign(p, 4096, std::max<size_t>(bytes, 1)))
        return note_error(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    std::lock_guard hold(lock);
    pinned_blocks[(char*)*p] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* p) {
    if (!p) return cudaSuccess;
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    cusim::finish_all_streams();
    std::lock_guard hold(lock);
    if (!pinned_blocks.erase((char*)p)) return note_error(cudaErrorInvalidValue);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
    std::lock_guard hold(lock);
    *total = device_total();
    *free_bytes = *total - std::min(*total, device_used);
    return cudaSuccess;
}

// ---- copies -----------------------------------------------------------------------------------------
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (!bytes) return cudaSuccess;
    if (!ends_are_right(to, from, bytes, kind)) return note_error(cudaErrorInvalidValue);
    bool to_device = cusim::is_device(to, bytes), from_device = cusim::is_device(from, bytes);
    std::shared_ptr<std::vector<char>> staged;
    if (to_device && !from_device && !is_pinned(from, bytes))
        staged = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + bytes);
    cusim::enqueue(stream, [=] {
        memmove(to, staged ? staged->data() : from, bytes);
        CUSIM_CHECKER(cusim_check_written(to, bytes));
    });
    bool waits = !to_device && !is_pinned(to, bytes);
    return waits ? cudaStreamSynchronize(stream) : cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr)) return error;
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
    if (!bytes) return cudaSuccess;
    if (!cusim::is_device(p, bytes)) return note_error(cudaErrorInvalidValue);
    cusim::enqueue(stream, [=] {
        memset(p, value, bytes);
        CUSIM_CHECKER(cusim_check_written(p, bytes));
    });
    return cudaSuccess;
}

cudaError_t cudaMemset(void* p, int value, size_t bytes) {
    return cudaMemsetAsync(p, value, bytes, nullptr);
}
