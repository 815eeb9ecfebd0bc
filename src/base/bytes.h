#pragma once
// Values in a row of bytes, for messages between processes of one machine type.

#include "base/check.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

struct ByteWriter {
    std::string bytes;
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void put(const T& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); }
    template <class T> void put(const std::vector<T>& values) {
        put((int64_t)values.size());
        bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    }
};

struct ByteReader {
    const std::string& bytes;
    size_t at = 0;
    bool more() const { return at < bytes.size(); }
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void get(T& value) { copy(&value, sizeof value); }
    template <class T> void get(std::vector<T>& values) {
        int64_t count = 0;
        get(count);
        values.resize((size_t)count);
        if (count) copy(values.data(), (size_t)count * sizeof(T));
    }

private:
    void copy(void* to, size_t count) {
        CHECK(bytes.size() - at >= count, "a message of another process is cut off");
        std::memcpy(to, bytes.data() + at, count);
        at += count;
    }
};
