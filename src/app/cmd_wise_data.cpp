// rlhf wise-data: the made-up conversations of mini-WISE and their documents as files in the authors' format.

#include "app/commands.h"
#include "base/file.h"
#include "task/mini_wise.h"

#include <cstdio>

namespace {
struct WiseDataConfig {
    std::string out;
    MiniWiseConfig world;
    int64_t turns[std::size(mini_wise_parts)] = {1600, 200, 400, 400, 1600, 1600, 1600, 1600};
    struct Turns {
        int64_t* turns;
        void visit(Fields& v) {
            for (size_t part = 0; part < std::size(mini_wise_parts); ++part)
                v.field(mini_wise_parts[part], turns[part], 0, 1e9, "turns of this part, about");
        }
    };
    void visit(Fields& v) {
        v.field("out", out, "directory to write");
        v.object("mini_wise", world, "the world");
        Turns counts{turns};
        v.object("turns", counts, "how many");
    }
};
} // namespace

static int wise_data(WiseDataConfig& config, const Args&) {
    CHECK(!config.out.empty() && config.out != "-",
          "out is missing: the directory for the conversations and their documents");
    AtomicDirectory directory(config.out);
    int64_t query_count = 0;
    std::string documents, queries; // the queries: what could be asked of each place
    for (size_t part = 0; part < std::size(mini_wise_parts); ++part) {
        // Conversations come in twos: each has the other's place among its candidates.
        const int64_t twos = (config.turns[part] + 2 * mini_wise_turns - 1) / (2 * mini_wise_turns);
        const int64_t count = 2 * twos;
        std::string rows;
        for (int64_t c = 0; c < count; ++c) {
            const MiniWiseWorld world = mini_wise(config.world, (MiniWisePart)part, c);
            rows += dump_row(wise_json(world.conversation)) + "\n";
            documents += dump_row(wise_json(world.documents[0])) + "\n";
            for (const std::string& query : world.queries)
                queries += dump_row({{"id", query_count++}, {"text", query}}) + "\n";
        }
        const std::string name = std::string(mini_wise_parts[part]) + ".jsonl";
        if (count) write_file(join_path(directory.temporary, name), rows);
        std::fprintf(stderr, "%-18s %lld conversations, %lld turns\n", name.c_str(),
                     (long long)count, (long long)(count * mini_wise_turns));
    }
    write_file(join_path(directory.temporary, "document_line.json"), documents);
    write_file(join_path(directory.temporary, "query_line.json"), queries);
    directory.commit();
    return 0;
}

extern const Command wise_data_command;
const Command wise_data_command = command<WiseDataConfig, wise_data>(
    "wise-data", "made-up conversations and documents in the format of WISE");
