"""A directory that rlhf wrote, read by transformers: the same numbers on both sides?

    python tests/reference/check_export.py DIR [--gguf model.gguf] [--rlhf build/rlhf]

DIR comes from `rlhf convert`, `rlhf sft` or `rlhf reward`. Language models: log-probabilities, entropies and 20
greedy tokens of `rlhf logprob` and `rlhf generate` against AutoModelForCausalLM. Reward models: `rlhf score` against
AutoModelForTokenClassification (every completion token) or AutoModelForSequenceClassification (the last token).
--gguf: transformers reads that file instead of DIR's weights, so that `rlhf convert from=GGUF` is checked, too.
Exit status 1 if a difference exceeds --tolerance (nats, or units of score). Needs torch and transformers.
"""

import argparse
import json
import os
import sys
import tempfile

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import common

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("--gguf")
parser.add_argument("--tolerance", type=float, default=1e-3)
parser.add_argument("--rlhf", default="build/rlhf")
args = parser.parse_args()

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
config = json.load(open(os.path.join(args.directory, "config.json")))
kind = config["architectures"][0]
out = tempfile.NamedTemporaryFile(suffix=".jsonl").name
failed = False


def verdict(what, worst, limit):
    global failed
    ok = worst <= limit  # false for NaN
    failed = failed or not ok
    print(f"{what:<42} {worst:9.2e}  {'ok' if ok else 'FAILED'}")


def token_rows():
    """Texts if there is a tokenizer, else random ids; prompt and completion."""
    if os.path.exists(os.path.join(args.directory, "tokenizer.json")):
        tokenizer = AutoTokenizer.from_pretrained(args.directory)
        texts = [("The capital of France is", " Paris, a city on the Seine."), ("def fib(n):\n", "    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"),
                 ("What is 7 times 8?", " 7 times 8 is 56."), ("1", "2"), ("Once upon a time " * 12, "there was a fox. " * 10)]
        encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        return [(encode(a), encode(b)) for a, b in texts]
    draw = lambda n: torch.randint(1, config["vocab_size"], (n,), generator=torch.Generator().manual_seed(n)).tolist()
    return [(draw(n), draw(n + 3)) for n in (1, 5, 40, 70)]


rows = token_rows()
data = common.write_rows([{"prompt_ids": p, "completion_ids": c} for p, c in rows])

if kind.endswith("ForCausalLM"):
    if args.gguf:
        folder, name = os.path.split(os.path.abspath(args.gguf))
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(args.directory, dtype=torch.float32).eval()

    common.rlhf(args.rlhf, "logprob", f"model.path={args.directory}", f"data.path={data}", f"out={out}")
    worst_logp = worst_entropy = 0.0
    for (prompt, completion), row in zip(rows, common.read_rows(out), strict=True):
        ids = prompt + completion
        assert row["ids"] == ids and row["first"] == len(prompt)
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)[len(prompt) - 1 : -1]
        logp = table[range(len(completion)), completion]
        entropy = -(table.exp() * table).sum(-1)
        worst_logp = max(worst_logp, (logp - torch.tensor(row["logp"], dtype=torch.float64)).abs().max().item())
        worst_entropy = max(worst_entropy, (entropy - torch.tensor(row["entropy"], dtype=torch.float64)).abs().max().item())
    verdict("log-probability, largest difference", worst_logp, args.tolerance)
    verdict("entropy, largest difference", worst_entropy, args.tolerance)

    prompts = common.write_rows([{"prompt_ids": p} for p, _ in rows])
    common.rlhf(args.rlhf, "generate", f"model.path={args.directory}", f"data.path={prompts}", f"out={out}",
                "sample.temperature=0", "sample.max_new_tokens=20")
    different = 0
    for (prompt, _), row in zip(rows, common.read_rows(out), strict=True):
        with torch.no_grad():
            theirs = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                    max_new_tokens=20, do_sample=False, repetition_penalty=1.0)[0, len(prompt) :].tolist()
        if theirs != row["completion_ids"]:
            different += 1
            print(f"greedy text differs after {prompt[:8]}...: transformers {theirs}, rlhf {row['completion_ids']}")
    verdict("greedy texts that differ", different, 0)
else:
    model = getattr(transformers, "AutoModel" + kind[kind.index("For") :]).from_pretrained(args.directory, dtype=torch.float32).eval()
    common.rlhf(args.rlhf, "score", f"model.path={args.directory}", f"data.path={data}", f"out={out}")
    worst = 0.0
    for (prompt, completion), row in zip(rows, common.read_rows(out), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0].double().flatten()
        if kind.endswith("ForTokenClassification"):
            found, want = torch.tensor(row["token_score"], dtype=torch.float64), logits[len(prompt) :]
            worst = max(worst, abs(row["score"] - want.mean().item()))
        else:
            found, want = torch.tensor([row["score"]], dtype=torch.float64), logits
        worst = max(worst, (found - want).abs().max().item())
    verdict(f"{kind}: score, largest difference", worst, args.tolerance)

sys.exit(1 if failed else 0)
