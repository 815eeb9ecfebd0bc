#!/bin/bash
# run.sh FUZZER SECONDS: feeds one fuzzer, beginning with the golden files that its parser reads, and fails if
# it finds a fault. New inputs are kept beside the program, so that the next run begins where this one ended.
set -e
cd "$(dirname "$0")/../.."
name=$(basename "$1" _fuzz)
corpus=$1.corpus
mkdir -p "$corpus"
case $name in
safetensors) seeds=$(find tests/golden -name '*.safetensors' -size -16k) ;;
gguf) seeds=$(find tests/golden -name '*.gguf' -size -40k) ;;
jinja) seeds=$(find tests/golden -name "*.jinja" -size -64k) ;;
model_config) seeds=$(find tests/golden -name config.json) ;;
tokenizer) seeds=$(find tests/golden -name 'tokenizer*.json' -size -64k) ;;
*) seeds=$(find tests/golden -name "*$name*" -size -64k) ;;
esac
for seed in $seeds; do cp "$seed" "$corpus/seed_$(echo "$seed" | tr / _)"; done
echo "fuzzing $name for $2 s"
OMP_NUM_THREADS=1 "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
    -artifact_prefix="$corpus-" "$corpus"
