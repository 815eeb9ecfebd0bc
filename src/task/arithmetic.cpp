#include "task/arithmetic.h"

#include "task/task.h"

#include <algorithm>

using namespace arithmetic;

int64_t ArithmeticConfig::modulus() const {
    int64_t modulus = 1;
    for (int d = 0; d < digits; ++d) modulus *= base;
    return modulus;
}

// ---- numbers ------------------------------------------------------------------------------------

using Digits = std::vector<int>; // lowest first, whatever the written order

static Digits to_digits(const ArithmeticConfig& config, int64_t value) {
    Digits digits(config.digits);
    for (int& digit : digits) digit = (int)(value % config.base), value /= config.base;
    return digits;
}

static void write_digits(const ArithmeticConfig& config, Digits digits, std::vector<int32_t>& ids) {
    if (!config.low_first()) std::reverse(digits.begin(), digits.end());
    ids.insert(ids.end(), digits.begin(), digits.end());
}

// The number written in the d tokens from `at` on, or -1 if they are not digits of the base.
static int64_t read_number(const ArithmeticConfig& config, const std::vector<int32_t>& ids,
                           size_t at) {
    if (at + config.digits > ids.size()) return -1;
    int64_t value = 0;
    for (int d = 0; d < config.digits; ++d) {
        int32_t digit = ids[config.low_first() ? at + config.digits - 1 - d : at + d];
        if (digit < 0 || digit >= config.base) return -1;
        value = value * config.base + digit;
    }
    return value;
}

static int64_t apply(const ArithmeticConfig& config, int64_t value, const ChainStep& step) {
    int64_t modulus = config.modulus();
    return (step.subtract ? value - step.operand + modulus : value + step.operand) % modulus;
}

// ---- chains -------------------------------------------------------------------------------------

int64_t chain_result(const ArithmeticConfig& config, const Chain& chain) {
    int64_t value = chain.start;
    for (const ChainStep& step : chain.steps) value = apply(config, value, step);
    return value;
}

Chain draw_chain(const ArithmeticConfig& config, int steps, Rng& rng) {
    int modulus = (int)config.modulus(); // at most 10^9
    Chain chain;
    chain.start = rng.below(modulus);
    for (int k = 0; k < steps; ++k) chain.steps.push_back({rng.below(2) == 1, rng.below(modulus)});
    return chain;
}

std::vector<int32_t> chain_prompt(const ArithmeticConfig& config, const Chain& chain) {
    std::vector<int32_t> ids = {bos};
    for (const ChainStep& step : chain.steps) {
        ids.push_back(step.subtract ? minus : plus);
        write_digits(config, to_digits(config, step.operand), ids);
    }
    ids.push_back(arrow);
    write_digits(config, to_digits(config, chain.start), ids);
    return ids;
}

Chain parse_chain(const ArithmeticConfig& config, const std::vector<int32_t>& ids) {
    int stride = 1 + config.digits;
    int steps = ((int)ids.size() - 1 - stride) / stride;
    auto check = [&](bool right) {
        CHECK(right,
              "\"%s\" is not an arithmetic prompt of base %d with %d digits: <bos>, one or more of "
              "+number or -number, then >number",
              text(ids, true).c_str(), config.base, config.digits);
    };
    check(steps >= 1 && (int)ids.size() == 1 + steps * stride + stride && ids[0] == bos);
    Chain chain;
    for (int k = 0; k < steps; ++k) {
        int at = 1 + k * stride;
        ChainStep step{ids[at] == minus, read_number(config, ids, at + 1)};
        check((ids[at] == plus || ids[at] == minus) && step.operand >= 0);
        chain.steps.push_back(step);
    }
    chain.start = read_number(config, ids, ids.size() - config.digits);
    check(ids[ids.size() - stride] == arrow && chain.start >= 0);
    return chain;
}

bool chain_held_out(const std::vector<int32_t>& prompt_ids) {
    uint64_t hash = 0;
    for (int32_t id : prompt_ids) hash = mix64(hash + (uint64_t)id + 1);
    return hash % 8 == 0;
}

// ---- demonstrations -----------------------------------------------------------------------------

// Replaces one digit by another one.
static void spoil_digit(const ArithmeticConfig& config, Digits& digits, Rng& rng) {
    int& digit = digits[rng.below((int)digits.size())];
    digit = (digit + 1 + rng.below(config.base - 1)) % config.base;
}

// Digit by digit from the lowest, with a carry (or borrow) that may be forgotten or invented on its way
// to the next digit. The highest digit's carry is dropped anyhow: that is the modulus.
static Digits work_out(const ArithmeticConfig& config, const Digits& value, const Digits& operand,
                       bool subtract, Rng* faults) {
    Digits result(config.digits);
    int carry = 0;
    for (int d = 0; d < config.digits; ++d) {
        int sum = subtract ? value[d] - operand[d] - carry : value[d] + operand[d] + carry;
        result[d] = (sum + config.base) % config.base;
        carry = subtract ? sum < 0 : sum >= config.base;
        if (!faults || d + 1 == config.digits) continue;
        double forget = subtract ? config.forget_borrow : config.forget_carry;
        if (faults->uniform() < (carry ? forget : config.invent_carry)) carry = !carry;
    }
    return result;
}

std::vector<int32_t> chain_answer(const ArithmeticConfig& config, const Chain& chain, Rng* faults) {
    std::vector<int32_t> ids;
    Digits value = to_digits(config, chain.start);
    for (const ChainStep& step : chain.steps) {
        Digits operand = to_digits(config, step.operand);
        if (faults && faults->uniform() < config.miscopy) spoil_digit(config, operand, *faults);
        value = work_out(config, value, operand, step.subtract, faults);
        if (faults && faults->uniform() < config.wrong_digit) spoil_digit(config, value, *faults);
        ids.push_back(step.subtract ? minus : plus);
        write_digits(config, operand, ids);
        write_digits(config, value, ids);
    }
    ids.push_back(eos);
    return ids;
}

// ---- the rule -----------------------------------------------------------------------------------

// Right: the last result is right and EOS stands directly behind it. Steps on the way may be wrong.
static Verdict verify(const ArithmeticConfig& config, const Chain& chain,
                      const std::vector<int32_t>& completion) {
    size_t length = chain.steps.size() * config.step_tokens();
    Verdict verdict;
    if (completion.size() <= length || completion[length] != eos) {
        verdict.reason = format("no end after %d steps", (int)chain.steps.size());
        return verdict;
    }
    if (completion.size() > length + 1) {
        verdict.reason = "goes on after its end";
        return verdict;
    }
    int64_t got = read_number(config, completion, length - config.digits);
    if (got < 0) {
        verdict.reason = "the last result is not a number";
        return verdict;
    }
    verdict.answer =
        text({completion.begin() + (length - config.digits), completion.begin() + length}, true);
    bool right = got == chain_result(config, chain);
    verdict.reward = right;
    verdict.reason = right ? "right" : "the last result is wrong";
    return verdict;
}

// The step that follows from this value, "" from -1.
static std::string step_text(const ArithmeticConfig& config, int64_t value, const ChainStep& step) {
    if (value < 0) return "";
    std::vector<int32_t> ids = {step.subtract ? minus : plus};
    write_digits(config, to_digits(config, step.operand), ids);
    write_digits(config, to_digits(config, apply(config, value, step)), ids);
    return text(ids, false);
}

// A step is right when operator and operand are copied and the result follows from the value written
// before it (not from the true one). The last part is the end: one EOS and nothing else.
static std::vector<StepVerdict> verify_steps(const ArithmeticConfig& config, const Chain& chain,
                                             const std::vector<int32_t>& completion) {
    std::vector<StepVerdict> parts;
    int stride = config.step_tokens(), size = (int)completion.size();
    int64_t value = chain.start;
    for (int k = 0; k < (int)chain.steps.size() && k * stride < size; ++k) {
        const ChainStep& step = chain.steps[k];
        int at = k * stride;
        StepVerdict part{at, std::min(at + stride, size), false, ""};
        int64_t result = read_number(config, completion, at + 1 + config.digits);
        if (at + stride > size)
            part.reason = "breaks off";
        else if (completion[at] != (step.subtract ? minus : plus))
            part.reason = "wrong operator";
        else if (read_number(config, completion, at + 1) != step.operand)
            part.reason = "operand miscopied";
        else if (result < 0)
            part.reason = "the result is not a number";
        else if (value < 0)
            part.reason = "the value before it is not a number";
        else if (result != apply(config, value, step))
            part.reason = "wrong result";
        else
            part.right = true, part.reason = "right";
        part.should = step_text(config, value, step);
        value = result;
        parts.push_back(part);
    }
    int end = (int)chain.steps.size() * stride;
    if (size > end) {
        bool right = size == end + 1 && completion[end] == eos;
        parts.push_back({end, size, right, right ? "right" : "does not end here"});
    }
    return parts;
}

Task arithmetic_task(const TaskConfig& task_config) {
    ArithmeticConfig config = task_config.arithmetic;
    uint64_t seed = (uint64_t)task_config.seed;
    CHECK(config.steps_min <= config.steps_max,
          "task.arithmetic.steps_min = %d is more than steps_max = %d", config.steps_min,
          config.steps_max);
    Task task;
    task.name = "arithmetic";
    task.vocabulary = &words();
    task.count = [=](Split split) {
        return split == Split::train && config.problems ? config.problems : INT64_MAX;
    };
    task.problem = [=](Split split, int64_t i) {
        bool train = split == Split::train;
        if (train && config.problems) i %= config.problems;
        Rng rng(seed, 2 * (uint64_t)i + (train ? 0 : 1));
        bool easy = train && i < config.curriculum_problems;
        int fewest = easy ? 1 : config.steps_min;
        int most = easy ? config.curriculum_steps : config.steps_max;
        int steps = fewest + rng.below(most - fewest + 1);
        Problem problem;
        Chain chain;
        do {
            chain = draw_chain(config, steps, rng);
            problem.prompt_ids = chain_prompt(config, chain);
        } while (chain_held_out(problem.prompt_ids) == train);
        problem.prompt = text(problem.prompt_ids, false);
        problem.demonstration_ids = chain_answer(config, chain, &rng);
        problem.demonstration = text(problem.demonstration_ids, false);
        std::vector<int32_t> result;
        write_digits(config, to_digits(config, chain_result(config, chain)), result);
        problem.answer = text(result, true);
        problem.where = format("arithmetic problem %lld", (long long)i);
        return problem;
    };
    task.verify = [=](const Problem& problem, const std::vector<int32_t>& completion,
                      const std::string&) {
        return verify(config, parse_chain(config, problem.prompt_ids), completion);
    };
    task.verify_steps = [=](const Problem& problem, const std::vector<int32_t>& completion) {
        return verify_steps(config, parse_chain(config, problem.prompt_ids), completion);
    };
    return task;
}

// ---- text and tokenizer files -------------------------------------------------------------------

const Vocabulary& arithmetic::words() {
    static const Vocabulary vocabulary_words(
        {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "+", "-", ">"});
    return vocabulary_words;
}

std::string arithmetic::text(const std::vector<int32_t>& ids, bool special) {
    return words().text(ids, special);
}
