// rlhf <command> [config.json] [key.path=value ...]

#include "app/commands.h"
#include "app/spin.h"
#include "dist/processes.h"
#include "rl/metric_table.h"

#include <cstdio>
#include <cstring>

// Every command, in the order of the help page: ROW(NAME) is NAME_command of cmd_NAME.cpp.
// clang-format off
#define EACH_COMMAND(ROW) \
    ROW(help) \
    ROW(info) \
    ROW(convert) \
    ROW(tokenize) \
    ROW(logprob) \
    ROW(generate) \
    ROW(chat) \
    ROW(sft) \
    ROW(rows) \
    ROW(pairs) \
    ROW(reward) \
    ROW(score) \
    ROW(judge) \
    ROW(search) \
    ROW(wise_data) \
    ROW(rl) \
    ROW(eval) \
    ROW(loss) \
    ROW(diff) \
    ROW(report) \
    ROW(explain) \
    ROW(reproduce) \
    ROW(simulate) \
    ROW(check) \
    ROW(bench)
// clang-format on

#define DECLARED(name) extern const Command name##_command;
EACH_COMMAND(DECLARED)
#define ADDRESS(name) &name##_command,
static const Command* const commands[] = {EACH_COMMAND(ADDRESS)};

static void print_usage(FILE* out) {
    std::fprintf(out, "rlhf <command> [config.json] [key.path=value ...]\n\n");
    for (const Command* row : commands) std::fprintf(out, "  %-10s %s\n", row->name, row->summary);
    std::fprintf(out, "\nrlhf help COMMAND lists every key with its default, bounds and unit.\n");
}

static const Command* find_command(const std::string& name) {
    for (const Command* row : commands)
        if (name == row->name) return row;
    return nullptr;
}

[[noreturn]] static void unknown_command(const std::string& name) {
    std::vector<std::string> names;
    for (const Command* row : commands) names.push_back(row->name);
    fail("unknown command \"%s\"; the nearest is \"%s\". rlhf help lists all", name.c_str(),
         nearest_name(name, names).c_str());
}

static int cmd_help(const Args& args) {
    if (args.config_path.empty()) {
        print_usage(stdout);
        return 0;
    }
    if (args.config_path == "metrics") {
        std::printf("%s", metric_help().c_str());
        return 0;
    }
    const Command* row = find_command(args.config_path);
    if (!row) unknown_command(args.config_path);
    Fields fields;
    if (row->fields) row->fields(fields);
    std::printf("rlhf %s: %s\n%s", row->name, row->summary, config_help(fields).c_str());
    if (row->notes) std::printf("\n%s", row->notes().c_str());
    return 0;
}

const Command help_command = {
    "help",
    "this page, every field of a command (help COMMAND), or what a step prints (help metrics)",
    cmd_help, nullptr};

// These share their work out among processes that were started together; of any other, each would do
// all of it.
static void check_many_processes(const std::string& name) {
    const int count = launched_processes();
    if (count <= 1) return;
    for (const char* many : {"sft", "reward", "rl", "eval", "pairs", "simulate"})
        if (name == many) return;
    fail("%d processes were started, and rlhf %s is the work of one; start it without mpirun or "
         "srun (of several: sft, reward, rl, eval, pairs)",
         count, name.c_str());
}

static int run(int argc, char** argv) {
    if (argc < 2) {
        print_usage(stderr);
        return 1;
    }
    std::string name = argv[1];
    if (name == "-h" || name == "--help") name = "help";
    const Command* row = find_command(name);
    if (!row) unknown_command(name);
    check_many_processes(name);
    Args args;
    for (int i = 2; i < argc; ++i) {
        std::string word = argv[i];
        size_t equals = word.find('=');
        if (equals != std::string::npos)
            args.overrides.push_back(word);
        else if (args.config_path.empty())
            args.config_path = word;
        else if (row->two_configs && args.second_config_path.empty())
            args.second_config_path = word;
        else
            fail("%s: \"%s\" is neither key=value nor the one configuration file (%s)", argv[1],
                 argv[i], args.config_path.c_str());
    }
    return row->run(args);
}

int main(int argc, char** argv) {
    bound_spinning(argv);
    try {
        start_processes();
        const int status = run(argc, argv);
        stop_processes();
        return status;
    } catch (const Error& error) {
        return report_failure(error.what());
    } catch (const std::bad_alloc&) {
        return report_failure("out of memory; use a smaller model or batch");
    }
}
