#pragma once
// TensorBoard event files, written by hand: RUN/events.out.tfevents.SECONDS, one Event per step with a
// scalar for every number of the step's metrics line.
//
// A file is a list of records (TFRecord), all integers little-endian:
//     uint64 length | uint32 masked_crc(length) | data | uint32 masked_crc(data)
//     masked_crc(x) = rotate_right(crc32c(x), 15) + 0xa282ead8
// and each record's data is one protocol-buffer message (field numbers of tensorflow's event.proto and
// summary.proto):
//     Event   { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary summary }
//     Summary { 1: repeated Value { 1: string tag, 2: float simple_value } }

#include "base/json.h"

#include <cstdio>

// Castagnoli's CRC (polynomial 0x1EDC6F41, reflected), as in RFC 3720, appendix B.4.
uint32_t crc32c(const std::string& bytes);
std::string tf_record(const std::string& data);

struct Scalar {
    std::string tag;
    double value;
};
// Every number of a metrics line but "step"; a member of an object is named "outer/inner".
std::vector<Scalar> scalars_of(const Json& line);

// Messages. wall_time: seconds since 1970.
std::string version_event(double wall_time);
std::string scalar_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars);

// The event file of a run.
struct EventLog {
    EventLog() = default;
    EventLog(const EventLog&) = delete;
    ~EventLog();
    // A new file in the directory. It begins with the records of earlier files whose step is at most
    // last_step, and these files go: after a resume no step stands twice. A record that a crash cut off
    // goes, too.
    void open(const std::string& directory, int64_t last_step);
    // Appends the step of a metrics line and hands it to the system at once.
    void write(const Json& line);

private:
    std::string path;
    FILE* file = nullptr;
};
