#include "report/tensorboard.h"

#include "base/file.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

// ---- records ------------------------------------------------------------------------------------

uint32_t crc32c(const std::string& bytes) {
    static const std::array<uint32_t, 256> table = [] {
        std::array<uint32_t, 256> t{};
        for (uint32_t i = 0; i < 256; ++i) {
            t[i] = i;
            for (int bit = 0; bit < 8; ++bit) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82F63B78u : 0);
        }
        return t;
    }();
    uint32_t crc = ~0u;
    for (char c : bytes) crc = crc >> 8 ^ table[(crc ^ (uint8_t)c) & 255];
    return ~crc;
}

static void put_little_endian(std::string& out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += (char)(value >> 8 * i);
}

static uint64_t get_little_endian(const char* at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= (uint64_t)(uint8_t)at[i] << 8 * i;
    return value;
}

static uint32_t masked_crc(const std::string& bytes) {
    uint32_t crc = crc32c(bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

std::string tf_record(const std::string& data) {
    std::string out;
    put_little_endian(out, data.size(), 8);
    put_little_endian(out, masked_crc(out), 4);
    out += data;
    put_little_endian(out, masked_crc(data), 4);
    return out;
}

// ---- messages -----------------------------------------------------------------------------------

static void put_varint(std::string& out, uint64_t value) {
    for (; value >= 128; value >>= 7) out += (char)(value | 128);
    out += (char)value;
}

// Keys are field << 3 | wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
static void put_bytes(std::string& out, int field, const std::string& bytes) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.size());
    out += bytes;
}

static std::string event(double wall_time) {
    std::string out;
    uint64_t bits;
    std::memcpy(&bits, &wall_time, 8);
    put_varint(out, 1 << 3 | 1);
    put_little_endian(out, bits, 8);
    return out;
}

std::string version_event(double wall_time) {
    std::string out = event(wall_time);
    put_bytes(out, 3, "brain.Event:2");
    return out;
}

std::string scalar_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars) {
    std::string summary;
    for (const Scalar& scalar : scalars) {
        std::string value;
        put_bytes(value, 1, scalar.tag);
        float number = (float)scalar.value;
        uint32_t bits;
        std::memcpy(&bits, &number, 4);
        put_varint(value, 2 << 3 | 5);
        put_little_endian(value, bits, 4);
        put_bytes(summary, 1, value);
    }
    std::string out = event(wall_time);
    put_varint(out, 2 << 3 | 0);
    put_varint(out, (uint64_t)step);
    put_bytes(out, 5, summary);
    return out;
}

std::vector<Scalar> scalars_of(const Json& line) {
    std::vector<Scalar> scalars;
    for (auto& [key, value] : line.items()) {
        if (value.is_number() && key != "step") scalars.push_back({key, value.get<double>()});
        if (!value.is_object()) continue;
        for (const Scalar& inner : scalars_of(value))
            scalars.push_back({key + "/" + inner.tag, inner.value});
    }
    return scalars;
}

// ---- the file of a run --------------------------------------------------------------------------

static const std::string name_begins = "events.out.tfevents.";

static double seconds_since_1970() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// Step of a message as scalar_event writes it: behind the nine bytes of the time. -1: of another kind.
static int64_t step_of(const std::string& data) {
    const size_t time = 9;
    if (data.size() <= time || data[time] != 2 << 3) return -1;
    uint64_t step = 0;
    int shift = 0;
    for (size_t i = time + 1; i < data.size() && shift < 64; ++i, shift += 7) {
        step |= (uint64_t)(data[i] & 127) << shift;
        if (!(data[i] & 128)) return (int64_t)step;
    }
    return -1;
}

// The whole records of a file whose step is 1 .. last_step.
static std::string records_up_to(const std::string& bytes, int64_t last_step) {
    std::string kept;
    size_t at = 0;
    while (bytes.size() - at >= 16) {
        uint64_t length = get_little_endian(bytes.data() + at, 8);
        if (length > bytes.size() - at - 16) break;
        std::string data = bytes.substr(at + 12, length), record = tf_record(data);
        if (bytes.compare(at, record.size(), record) != 0) break; // a checksum is wrong
        int64_t step = step_of(data);
        if (step >= 1 && step <= last_step) kept += record;
        at += record.size();
    }
    return kept;
}

EventLog::~EventLog() {
    if (file) std::fclose(file);
}

void EventLog::open(const std::string& directory, int64_t last_step) {
    std::vector<std::string> old;
    std::string kept;
    for (const std::string& name : list_directory(directory)) {
        if (name.rfind(name_begins, 0) != 0) continue;
        old.push_back(join_path(directory, name));
        kept += records_up_to(read_file(old.back()), last_step);
    }
    const double time = seconds_since_1970();
    int64_t number = (int64_t)time;
    do {
        path = join_path(directory, name_begins + std::to_string(number++));
    } while (file_exists(path));
    write_file(path, tf_record(version_event(time)) + kept);
    for (const std::string& name : old) remove_tree(name);
    file = std::fopen(path.c_str(), "ab");
    CHECK(file, "cannot write %s: %s", path.c_str(), std::strerror(errno));
}

void EventLog::write(const Json& line) {
    int64_t step = json_int(line, "step", "metrics");
    std::string record = tf_record(scalar_event(seconds_since_1970(), step, scalars_of(line)));
    CHECK(std::fwrite(record.data(), 1, record.size(), file) == record.size() &&
              std::fflush(file) == 0,
          "cannot write %s: %s", path.c_str(), std::strerror(errno));
}
