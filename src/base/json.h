#pragma once
// JSON through nlohmann/json, without its exceptions: parse and typed access that fail with a clear
// message. Include this only where JSON is handled; it is slow to compile.

#include "base/check.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using Json = nlohmann::ordered_json;

// `where` names the source in the message: a file, or "file:line".
Json parse_json(const std::string& text, const std::string& where);
Json read_json(const std::string& path);

// The same for objects of very many keys (a vocabulary): kept in a map, where Json's lookup is linear.
nlohmann::json parse_large_json(const std::string& text, const std::string& where);

// Every line of a JSON Lines file, in order; blank lines are skipped. `where` is "file:line".
// A file without any row is an error.
void for_each_row(const std::string& path,
                  const std::function<void(const Json& row, const std::string& where)>& visit);

// Typed members of an object. Missing or of another type: an error that names `where` and the key.
int64_t json_int(const Json& object, const char* key, const std::string& where);
double json_number(const Json& object, const char* key, const std::string& where);
std::string json_string(const Json& object, const char* key, const std::string& where);
std::vector<int32_t> json_ids(const Json& object, const char* key, const std::string& where);
std::vector<double> json_numbers(const Json& object, const char* key, const std::string& where);

// The same with a value for a missing or null key.
int64_t json_int_or(const Json& object, const char* key, int64_t missing, const std::string& where);
double json_number_or(const Json& object, const char* key, double missing,
                      const std::string& where);
bool json_bool_or(const Json& object, const char* key, bool missing, const std::string& where);
std::string json_string_or(const Json& object, const char* key, const std::string& missing,
                           const std::string& where);

// A number that reads back as the same value: 9 significant digits for f32, 17 for f64. Not finite
// numbers become null, which JSON has a word for.
Json number_f32(float value);
std::string dump_row(const Json& row); // one line, invalid UTF-8 replaced by U+FFFD, no newline
