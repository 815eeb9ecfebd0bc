// What the READMEs name is there: paths, functions, commands, keys and targets of make. A fact is
// whatever stands between backticks or in an indented block.
//
//     src/rl/grpo.cpp                a path; * and {a,b} stand for what they stand for in a shell
//     src/ops/rmsnorm.cpp:backward   ... and a name that stands in that file
//     build/rlhf rl x.json key=1     a command and its keys; several commands as `sft|rl`
//     select.mode=all                a key of some command
//     make demo                      a target

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" // g++ 12 on <regex>, with sanitizers
#endif

#include "command.h"

#include <filesystem>
#include <glob.h>
#include <regex>
#include <set>

namespace {

using Names = std::set<std::string>;

const std::vector<std::string> pages = {
    "README.md",      "checkpoints/README.md",     "configs/README.md",
    "cuda/README.md", "tests/reference/README.md", "configs/lessons/README.md"};

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    std::string word;
    for (char c : text + " ") {
        const bool blank = c == ' ' || c == '\n' || c == '\t';
        if (!blank)
            word += c;
        else if (!word.empty())
            words.push_back(word), word.clear();
    }
    return words;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines(1);
    for (char c : text) {
        if (c == '\n')
            lines.emplace_back();
        else
            lines.back() += c;
    }
    return lines;
}

// What a page shows as code: indented lines, and the spans between backticks of the others.
std::vector<std::string> code_of(const std::string& page) {
    std::vector<std::string> code;
    std::string prose;
    bool fenced = false;
    for (const std::string& line : lines_of(page)) {
        if (line.starts_with("```")) {
            fenced = !fenced;
            continue;
        }
        if (fenced || line.starts_with("    "))
            code.push_back(line.substr(0, line.find(" # ")));
        else
            prose += line + "\n";
    }
    for (size_t at = prose.find('`'); at != std::string::npos; at = prose.find('`', at)) {
        const size_t end = prose.find('`', at + 1);
        if (end == std::string::npos) break;
        code.push_back(prose.substr(at + 1, end - at - 1));
        at = end + 1;
    }
    return code;
}

bool exists(const std::string& pattern) {
    glob_t found{};
    const bool any = ::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0;
    ::globfree(&found);
    return any;
}

// The keys that `rlhf help COMMAND` lists.
Names keys_of(const std::string& command) {
    static std::map<std::string, Names> known;
    if (!known.contains(command)) {
        Names& keys = known[command];
        for (const std::string& line : lines_of(rlhf({"help", command}).out)) {
            const size_t equals = line.find('=');
            if (line.starts_with("  ") && line[2] != ' ' && equals != std::string::npos)
                keys.insert(line.substr(2, equals - 2));
        }
    }
    return known[command];
}

Names commands() {
    Names names;
    for (const std::string& line : lines_of(rlhf({"help"}).out))
        if (line.starts_with("  ") && line[2] != ' ') names.insert(words_of(line)[0]);
    return names;
}

Names make_targets() {
    Names targets;
    std::string makefiles;
    for (const char* name :
         {"Makefile", "cuda/build.mk", "tests/build.mk", "tests/cuda_on_cpu/build.mk"})
        if (std::filesystem::exists(name)) makefiles += read_file(name);
    static const std::regex rule("(^|\n)([a-z][a-z-]*)( [a-z -]*)?:[^=]");
    for (std::sregex_iterator it(makefiles.begin(), makefiles.end(), rule), end; it != end; ++it)
        targets.insert((*it)[2].str());
    return targets;
}

// The paths of the tree in a piece of code, each with the name behind its colon ("" without).
std::vector<std::pair<std::string, std::string>> paths_of(const std::string& code) {
    static const std::regex path(
        R"((^|[\s=(|,])((src|cuda|configs|tests|\.ci)/[\w./*{},+-]+)(:([A-Za-z_]\w*))?)");
    std::vector<std::pair<std::string, std::string>> paths;
    for (std::sregex_iterator it(code.begin(), code.end(), path), end; it != end; ++it) {
        std::string found = (*it)[2].str();
        while (found.ends_with(",") || found.ends_with(".")) found.pop_back();
        paths.push_back({found, (*it)[5].str()});
    }
    return paths;
}

// Of every `build/rlhf COMMAND [words]` in a piece of code: what is wrong with it, or "".
std::string fault_of_call(const std::string& code) {
    const std::vector<std::string> words = words_of(code);
    const Names known = commands();
    static const std::regex key(R"(([a-z_]\w*(\.[a-z_]\w*)*)=.*)");
    Names called, keys;
    for (size_t i = 0; i + 1 < words.size(); ++i) {
        if (!words[i].ends_with("build/rlhf") && words[i] != "rlhf") continue;
        called.clear();
        std::string name;
        for (char c : words[i + 1] + "|") {
            if (c != '|')
                name += c;
            else if (!name.empty())
                called.insert(name), name.clear();
        }
        for (const std::string& one : called)
            if (!known.contains(one) && one[0] >= 'a' && one[0] <= 'z')
                return "no command \"" + one + "\"";
        for (size_t k = i + 2; k < words.size() && !words[k].ends_with("rlhf"); ++k) {
            std::smatch match;
            if (!std::regex_match(words[k], match, key)) continue;
            for (const std::string& one : called)
                if (known.contains(one) && !keys_of(one).contains(match[1].str()))
                    return "\"" + one + "\" has no key \"" + match[1].str() + "\"";
        }
    }
    return "";
}

// A span that is nothing but a key with a dot in it, with or without a value.
std::string fault_of_key(const std::string& code) {
    static const std::regex key(
        R"(((algo|select|train|optim|sample|run|compute|data|task|tiny|chat|critic|reward|judge)\.)"
        R"([a-z_.\d]+)(=\S*)?)");
    std::smatch match;
    if (!std::regex_match(code, match, key)) return "";
    for (const std::string& command : commands())
        if (keys_of(command).contains(match[1].str())) return "";
    return "no command has the key \"" + match[1].str() + "\"";
}

std::string fault_of(const std::string& code, const Names& targets) {
    for (const auto& [path, name] : paths_of(code)) {
        if (path.find("NAME") != std::string::npos) continue; // the reader's own
        if (!exists(path)) return path + " does not exist";
        if (!name.empty() && read_file(path).find(name) == std::string::npos)
            return path + " does not name " + name;
    }
    const std::vector<std::string> words = words_of(code);
    if (words.size() > 1 && words[0] == "make" && words[1].find('=') == std::string::npos &&
        !targets.contains(words[1]))
        return "make has no target \"" + words[1] + "\"";
    const std::string call = fault_of_call(code);
    return call.empty() ? fault_of_key(code) : call;
}

} // namespace

TEST(Readme, EverythingThatAPageNamesIsThere) {
    const Names targets = make_targets();
    int named = 0;
    for (const std::string& page : pages) {
        if (!std::filesystem::exists(page)) continue;
        for (const std::string& code : code_of(read_file(page))) {
            ++named;
            EXPECT_EQ(fault_of(code, targets), "") << page << ": " << code;
        }
    }
    EXPECT_GT(named, 100); // the pages were found and read
}

// The glossary is the table's own text.
TEST(Readme, EveryNumberOfAStepIsExplainedInTheTablesWords) {
    const std::string page = read_file("README.md");
    int metrics = 0;
    for (const std::string& line : lines_of(rlhf({"help", "metrics"}).out)) {
        if (line.empty()) break; // what follows belongs to `loss`
        if (!line.starts_with("  ")) continue;
        ++metrics;
        EXPECT_TRUE(contains(page, line + "\n")) << "the README lacks: " << line;
    }
    EXPECT_GT(metrics, 40);
}

TEST(Readme, AWrongNameIsNoticed) {
    const Names targets = make_targets();
    for (const char* right :
         {"src/rl/grpo.cpp", "src/rl/*.cpp", "src/ops/rmsnorm.cpp:rmsnorm_backward", "make demo",
          "build/rlhf sft configs/sft_arithmetic.json run.dir=x", "algo.kl_coef=0.04", "optim.lr"})
        EXPECT_EQ(fault_of(right, targets), "") << right;
    for (const char* wrong : {"src/rl/no_such.cpp", "src/ops/rmsnorm.cpp:no_such_function",
                              "make no-such", "build/rlhf train", "build/rlhf sft|lr optim.lr=1",
                              "build/rlhf sft optim.learn=1", "algo.no_such=1"})
        EXPECT_NE(fault_of(wrong, targets), "") << wrong;
}
