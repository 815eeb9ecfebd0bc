#pragma once
// Configurations. A struct names each of its fields once, in visit(): name, bounds, help with symbol
// and unit. From that one list come the reader, the key=value overrides, the printer of the effective
// configuration, the help page and the comparison on resume.
//
//     struct OptimConfig {
//         double lr = 1e-3;
//         void visit(Fields& v) { v.field("lr", lr, 0, 10, "eta: peak learning rate"); }
//     };
//     struct SftConfig {
//         OptimConfig optim;
//         void visit(Fields& v) { v.object("optim", optim, "AdamW"); }
//     };

#include "base/json.h"

#include <climits>
#include <span>
#include <variant>

// A field of some enum: value k is called choices[k].
struct EnumRef {
    void* at;
    int (*get)(const void* at);
    void (*set)(void* at, int k);
};

struct Field {
    std::string path; // "optim.lr"
    std::variant<bool*, int*, int64_t*, double*, std::string*, std::vector<std::string>*,
                 std::vector<double>*, Json*, EnumRef>
        value;
    double low = -HUGE_VAL, high = HUGE_VAL;
    std::vector<std::string> choices; // of a string, empty: any; of an enum, in its order
    std::string help;
    bool input = false; // names a file or a model that a run reads (again, when it goes on)
};

// Collects the fields of a configuration, in order. Pointers stay valid as long as the struct.
struct Fields {
    std::vector<Field> list;
    std::vector<std::pair<std::string, std::string>> sections; // object path, its help
    std::vector<std::pair<std::string, std::string>> former;   // a key that was, what it is now

    void field(const char* name, bool& value, const char* help) { add(name, &value, help); }
    void field(const char* name, int& value, double low, double high, const char* help) {
        add(name, &value, help, low, high);
    }
    void field(const char* name, int64_t& value, double low, double high, const char* help) {
        add(name, &value, help, low, high);
    }
    void field(const char* name, double& value, double low, double high, const char* help) {
        add(name, &value, help, low, high);
    }
    void field(const char* name, std::string& value, const char* help) { add(name, &value, help); }
    void field(const char* name, std::vector<std::string>& value, const char* help) {
        add(name, &value, help);
    }
    void field(const char* name, std::vector<double>& value, double low, double high,
               const char* help) {
        add(name, &value, help, low, high);
    }
    // Free-form JSON, checked by its user.
    void json(const char* name, Json& value, const char* help) { add(name, &value, help); }
    // A path that a run reads anew when it goes on: it must then find what it began with (train/inputs.h).
    // In JSON every string counts that stands under "model", "reference", "judge" or "template".
    template <class V> void input(const char* name, V& value, const char* help) {
        add(name, &value, help);
        list.back().input = true;
    }
    void choice(const char* name, std::string& value, std::vector<std::string> choices,
                const char* help) {
        add(name, &value, help);
        list.back().choices = std::move(choices);
    }
    // An enum 0, 1, ... whose values have these names, in this order.
    template <class E>
    requires std::is_enum_v<E>
    void choice(const char* name, E& value, std::span<const char* const> names, const char* help) {
        EnumRef ref{&value, [](const void* at) { return (int)*static_cast<const E*>(at); },
                    [](void* at, int k) { *static_cast<E*>(at) = (E)k; }};
        add(name, ref, help);
        list.back().choices.assign(names.begin(), names.end());
    }
    // A key that stands elsewhere now: who still writes it is told where.
    void moved(const char* name, const char* now) { former.push_back({prefix + name, now}); }
    template <class S> void object(const char* name, S& part, const char* help) {
        std::string outer = prefix;
        sections.push_back({prefix + name, help});
        prefix += std::string(name) + ".";
        part.visit(*this);
        prefix = outer;
    }

private:
    template <class V>
    void add(const char* name, V value, const char* help, double low = -HUGE_VAL,
             double high = HUGE_VAL) {
        list.push_back({prefix + name, value, low, high, {}, help});
    }
    std::string prefix;
};

// The command line behind the command's name.
struct Args {
    std::string config_path;            // empty: none
    std::vector<std::string> overrides; // "key.path=value"
    std::string second_config_path{};   // of a command that compares two
};

// Fills the fields from the file and then from the overrides. An unknown key, a wrong type and a value
// out of range are errors naming file, key, value and the nearest valid key.
void read_config(Fields& fields, const Args& args);

// The same for one JSON object, without overrides (a saved configuration).
void read_config_json(Fields& fields, const Json& object, const std::string& where);

template <class S> void load_config(S& config, const Args& args) {
    Fields fields;
    config.visit(fields);
    read_config(fields, args);
}

// Whether the file or an override names the key (a preset fills only what the user left out).
bool names_key(const Args& args, const std::string& path);

// The value of a field of the same kind.
void copy_field(const Field& to, const Field& from);

// The effective configuration, every field in it.
Json config_json(const Fields& fields);
// One line per field: path, default, bounds, help.
std::string config_help(const Fields& fields);
// Paths whose values differ between a saved configuration and these fields.
std::vector<std::string> config_changes(const Fields& fields, const Json& saved);
// Of the candidates, the one with the smallest edit distance to the word.
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);
