"""A GRPO step side by side: TRL's GRPOTrainer against `rlhf bench rl`, the same model, prompts, groups and lengths.

    python tests/reference/bench_trl_grpo.py --model DIR [--data train.jsonl] [--dtype f32|bf16] [--rlhf build/rlhf]
    python tests/reference/bench_trl_grpo.py --tiny [...]

A step: --prompts prompts x --group completions of exactly --new tokens (EOS barred), random rewards, one optimiser
step of GRPO on all of them, no KL. --data: GSM8K questions as prompts, else random ids. --tiny: a Llama of 0.84 M
parameters made here, 32 prompts x 8 x 32 tokens. bf16: autocast on TRL's side (its `bf16=True`), compute.gemm=bf16 on
ours; both keep f32 weights. Both print seconds of a step and the share that drawing took. Needs torch, transformers, trl.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import common

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--tiny", action="store_true")
parser.add_argument("--data")
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--prompts", type=int)
parser.add_argument("--group", type=int, default=8)
parser.add_argument("--new", type=int)
parser.add_argument("--prompt-tokens", type=int, default=24, help="of a random prompt")
parser.add_argument("--steps", type=int, help="default: 3, with --tiny 10")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rlhf", default="build/rlhf")
parser.add_argument("--peer-only", action="store_true")
args = parser.parse_args()
prompts = args.prompts or (32 if args.tiny else 4)
new = args.new or (32 if args.tiny else 64)
steps = args.steps or (10 if args.tiny else 3)

torch.set_num_threads(args.threads)
torch.manual_seed(1)


def tiny_model(directory):
    """A Llama of 0.84 M parameters with a vocabulary of 256 words, as a Hugging Face directory."""
    config = LlamaConfig(vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
                         num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)
    model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    words = {"<bos>": 0, "<eos>": 1, **{f"w{i}": i for i in range(2, 256)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>").save_pretrained(directory)
    print(f"tiny model: {model.num_parameters():,} parameters")
    return directory


directory = tiny_model(tempfile.mkdtemp()) if args.tiny else args.model
tokenizer = AutoTokenizer.from_pretrained(directory)
if args.data:
    texts = [row["question"] for row in common.read_rows(args.data)[:prompts]]
else:
    words = [w for w in tokenizer.get_vocab() if w.isascii() and w.strip("Ġw").isalnum()]
    pick = torch.randint(0, len(words), (prompts, args.prompt_tokens), generator=torch.Generator().manual_seed(1))
    texts = [" ".join(words[int(i)].strip("Ġ") for i in row) for row in pick]
ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


class Clock(TrainerCallback):
    """Seconds of each optimiser step."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.start)


class TimedTrainer(GRPOTrainer):
    """Seconds of each call that draws completions (with TRL's own preparation of the batch)."""

    drawing = []
    whole = []

    def _generate(self, *a, **k):
        seconds, result = common.timed(lambda: super(TimedTrainer, self)._generate(*a, **k))
        self.drawing.append(seconds)
        return result

    def training_step(self, *a, **k):
        seconds, result = common.timed(lambda: super(TimedTrainer, self).training_step(*a, **k))
        self.whole.append(seconds)
        return result


def random_reward(completions, **_):
    return [float(torch.randint(0, 2, ()).item()) for _ in completions]


clock = Clock()
config = GRPOConfig(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=prompts * args.group, num_generations=args.group, max_completion_length=new,
    generation_kwargs={"min_new_tokens": new}, temperature=1.0, beta=0.0, learning_rate=1e-6, max_steps=steps + 1, logging_steps=100,
    save_strategy="no", report_to=[], use_cpu=True, bf16=args.dtype == "bf16", gradient_checkpointing=False, loss_type="grpo",
    model_init_kwargs={"dtype": "float32"}, disable_tqdm=True, dataloader_pin_memory=False)
trainer = TimedTrainer(model=directory, args=config, processing_class=tokenizer, reward_funcs=random_reward,
                       train_dataset=Dataset.from_dict({"prompt": texts}), callbacks=[clock])
trainer.train()
# The draw of a step lies in its training_step; clipping and the optimiser's own time lie behind it, inside the clock.
step = [max(a, b) for a, b in zip(clock.seconds[1:], trainer.whole[1:])]  # the first one warms up
drawing = trainer.drawing[1:]
peer = statistics.median(step)
print(f"TRL {args.dtype}: {peer:.2f} s a step (best {min(step):.2f}, {len(step)} steps), drawing {statistics.median(drawing):.2f} s")

if not args.peer_only:
    if args.tiny:  # word level, which the binary does not read; the rows below are ids
        os.remove(os.path.join(directory, "tokenizer.json"))
    data = common.write_rows([{"prompt_ids": p, "completion_ids": [p[0]] * new} for p in ids])
    ours = json.loads(common.rlhf(args.rlhf, "bench", "rl", f"model.path={directory}", f"data.train={data}", f"bench.batch={prompts * args.group}",
                                  f"bench.group={args.group}", f"bench.new_tokens={new}", f"bench.repeats={steps}", f"train.tokens_per_micro_batch={sum(len(p) + args.group * new for p in ids)}",
                                  f"compute.gemm={args.dtype}", f"compute.threads={args.threads}", "format=json"))
    print(f"rlhf {args.dtype}: {ours['step_seconds']:.2f} s a step, drawing {ours['generate_seconds']:.2f} s, training {ours['train_seconds']:.2f} s, "
          f"{100 * ours['gemm_peak_share']:.0f} % of the GEMM peak")
    print(f"ratio TRL / rlhf: {peer / ours['step_seconds']:.2f}")
