#include "task/task.h"

#include "base/rng.h"
#include "task/answer.h"

#include <numeric>
#include <set>

int first_wrong_step(const std::vector<StepVerdict>& steps) {
    for (int s = 0; s < (int)steps.size(); ++s)
        if (!steps[s].right) return s;
    return -1;
}

Task make_task(const TaskConfig& config) {
    if (config.name == "arithmetic") return arithmetic_task(config);
    if (config.name == "chain_lookup") return chain_lookup_task(config);
    if (config.name == "stale_library") return stale_library_task(config);
    if (config.name == "gsm8k") return gsm8k_task(config);
    if (config.name == "jsonl") return jsonl_task(config);
    if (config.name == "wise" || config.name == "mini_wise") return wise_task(config);
    fail("task.name is not set; it must be arithmetic, chain_lookup, stale_library, gsm8k, jsonl, "
         "wise "
         "or mini_wise");
}

// What makes two prompts the same.
static std::string prompt_key(const Problem& problem) {
    std::string key = problem.prompt;
    for (int32_t id : problem.prompt_ids) key += "," + std::to_string(id);
    return key;
}

// In [0, 1), from all characters.
static double hash_share(const std::string& text) {
    uint64_t hash = 0;
    for (unsigned char c : text) hash = mix64(hash + c + 1);
    return (double)(hash >> 11) * 0x1p-53;
}

static Verdict verify_answer(const Problem& problem, const std::string& completion, bool marked) {
    Verdict verdict;
    std::optional<Answer> answer = extract_answer(completion, marked);
    if (!answer) {
        verdict.reason = marked ? "no answer after #### or in \\boxed{}" : "no number in the text";
        return verdict;
    }
    bool right = answer_matches(*answer, problem.answer);
    verdict.reward = right;
    verdict.answer = answer_key(*answer);
    verdict.reason =
        right ? "right"
              : format("%.40s is not %.40s", answer->text.c_str(), problem.answer.c_str());
    return verdict;
}

Task rows_task(const TaskConfig& config, const char* name,
               const std::function<Problem(const Json&, const std::string&)>& read_row) {
    CHECK(!config.data.empty() || !config.eval_data.empty(),
          "task.name=%s needs task.data, a file with a prompt and an answer per row", name);
    struct Rows {
        std::vector<Problem> train, eval;
        std::vector<int> order; // of the training rows in `epoch`
        int64_t epoch = -1;
    };
    auto rows = std::make_shared<Rows>();
    auto read = [&](const std::string& path, const std::function<void(Problem)>& take) {
        for_each_row(path, [&](const Json& row, const std::string& where) {
            Problem problem = read_row(row, where);
            problem.row = row;
            problem.where = where;
            take(std::move(problem));
        });
    };
    std::set<std::string> held_out;
    if (!config.eval_data.empty())
        read(config.eval_data, [&](Problem problem) {
            held_out.insert(prompt_key(problem));
            rows->eval.push_back(std::move(problem));
        });
    if (!config.data.empty())
        read(config.data, [&](Problem problem) {
            std::string key = prompt_key(problem);
            if (config.eval_data.empty() && hash_share(key) < config.eval_share)
                rows->eval.push_back(std::move(problem));
            else if (!held_out.count(key))
                rows->train.push_back(std::move(problem));
        });
    CHECK(config.data.empty() || !rows->train.empty() || config.eval_share == 1,
          "%s: every row is held out for evaluation; nothing is left to train on",
          config.data.c_str());

    Task task;
    task.name = name;
    task.count = [=](Split split) {
        return (int64_t)(split == Split::train ? rows->train : rows->eval).size();
    };
    bool shuffle = config.shuffle, marked = config.answer_form == "marked";
    uint64_t seed = (uint64_t)config.seed;
    task.problem = [=](Split split, int64_t i) {
        const std::vector<Problem>& list = split == Split::train ? rows->train : rows->eval;
        CHECK(!list.empty(), "the task has no rows %s",
              split == Split::train ? "to train on: set task.data"
                                    : "held out for evaluation: set task.eval_data or eval_share");
        int64_t count = (int64_t)list.size();
        if (split == Split::eval || !shuffle) return list[i % count];
        if (rows->epoch != i / count) {
            rows->epoch = i / count;
            rows->order.resize(count);
            std::iota(rows->order.begin(), rows->order.end(), 0);
            Rng(seed, (uint64_t)rows->epoch).shuffle(rows->order);
        }
        return list[rows->order[i % count]];
    };
    task.verify = [=](const Problem& problem, const std::vector<int32_t>&,
                      const std::string& completion) {
        return verify_answer(problem, completion, marked);
    };
    return task;
}
