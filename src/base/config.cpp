#include "base/config.h"

#include "base/file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

static std::string value_text(const Json& value) { return dump_row(value).substr(0, 80); }

static std::string bounds_text(const Field& field) {
    bool low = std::isfinite(field.low), high = std::isfinite(field.high);
    if (!low && !high) return "";
    if (!high) return format(">= %g", field.low);
    if (!low) return format("<= %g", field.high);
    return format("%g .. %g", field.low, field.high);
}

static Json field_json(const Field& field) {
    return std::visit(
        [&](auto value) {
            if constexpr (std::is_same_v<decltype(value), EnumRef>)
                return Json(field.choices.at((size_t)value.get(value.at)));
            else
                return Json(*value);
        },
        field.value);
}

static const char* wanted_type(const Field& field) {
    static const char* names[] = {"true or false",     "an integer", "an integer",
                                  "a number",          "a string",   "a list of strings",
                                  "a list of numbers", "JSON",       "a string"};
    return names[field.value.index()];
}

static void check_bounds(const Field& field, double value, const std::string& where) {
    CHECK(value >= field.low && value <= field.high, "%s: %s = %g is out of range; it must be %s",
          where.c_str(), field.path.c_str(), value, bounds_text(field).c_str());
}

static int place_of_choice(const Field& field, const std::string& text, const std::string& where) {
    auto found = std::find(field.choices.begin(), field.choices.end(), text);
    if (found != field.choices.end()) return (int)(found - field.choices.begin());
    std::string all;
    for (const std::string& choice : field.choices) all += " " + choice;
    fail("%s: %s = \"%s\" is not one of:%s", where.c_str(), field.path.c_str(), text.c_str(),
         all.c_str());
}

static void set_field(const Field& field, const Json& json, const std::string& where) {
    auto wrong = [&]() {
        fail("%s: %s must be %s, found %s", where.c_str(), field.path.c_str(), wanted_type(field),
             value_text(json).c_str());
    };
    std::visit(
        [&](auto value) {
            using V = std::remove_pointer_t<decltype(value)>;
            if constexpr (std::is_same_v<V, EnumRef>) {
                if (!json.is_string()) wrong();
                value.set(value.at, place_of_choice(field, json.get<std::string>(), where));
            } else if constexpr (std::is_same_v<V, bool>) {
                if (!json.is_boolean()) wrong();
                *value = json.get<bool>();
            } else if constexpr (std::is_same_v<V, int> || std::is_same_v<V, int64_t>) {
                // 1e3 is a fine way to write an integer
                if (!json.is_number() || json.get<double>() != std::floor(json.get<double>()))
                    wrong();
                double high = std::is_same_v<V, int> ? INT_MAX : 9e15;
                double number = json.get<double>();
                check_bounds(field, number, where);
                CHECK(std::abs(number) <= high, "%s: %s = %g does not fit an integer",
                      where.c_str(), field.path.c_str(), number);
                *value = json.is_number_integer() ? (V)json.get<int64_t>() : (V)number;
            } else if constexpr (std::is_same_v<V, double>) {
                if (!json.is_number()) wrong();
                check_bounds(field, json.get<double>(), where);
                *value = json.get<double>();
            } else if constexpr (std::is_same_v<V, std::string>) {
                if (!json.is_string()) wrong();
                const std::string text = json.get<std::string>();
                if (!field.choices.empty()) place_of_choice(field, text, where);
                *value = text;
            } else if constexpr (std::is_same_v<V, std::vector<std::string>>) {
                if (!json.is_array()) wrong();
                value->clear();
                for (const Json& item : json) {
                    if (!item.is_string()) wrong();
                    value->push_back(item.get<std::string>());
                }
            } else if constexpr (std::is_same_v<V, std::vector<double>>) {
                if (!json.is_array()) wrong();
                value->clear();
                for (const Json& item : json) {
                    if (!item.is_number()) wrong();
                    check_bounds(field, item.get<double>(), where);
                    value->push_back(item.get<double>());
                }
            } else {
                *value = json;
            }
        },
        field.value);
}

static int edit_distance(const std::string& a, const std::string& b) {
    std::vector<int> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = (int)j;
    for (size_t i = 1; i <= a.size(); ++i) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b.size(); ++j) {
            int next = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = row[j];
            row[j] = next;
        }
    }
    return row[b.size()];
}

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
    std::string best;
    int best_distance = INT_MAX;
    for (const std::string& candidate : candidates) {
        int distance = edit_distance(word, candidate);
        if (distance < best_distance) best = candidate, best_distance = distance;
    }
    return best;
}

static const Field* find_field(const Fields& fields, const std::string& path) {
    for (const Field& field : fields.list)
        if (field.path == path) return &field;
    return nullptr;
}

static bool is_section(const Fields& fields, const std::string& path) {
    for (const auto& section : fields.sections)
        if (section.first == path) return true;
    return false;
}

[[noreturn]] static void unknown_key(const Fields& fields, const std::string& path,
                                     const std::string& where) {
    for (const auto& [was, now] : fields.former)
        CHECK(was != path, "%s: the key %s is called %s now; write that", where.c_str(),
              path.c_str(), now.c_str());
    std::string section =
        path.substr(0, path.rfind('.') == std::string::npos ? 0 : path.rfind('.'));
    std::vector<std::string> all;
    std::string beside;
    for (const Field& field : fields.list) {
        all.push_back(field.path);
        size_t dot = field.path.rfind('.');
        if (field.path.substr(0, dot == std::string::npos ? 0 : dot) == section)
            beside.append(" ").append(field.path, dot == std::string::npos ? 0 : dot + 1);
    }
    if (beside.empty())
        for (const auto& part : fields.sections) beside += " " + part.first;
    fail("%s: unknown key \"%s\"; the nearest is \"%s\". Keys of %s:%s", where.c_str(),
         path.c_str(), nearest_name(path, all).c_str(),
         section.empty() ? "the top level" : section.c_str(), beside.c_str());
}

static void read_object(Fields& fields, const Json& object, const std::string& prefix,
                        const std::string& where) {
    CHECK(object.is_object(), "%s: %s must be an object, found %s", where.c_str(),
          prefix.empty() ? "the configuration" : prefix.c_str(), value_text(object).c_str());
    for (auto& [key, value] : object.items()) {
        std::string path = prefix.empty() ? key : prefix + "." + key;
        if (const Field* field = find_field(fields, path))
            set_field(*field, value, where);
        else if (is_section(fields, path))
            read_object(fields, value, path, where);
        else
            unknown_key(fields, path, where);
    }
}

void read_config_json(Fields& fields, const Json& object, const std::string& where) {
    read_object(fields, object, "", where);
}

// A value on the command line is JSON where that fits the field, and else a plain string.
static Json override_value(const Field& field, const std::string& text) {
    bool wants_text = std::holds_alternative<std::string*>(field.value) ||
                      std::holds_alternative<EnumRef>(field.value);
    if (wants_text) return text;
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_discarded()) return json;
    if (std::holds_alternative<std::vector<std::string>*>(field.value)) return Json::array({text});
    return text;
}

void read_config(Fields& fields, const Args& args) {
    if (!args.config_path.empty())
        read_object(fields, read_json(args.config_path), "", args.config_path);
    for (const std::string& override_text : args.overrides) {
        size_t equals = override_text.find('=');
        std::string path = override_text.substr(0, equals);
        const Field* field = find_field(fields, path);
        if (!field && is_section(fields, path))
            fail("command line: %s is a group of keys; write %s.KEY=value", path.c_str(),
                 path.c_str());
        if (!field) unknown_key(fields, path, "command line");
        set_field(*field, override_value(*field, override_text.substr(equals + 1)), "command line");
    }
}

bool names_key(const Args& args, const std::string& path) {
    for (const std::string& override_text : args.overrides)
        if (override_text.substr(0, override_text.find('=')) == path) return true;
    if (args.config_path.empty()) return false;
    Json object = read_json(args.config_path);
    const Json* at = &object;
    for (size_t begin = 0; begin <= path.size();) {
        size_t dot = std::min(path.find('.', begin), path.size());
        if (!at->is_object()) return false;
        auto found = at->find(path.substr(begin, dot - begin));
        if (found == at->end()) return false;
        at = &*found;
        begin = dot + 1;
    }
    return true;
}

void copy_field(const Field& to, const Field& from) {
    std::visit(
        [&](auto value) {
            const auto other = std::get<decltype(value)>(from.value);
            if constexpr (std::is_same_v<decltype(value), EnumRef>)
                value.set(value.at, other.get(other.at));
            else
                *value = *other;
        },
        to.value);
}

Json config_json(const Fields& fields) {
    Json root = Json::object();
    for (const Field& field : fields.list) {
        Json* at = &root;
        size_t begin = 0;
        for (size_t dot; (dot = field.path.find('.', begin)) != std::string::npos; begin = dot + 1)
            at = &(*at)[field.path.substr(begin, dot - begin)];
        (*at)[field.path.substr(begin)] = field_json(field);
    }
    return root;
}

std::string config_help(const Fields& fields) {
    std::string text;
    for (const Field& field : fields.list) {
        std::string limits = bounds_text(field);
        for (const std::string& choice : field.choices)
            limits += (limits.empty() ? "" : "|") + choice;
        text += format("  %-30s %s%s\n", (field.path + "=" + value_text(field_json(field))).c_str(),
                       field.help.c_str(), limits.empty() ? "" : (" [" + limits + "]").c_str());
    }
    return text;
}

std::vector<std::string> config_changes(const Fields& fields, const Json& saved) {
    std::vector<std::string> changes;
    Json now = config_json(fields);
    for (const Field& field : fields.list) {
        const Json *a = &now, *b = &saved;
        size_t begin = 0;
        while (begin <= field.path.size() && b) {
            size_t dot = std::min(field.path.find('.', begin), field.path.size());
            std::string key = field.path.substr(begin, dot - begin);
            a = &(*a)[key];
            b = b->is_object() && b->contains(key) ? &(*b)[key] : nullptr;
            begin = dot + 1;
        }
        if (!b || *a != *b) changes.push_back(field.path);
    }
    return changes;
}
