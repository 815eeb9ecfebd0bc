#pragma once
// The built-in task: running sums of K additions and subtractions of d-digit numbers in base b, modulo
// b^d, with every step written out.
//
//     prompt   <bos> (op operand){K} > start          completion   (op operand result){K} <eos>
//
// Numbers have d digits each, lowest digit first by default. The start value stands last in the prompt,
// so that in every step the previous value is equally far back: 1 + d tokens before the result's first
// digit is written. With base 8, two digits and K = 1:  <bos> + 5 2 > 7 1  ->  + 5 2 4 4 <eos>
// is 25 + 17 = 44 in octal, low digits first.
//
// Demonstrations can be given faults, so that reinforcement learning has something to mend: forgotten
// and invented carries and borrows, wrong digits, miscopied operands. A fault travels on: later steps
// start from the value that was written.

#include "base/config.h"
#include "base/rng.h"
#include "task/vocabulary.h"

struct ArithmeticConfig {
    int steps_min = 1, steps_max = 4;
    int base = 8, digits = 2;
    std::string digit_order = "low";
    int64_t curriculum_problems = 0, problems = 0;
    int curriculum_steps = 2;
    double forget_carry = 0, forget_borrow = 0, invent_carry = 0, wrong_digit = 0, miscopy = 0;

    void visit(Fields& v) {
        v.field("steps_min", steps_min, 1, 64, "fewest steps of a chain");
        v.field("steps_max", steps_max, 1, 64, "K: most steps of a chain; uniform between the two");
        v.field("base", base, 2, 10, "b: base of the numbers");
        v.field("digits", digits, 1, 9, "d: digits of every number; results are modulo b^d");
        v.choice("digit_order", digit_order, {"low", "high"}, "which digit is written first");
        v.field("curriculum_problems", curriculum_problems, 0, 9e15,
                "training begins with so many problems of 1 .. curriculum_steps steps");
        v.field("curriculum_steps", curriculum_steps, 1, 64,
                "most steps of these; 1 is what the first training begins with");
        v.field("problems", problems, 0, 9e15,
                "different training problems; 0: never the same twice");
        v.field("forget_carry", forget_carry, 0, 1,
                "demonstrations: probability that a carry which is due is left out");
        v.field("forget_borrow", forget_borrow, 0, 1,
                "demonstrations: probability that a borrow which is due is left out");
        v.field("invent_carry", invent_carry, 0, 1,
                "demonstrations: probability of a carry or borrow where none is due, per digit");
        v.field("wrong_digit", wrong_digit, 0, 1,
                "demonstrations: probability that a step's result has one random wrong digit");
        v.field("miscopy", miscopy, 0, 1,
                "demonstrations: probability that a step's operand is copied with one wrong digit");
    }
    bool low_first() const { return digit_order == "low"; }
    int64_t modulus() const;
    int step_tokens() const { return 1 + 2 * digits; } // op, operand, result
};

// The fixed vocabulary: digits are their own ids.
namespace arithmetic {
enum Token { plus = 10, minus = 11, arrow = 12, eos = 13, bos = 14, pad = 15, vocabulary = 16 };
// One character per token; <bos>, <eos> and <pad> are spelled so.
std::string text(const std::vector<int32_t>& ids, bool special);
const Vocabulary& words();
} // namespace arithmetic

struct ChainStep {
    bool subtract = false;
    int64_t operand = 0;
};
struct Chain {
    int64_t start = 0;
    std::vector<ChainStep> steps;
};

// start (op operand)*, modulo b^d.
int64_t chain_result(const ArithmeticConfig& config, const Chain& chain);
Chain draw_chain(const ArithmeticConfig& config, int steps, Rng& rng);
std::vector<int32_t> chain_prompt(const ArithmeticConfig& config, const Chain& chain);
// Fails, naming what is wrong, if the ids are not such a prompt.
Chain parse_chain(const ArithmeticConfig& config, const std::vector<int32_t>& prompt_ids);
// The worked answer with EOS; with `faults`, the configuration's faults are drawn from it.
std::vector<int32_t> chain_answer(const ArithmeticConfig& config, const Chain& chain, Rng* faults);
// One in eight prompts is held out, whatever the seed, so that a model trained with one seed can be
// evaluated with another.
bool chain_held_out(const std::vector<int32_t>& prompt_ids);
