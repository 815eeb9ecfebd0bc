"""What the scripts of this folder share: running the binary, real rows, a quiet clock."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def rlhf(binary, *arguments):
    """Runs the binary; its standard output. A failure is the script's failure."""
    done = subprocess.run([binary, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{binary} {' '.join(arguments)}: exit status {done.returncode}")
    return done.stdout


def read_rows(path):
    with open(path) as f:
        return [json.loads(line) for line in f if line.strip()]


def write_rows(rows):
    """A temporary JSON Lines file."""
    f = tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False)
    with f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    return f.name


def gsm8k_rows(tokenizer, path, count):
    """Question and answer as ids, each string encoded on its own, the answer with the end-of-sequence id."""
    out = []
    for row in read_rows(path)[:count]:
        prompt = tokenizer(row["question"], add_special_tokens=False)["input_ids"]
        completion = tokenizer(row["answer"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        out.append((prompt, completion))
    return out


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def summary(rates):
    return f"{statistics.median(rates):.1f} (best {max(rates):.1f}, {len(rates)} runs)"
