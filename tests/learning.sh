#!/bin/bash
# What each algorithm learns on the built-in task, as Markdown rows: `make learning` prints both tables of the
# README. Every run starts from the same policy (worked answers with faults), 16 prompts x 8 completions a
# step, 60 steps, and differs from the others by the arm and the seed alone.
#
#   end        pass@1 on 256 held-out problems, mean of the evaluations after steps 40, 50 and 60, mean over
#              seeds, with the smallest and the largest seed
#   to 0.6     optimiser steps until an evaluation reaches 0.6, mean over the seeds that do (of how many)
#   trained    completion tokens in the updates, thousands, mean;   seconds: of all steps, mean
cd "$(dirname "$0")/.." || exit 1
rlhf=${RLHF:-build/rlhf} start=${1:-checkpoints/demo/faulty} out=${OUT:-checkpoints/learning}
[ -d "$start" ] || { echo "learning: $start is missing; make demo makes it"; exit 1; }
rm -rf "$out" && mkdir -p "$out" || exit 1

arm() { # name, seeds, keys...
    local name=$1 seeds=$2
    shift 2
    for ((seed = 0; seed < seeds; ++seed)); do
        "$rlhf" rl configs/grpo_arithmetic.json model.path="$start" run.dir="$out/$name-$seed" run.seed=$seed \
            train.store_every=0 "$@" > "$out/$name-$seed.log" 2>&1 || { tail -1 "$out/$name-$seed.log"; exit 1; }
    done
    for ((seed = 0; seed < seeds; ++seed)); do
        number() { grep -o "\"$1\":[0-9.e+-]*" "$out/$name-$seed/metrics.jsonl" | cut -d: -f2; }
        number 'eval_pass@1' | tail -3 | awk '{s += $1} END {printf "%.4f ", s / NR}'
        number 'eval_pass@1' | awk '$1 >= 0.6 {print NR * 10; found = 1; exit} END {if (!found) print "-"}' | tr '\n' ' '
        number kept_tokens | awk '{s += $1} END {printf "%.1f ", s / 1000}'
        number step_seconds | awk '{s += $1} END {printf "%.2f\n", s}'
    done | awk -v name="$name" '
        {end += $1; if (NR == 1 || $1 < low) low = $1; if ($1 > high) high = $1
         if ($2 != "-") {to += $2; ++reached}
         tokens += $3; seconds += $4}
        END {printf "| %s | %.3f (%.3f–%.3f) | %s | %.0f | %.1f |\n", name, end / NR, low, high,
             reached ? sprintf("%.0f (%d of %d)", to / reached, reached, NR) : "–", tokens / NR, seconds / NR}'
}

echo "| algorithm | end | to 0.6 | trained | seconds |"
echo "| --- | --- | --- | --- | --- |"
for preset in reinforce rloo reinforce_pp reinforce_pp_baseline grpo dr_grpo dapo gspo gspo_token cispo; do
    arm $preset 3 algo.preset=$preset
done
arm ppo 3 algo.preset=ppo train.epochs=2 train.minibatches=2 critic.lr=1e-3
echo
echo "| selection (GRPO) | end | to 0.6 | trained | seconds |"
echo "| --- | --- | --- | --- | --- |"
arm everything 5
arm random 5 select.mode=random select.keep_samples=[4,4]
arm PODS 5 select.mode=pods select.keep_samples=[4,4]
arm CPPO 5 select.mode=cppo select.keep_samples=[4,4]
arm D1S 5 select.mode=intra select.keep_samples=[4,4] select.drop_zero=true
arm D1S-cross 5 select.mode=cross select.keep_samples=[4,4] select.drop_zero=true
arm D2S 5 select.mode=cross select.keep_samples=[4,4] select.keep_tokens=[0.5,0.5] select.drop_zero=true
arm D3S 5 select.mode=cross select.keep_samples=[2,6] select.keep_tokens=[0.25,0.75] select.drop_zero=true
