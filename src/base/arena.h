#pragma once
// One arena per lifetime: parameters, gradients, optimiser state, activations, key/value cache.
// Sizes are never written twice: a layout function takes tensors from an arena; run once on a
// counting arena it yields the size, run again on a real one the pointers.
//
//     Arena arena("activations");                 // counts
//     layout(arena);                              // tensors without memory
//     arena.allocate(ops.alloc, ops.free);        // one block; out of memory names the ten largest
//     layout(arena);                              // the same calls, now with memory

#include "base/tensor.h"

#include <functional>
#include <vector>

struct Arena {
    struct Entry {
        std::string name;
        Tensor tensor;
    };

    explicit Arena(std::string name_) : name(std::move(name_)) {}
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() { release(); }

    // The next tensor, 64-byte aligned. Fails if the second pass takes other tensors than the first.
    Tensor take(const std::string& tensor_name, DType dtype, std::initializer_list<int64_t> shape);

    // Leaves a gap, so that the next tensor begins at a multiple of so many bytes.
    void align(size_t bytes);

    // Ends the counting pass. Memory is zeroed. The default allocator is the host's.
    void allocate(void* (*alloc)(size_t bytes) = nullptr, void (*free)(void*) = nullptr);
    void release();

    // Everything from `mark` on may be taken again (scratch of one pass); high_water remembers.
    size_t mark() const { return used; }
    void rewind(size_t mark_) { used = mark_; }

    std::string largest(int count) const; // one line per tensor, for reports and out of memory

    std::string name;
    std::vector<Entry> entries; // of the counting pass, in order
    void* memory = nullptr;
    size_t used = 0, high_water = 0, capacity = 0; // bytes

private:
    void (*free_memory)(void*) = nullptr;
};
