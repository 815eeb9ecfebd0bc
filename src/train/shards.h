#pragma once
// The trainer's state in pieces, one file per rank, each of one range of the flat arrays: elements first
// .. first + count - 1 of all parameters one after another, whatever tensors the range cuts through. A
// rank of another run, with another number of ranks, reads the pieces of its own range.
//
// trainer-00002-of-00004.safetensors: `m`, `v` and, where the model directory has them rounded, `weight`,
// each (count), in the safetensors format; its __metadata__ says which range of which model it is.

#include "train/step.h"

#include <string>

// As the manifest of a checkpoint lists it: name in the directory, size and CRC-32C of its bytes.
struct Shard {
    std::string file;
    int64_t bytes = 0;
    uint32_t crc32c = 0;
};

bool is_shard(const std::string& file_name);

// Writes this rank's piece beside `path`, PATH.safetensors, of which it is a part.
Shard save_shard(const Trainer& trainer, bool with_weights, const std::string& path);
// This rank's range from all pieces of `path`. Errors: a piece is missing or of another model.
void load_shards(Trainer& trainer, bool with_weights, const std::string& path);
// Empty: the file is what the manifest says; else what is wrong.
std::string damage_of(const std::string& path, int64_t bytes, uint32_t crc32c);
