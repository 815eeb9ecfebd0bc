#!/bin/bash
# What each algorithm learns on the built-in task, as Markdown rows: `make learning` prints both tables of
# configs/README.md. Seed s of every arm starts from the policy of seed s: a first training of its own, spoilt
# by worked answers with faults. 16 prompts x 8 completions a step, 60 steps; runs of one seed differ by the arm
# alone. A start that has not learnt, or is not spoilt as the table supposes, ends it.
#
#   end        pass@1 on 256 held-out problems, mean of the evaluations after steps 40, 50 and 60, mean over
#              seeds, with the smallest and the largest seed
#   gain       end minus pass@1 before the first step, likewise
#   to 0.6     optimiser steps until an evaluation reaches 0.6, mean over the seeds that do (of how many)
#   trained    completion tokens in the updates, thousands, mean;   seconds: of all steps, mean
cd "$(dirname "$0")/.." || exit 1
rlhf=${RLHF:-build/rlhf} out=${OUT:-checkpoints/learning} seeds=${SEEDS:-5}
mkdir -p "$out" || exit 1

# Runs a command into a log; its last line is what went wrong.
run() {
    local log=$1
    shift
    "$rlhf" "$@" compute.threads=1 > "$log" 2>&1 || { echo "learning: $(tail -1 "$log") ($log)" >&2; exit 1; }
}

for ((seed = 0; seed < seeds; ++seed)); do
    at=$out/start-$seed
    [ -e "$at.done" ] && continue
    rm -rf "$at" "$at-sft"
    run "$at.log" sft configs/sft_arithmetic.json run.dir="$at-sft" run.seed=$seed task.seed=$seed
    run "$at.log" eval configs/eval_arithmetic.json model.path="$at-sft" at_least=0.95
    run "$at.log" sft configs/sft_arithmetic_faulty.json model.path="$at-sft" run.dir="$at" run.seed=$seed task.seed=$seed
    run "$at.log" eval configs/eval_arithmetic.json model.path="$at" at_least=0.2 at_most=0.55
    touch "$at.done"
done

arm() { # name, keys...
    local name=$1
    shift
    for ((seed = 0; seed < seeds; ++seed)); do
        rm -rf "$out/$name-$seed"
        run "$out/$name-$seed.log" rl configs/grpo_arithmetic.json model.path="$out/start-$seed" \
            run.dir="$out/$name-$seed" run.seed=$seed task.seed=$seed train.store_every=0 "$@"
    done
    for ((seed = 0; seed < seeds; ++seed)); do
        number() { grep -o "\"$1\":[0-9.e+-]*" "$out/$name-$seed/metrics.jsonl" | cut -d: -f2; }
        number 'eval_before_pass@1' | tr '\n' ' '
        number 'eval_pass@1' | tail -3 | awk '{s += $1} END {printf "%.4f ", s / NR}'
        number 'eval_pass@1' | awk '$1 >= 0.6 {print NR * 10; found = 1; exit} END {if (!found) print "-"}' | tr '\n' ' '
        number kept_tokens | awk '{s += $1} END {printf "%.1f ", s / 1000}'
        number step_seconds | awk '{s += $1} END {printf "%.2f\n", s}'
    done | awk -v name="$name" '
        {gain = $2 - $1; end += $2; gains += gain
         if (NR == 1 || $2 < low) low = $2; if ($2 > high) high = $2
         if (NR == 1 || gain < least) least = gain; if (gain > most) most = gain
         if ($3 != "-") {to += $3; ++reached}
         tokens += $4; seconds += $5}
        END {printf "| %s | %.3f (%.3f–%.3f) | %.3f (%.3f–%.3f) | %s | %.0f | %.1f |\n", name, end / NR, low, high,
             gains / NR, least, most, reached ? sprintf("%.0f (%d of %d)", to / reached, reached, NR) : "–",
             tokens / NR, seconds / NR}'
}

echo "| algorithm | end | gain | to 0.6 | trained | seconds |"
echo "| --- | --- | --- | --- | --- | --- |"
for preset in reinforce rloo reinforce_pp reinforce_pp_baseline grpo dr_grpo dapo gspo gspo_token cispo; do
    arm $preset algo.preset=$preset
done
arm ppo algo.preset=ppo train.epochs=2 train.minibatches=2 critic.lr=1e-3
echo
echo "| selection (GRPO) | end | gain | to 0.6 | trained | seconds |"
echo "| --- | --- | --- | --- | --- | --- |"
arm everything
arm random select.mode=random select.keep_samples=[4,4]
arm PODS select.mode=pods select.keep_samples=[4,4]
arm CPPO select.mode=cppo select.keep_samples=[4,4]
arm D1S select.mode=intra select.keep_samples=[4,4] select.drop_zero=true
arm D1S-cross select.mode=cross select.keep_samples=[4,4] select.drop_zero=true
arm D2S select.mode=cross select.keep_samples=[4,4] select.keep_tokens=[0.5,0.5] select.drop_zero=true
arm D3S select.mode=cross select.keep_samples=[2,6] select.keep_tokens=[0.25,0.75] select.drop_zero=true
