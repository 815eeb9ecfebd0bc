#pragma once
// What a run reads besides its own directory: files of rows, and models that do not train (a
// reference, a reward model, a judge). A run that goes on reads them again. Other rows or other
// weights under the old name would make it two runs in one, so every checkpoint keeps a hash of
// each, and a run that finds something else refuses to go on.

#include "base/config.h"

struct RunInput {
    std::string key, path; // "task.data", "rows.jsonl"
};

// The keys declared by Fields::input that have a value.
std::vector<RunInput> inputs_of(const Fields& config);

// 64 bits of a file's content. It finds damage and change, not malice.
std::string file_hash(const std::string& path);
// The same of what `path` names: a file, or a model with its weights, configuration and tokenizer
// (of a run: of its newest checkpoint). "": it names neither, as a pipe that can be read but once.
std::string input_hash(const std::string& path);
