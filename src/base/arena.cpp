#include "base/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

// Large blocks come from mmap: zero pages, huge ones where the kernel gives them.
static void* host_alloc(size_t bytes) {
    void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) return nullptr;
    if (bytes >= (size_t)4 << 20) madvise(memory, bytes, MADV_HUGEPAGE);
    return std::memset(memory, 0, bytes);
}

Tensor Arena::take(const std::string& tensor_name, DType dtype,
                   std::initializer_list<int64_t> shape) {
    Tensor tensor(nullptr, dtype, shape);
    size_t bytes = (tensor.bytes() + 63) / 64 * 64;
    if (memory) {
        CHECK(used + bytes <= capacity, "arena %s: %s %s does not fit: %zu of %zu bytes are taken",
              name.c_str(), tensor_name.c_str(), shape_text(tensor).c_str(), used, capacity);
        tensor.data = static_cast<char*>(memory) + used;
    } else {
        entries.push_back({tensor_name, tensor});
    }
    used += bytes;
    high_water = std::max(high_water, used);
    return tensor;
}

void Arena::align(size_t bytes) {
    used = (used + bytes - 1) / bytes * bytes;
    CHECK(!memory || used <= capacity, "arena %s: the gap up to %zu bytes does not fit",
          name.c_str(), used);
    high_water = std::max(high_water, used);
}

void Arena::allocate(void* (*alloc)(size_t), void (*free)(void*)) {
    CHECK(!memory, "arena %s was allocated twice", name.c_str());
    capacity = std::max<size_t>(high_water, 64);
    memory = (alloc ? alloc : host_alloc)(capacity);
    CHECK(
        memory,
        "out of memory: %s needs %.2f GiB; the largest parts are\n%s"
        "lower train.tokens_per_micro_batch or sample.batch, set compute.recompute=true, use more "
        "GPUs (mpirun -n N) or a smaller model; rlhf info with memory_gib=N shows the whole plan",
        name.c_str(), capacity / 1073741824.0, largest(10).c_str());
    free_memory = free ? free : std::free;
    used = high_water = 0;
}

void Arena::release() {
    if (memory) free_memory(memory);
    memory = nullptr;
    entries.clear();
    used = high_water = capacity = 0;
}

std::string Arena::largest(int count) const {
    std::vector<const Entry*> order;
    for (const Entry& entry : entries) order.push_back(&entry);
    std::stable_sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) {
        return a->tensor.bytes() > b->tensor.bytes();
    });
    std::string text;
    for (int i = 0; i < count && i < (int)order.size(); ++i)
        text += format("  %10.1f MiB  %s %s\n", order[i]->tensor.bytes() / 1048576.0,
                       order[i]->name.c_str(), shape_text(order[i]->tensor).c_str());
    return text;
}
