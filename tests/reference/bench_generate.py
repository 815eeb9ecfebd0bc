"""Generation side by side: transformers.generate against `rlhf bench generate`, random prompts of one length.

    python tests/reference/bench_generate.py --model DIR [--dtype f32|bf16] [--batch 32] [--rlhf build/rlhf]

Both draw exactly --new tokens for each prompt. Rates: new tokens per second of the whole call (prompts included),
and of decoding alone, for which transformers' call with one new token is subtracted.
bf16: weights and activations in bf16 on the torch side, compute.gemm=bf16 on ours. Needs torch and transformers.
"""

import argparse
import json

import torch
from transformers import AutoModelForCausalLM

import common

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--prompt", type=int, default=128)
parser.add_argument("--new", type=int, default=64)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rlhf", default="build/rlhf")
parser.add_argument("--peer-only", action="store_true")
args = parser.parse_args()

torch.set_num_threads(args.threads)
dtype = torch.float32 if args.dtype == "f32" else torch.bfloat16
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
ids = torch.randint(0, model.config.vocab_size, (args.batch, args.prompt), generator=torch.Generator().manual_seed(1))


def run(new):
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=True,
                             top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0)
    assert out.shape[1] == args.prompt + new


run(2)
whole = min(common.timed(lambda: run(args.new))[0] for _ in range(args.repeats))
first = min(common.timed(lambda: run(1))[0] for _ in range(args.repeats))
rate, decode = args.batch * args.new / whole, args.batch * (args.new - 1) / (whole - first)
print(f"transformers {args.dtype}, batch {args.batch}: {rate:.1f} new tokens/s, decoding alone {decode:.1f}")

if not args.peer_only:
    ours = json.loads(common.rlhf(args.rlhf, "bench", "generate", f"model.path={args.model}", f"bench.batch={args.batch}",
                                  f"bench.prompt_tokens={args.prompt}", f"bench.new_tokens={args.new}",
                                  f"bench.repeats={args.repeats}", f"compute.gemm={args.dtype}",
                                  f"compute.threads={args.threads}", "format=json"))
    print(f"rlhf {args.dtype}, batch {args.batch}: {ours['tokens_per_s']:.1f} new tokens/s, decoding alone {ours['decode_tokens_per_s']:.1f}")
    print(f"ratio rlhf / transformers: {ours['tokens_per_s'] / rate:.2f}, decoding alone {ours['decode_tokens_per_s'] / decode:.2f}")
