#include "base/json.h"

#include "base/file.h"
#include "base/foreign.h"

#include <cmath>
#include <fstream>

// Reading is iterative, but printing and copying recurse: a file of a million "[" must not get there.
static void check_depth(const std::string& text, const std::string& where) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            if (c == '"') quoted = false;
            continue;
        }
        if (c == '"') quoted = true;
        if (c == '[' || c == '{') ++depth;
        if (c == ']' || c == '}') --depth;
        CHECK(depth <= 256, "%s: JSON nested more than 256 levels deep", where.c_str());
    }
}

template <class J> static J parse(const std::string& text, const std::string& where) {
    check_depth(text, where);
    // The parser's own message names line and column; it is the part after the last "] ".
    try {
        return J::parse(text);
    } catch (const Json::exception& error) {
        if (std::string foreign = foreign_content(text); !foreign.empty())
            fail("%s %s", where.c_str(), foreign.c_str());
        std::string what = error.what();
        size_t at = what.find("] ");
        fail("%s is not valid JSON: %s", where.c_str(),
             (at == std::string::npos ? what : what.substr(at + 2)).c_str());
    }
}

Json parse_json(const std::string& text, const std::string& where) {
    return parse<Json>(text, where);
}

nlohmann::json parse_large_json(const std::string& text, const std::string& where) {
    return parse<nlohmann::json>(text, where);
}

Json read_json(const std::string& path) { return parse_json(read_file(path), path); }

// What is no file of rows, said of the whole file: its first line alone would be a puzzle.
static void check_is_rows(const std::string& text, const std::string& path) {
    if (std::string foreign = foreign_content(text); !foreign.empty())
        fail("%s %s", path.c_str(), foreign.c_str());
    const size_t bom = text.rfind("\xEF\xBB\xBF", 0) == 0 ? 3 : 0;
    const size_t begin = text.find_first_not_of(" \t\r\n", bom);
    if (begin == std::string::npos) return;
    CHECK(text[begin] != '[',
          "%s holds a JSON list; one JSON object per line is wanted (jq -c '.[]' writes a list's "
          "members so)",
          path.c_str());
    const std::string line = text.substr(begin, text.find('\n', begin) - begin);
    const char last = line[line.find_last_not_of(" \t\r")];
    CHECK(!(text[begin] == '{' && std::string("{[,:").find(last) != std::string::npos),
          "%s holds objects that go over several lines; one JSON object per line is wanted "
          "(jq -c . writes them so)",
          path.c_str());
}

void for_each_row(const std::string& path,
                  const std::function<void(const Json&, const std::string&)>& visit) {
    std::string text = read_file(path);
    check_is_rows(text, path);
    bool any = false;
    size_t begin = 0;
    for (int line = 1; begin < text.size(); ++line) {
        size_t end = text.find('\n', begin);
        if (end == std::string::npos) end = text.size();
        std::string row = text.substr(begin, end - begin);
        begin = end + 1;
        if (row.find_first_not_of(" \t\r") == std::string::npos) continue;
        std::string where = path + ":" + std::to_string(line);
        Json json = parse_json(row, where);
        CHECK(json.is_object(), "%s: a row must be a JSON object, found %s", where.c_str(),
              json.type_name());
        visit(json, where);
        any = true;
    }
    CHECK(any, "%s holds no rows; it must have one JSON object per line", path.c_str());
}

static const Json* member(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

static const Json& required(const Json& object, const char* key, const std::string& where) {
    const Json* value = member(object, key);
    CHECK(value, "%s: \"%s\" is missing", where.c_str(), key);
    return *value;
}

static void check_type(bool right, const Json& value, const char* key, const char* want,
                       const std::string& where) {
    CHECK(right, "%s: \"%s\" must be %s, found %.60s", where.c_str(), key, want,
          value.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

int64_t json_int(const Json& object, const char* key, const std::string& where) {
    const Json& value = required(object, key, where);
    check_type(value.is_number_integer(), value, key, "an integer", where);
    return value.get<int64_t>();
}

double json_number(const Json& object, const char* key, const std::string& where) {
    const Json& value = required(object, key, where);
    check_type(value.is_number(), value, key, "a number", where);
    return value.get<double>();
}

std::string json_string(const Json& object, const char* key, const std::string& where) {
    const Json& value = required(object, key, where);
    check_type(value.is_string(), value, key, "a string", where);
    return value.get<std::string>();
}

std::vector<int32_t> json_ids(const Json& object, const char* key, const std::string& where) {
    const Json& value = required(object, key, where);
    check_type(value.is_array(), value, key, "a list of token ids", where);
    std::vector<int32_t> ids;
    ids.reserve(value.size());
    for (const Json& id : value) {
        check_type(id.is_number_integer() && id.get<int64_t>() >= 0 &&
                       id.get<int64_t>() <= INT32_MAX,
                   id, key, "a list of token ids (integers from 0 on)", where);
        ids.push_back(id.get<int32_t>());
    }
    return ids;
}

std::vector<double> json_numbers(const Json& object, const char* key, const std::string& where) {
    const Json& value = required(object, key, where);
    check_type(value.is_array(), value, key, "a list of numbers", where);
    std::vector<double> numbers;
    numbers.reserve(value.size());
    for (const Json& number : value) {
        check_type(number.is_number(), number, key, "a list of numbers", where);
        numbers.push_back(number.get<double>());
    }
    return numbers;
}

int64_t json_int_or(const Json& object, const char* key, int64_t missing,
                    const std::string& where) {
    return member(object, key) ? json_int(object, key, where) : missing;
}

double json_number_or(const Json& object, const char* key, double missing,
                      const std::string& where) {
    return member(object, key) ? json_number(object, key, where) : missing;
}

bool json_bool_or(const Json& object, const char* key, bool missing, const std::string& where) {
    const Json* value = member(object, key);
    if (!value) return missing;
    check_type(value->is_boolean(), *value, key, "true or false", where);
    return value->get<bool>();
}

std::string json_string_or(const Json& object, const char* key, const std::string& missing,
                           const std::string& where) {
    return member(object, key) ? json_string(object, key, where) : missing;
}

Json number_f32(float value) {
    if (!std::isfinite(value)) return nullptr;
    // The double nearest to the 9-digit decimal: printed by the writer in its shortest form.
    return std::strtod(format("%.9g", (double)value).c_str(), nullptr);
}

std::string dump_row(const Json& row) {
    return row.dump(-1, ' ', false, Json::error_handler_t::replace);
}
