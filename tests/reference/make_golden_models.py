"""Tiny random models of every family and what PyTorch makes of them, for tests/model/parity_test.cpp.

    python tests/reference/make_golden_models.py [tests/golden/models]

Each directory is an ordinary Hugging Face model (config.json in the older or the newer form, f32 weights) with
  golden.json         token sequences, trained targets, hyper-parameters, losses, greedy completions
  golden.safetensors  F64 arrays: logp, entropy, score of every next token; grad.NAME: gradients at the given
                      weights, in full or their `digest`; after.NAME: digest of what three AdamW steps added
Needs torch, transformers, safetensors, numpy. The oracle is transformers' own modules in double precision; the
two places where they drop to single precision on purpose (RMSNorm, the rotary table) are computed in double here,
and the result is held against the unchanged modules in single precision.
"""

import json
import math
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../golden/models")
LENGTHS = [1, 2, 5, 33, 64, 65, 129, 140]  # one token, block edges of 64 and 128, and between
PROMPTS = [1, 3, 17, 66]  # lengths of the prompts that are continued greedily
NEW_TOKENS = 20

torch.set_num_threads(2)


def norm_in_double(self, x):
    eps = self.variance_epsilon
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rotary_in_double(self, x, position_ids):
    rope, config = self.config.rope_parameters, self.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    frequency = rope["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    if rope["rope_type"] == "llama3":
        # Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, a ramp between.
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        ramp = ((turns - low) / (high - low)).clamp(0, 1)
        frequency = frequency * (ramp + (1 - ramp) / rope["factor"])
    assert torch.allclose(frequency.float(), self.inv_freq.float(), rtol=2e-6, atol=0)
    angle = position_ids[..., None].double() * frequency
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def in_double(model):
    """The model in f64 throughout."""
    model = model.double().eval()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = norm_in_double.__get__(module)
        if kind.endswith("RotaryEmbedding"):
            module.forward = rotary_in_double.__get__(module)
    return model


def randomise(model, seed):
    """Weights large enough that attention, gates and the logits are far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        with torch.no_grad():
            if "norm" in name:
                p.copy_(1 + 0.3 * noise)
            elif p.dim() == 1:
                p.copy_(0.3 * noise)
            elif "embed" in name or "lm_head" in name:
                p.copy_(0.3 * noise)
            else:
                p.copy_(noise * 2 / math.sqrt(p.shape[1]))


def digest(x):
    """Norm and four projections on fixed waves: s_j = sum_i sin(0.7 j (i + 1)) x_i. f64."""
    x = x.detach().double().flatten()
    i = torch.arange(1, x.numel() + 1, dtype=torch.float64)
    return torch.stack([x.norm()] + [(torch.sin(0.7 * j * i) * x).sum() for j in range(1, 5)])


def next_token(model, ids):
    """Log-probabilities (T-1, V) of every next token of one sequence."""
    return torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0, :-1], dim=-1)


def mean_loss(model, sequences, first):
    """Mean over all trained tokens, nats. A sequence's tokens first .. len-1 are trained."""
    total, count = 0.0, 0
    for ids, start in zip(sequences, first):
        logp = next_token(model, ids)
        for t in range(start, len(ids)):
            total = total - logp[t - 1, ids[t]]
            count += 1
    return total / count


def greedy(model, prompt, count, eos):
    """Completion by full forward passes, and the smallest lead of the best token over the second."""
    ids, lead = list(prompt), math.inf
    for _ in range(count):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        top = logits.topk(2).values
        lead = min(lead, (top[0] - top[1]).item())
        ids.append(int(logits.argmax()))
        if ids[-1] in eos:
            break
    return ids[len(prompt) :], lead


def save_model(model, name, older):
    directory = os.path.join(OUT, name)
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    path = os.path.join(directory, "config.json")
    config = json.load(open(path))
    config.pop("transformers_version", None)
    for key in ("attention_dropout", "use_cache", "layer_types", "max_window_layers", "sliding_window", "use_sliding_window"):
        config.pop(key, None)
    if older:  # as transformers 4 wrote it
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
        config["torch_dtype"] = config.pop("dtype")
    json.dump(config, open(path, "w"), indent=1)
    generation = os.path.join(directory, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    os.chmod(os.path.join(directory, "model.safetensors"), 0o644)
    return directory


def write_golden(directory, golden, arrays):
    for name, array in arrays.items():
        assert torch.isfinite(array).all(), name
    save_file({k: v.detach().double().contiguous() for k, v in arrays.items()}, os.path.join(directory, "golden.safetensors"))
    os.chmod(os.path.join(directory, "golden.safetensors"), 0o644)
    with open(os.path.join(directory, "golden.json"), "w") as f:
        json.dump(golden, f)
        f.write("\n")


def make_causal(name, config, kind, seed, older, full_gradients):
    torch.manual_seed(seed)
    model = kind(config).float().eval()
    randomise(model, seed)
    directory = save_model(model, name, older)
    # What is tested is the directory as transformers reads it again.
    single = kind.from_pretrained(directory, dtype=torch.float32).eval()
    model = in_double(kind.from_pretrained(directory, dtype=torch.float32))

    rng = np.random.default_rng(seed)
    V = config.vocab_size
    sequences = [rng.integers(0, V, n).tolist() for n in LENGTHS]
    first = [max(1, n // 3) for n in LENGTHS]

    logp, entropy, worst = [], [], 0.0
    for ids in sequences:
        table = next_token(model, ids).detach()
        logp.append(table[range(len(ids) - 1), ids[1:]])
        entropy.append(-(table.exp() * table).sum(-1))
        if len(ids) > 1:
            worst = max(worst, (table - next_token(single, ids)).abs().max().item())
    assert worst < 1e-4, worst

    arrays = {"logp": torch.cat(logp), "entropy": torch.cat(entropy)}
    trained = [(ids, start) for ids, start in zip(sequences, first) if len(ids) > 1]
    trained, starts = [ids for ids, _ in trained], [start for _, start in trained]

    mean_loss(model, trained, starts).backward()
    parameters = dict(model.named_parameters())
    for key, p in parameters.items():
        arrays["grad." + key] = p.grad.clone() if full_gradients else digest(p.grad)
    norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in parameters.values()))

    # eps keeps AdamW, which divides by the gradient's size, from blowing up the rounding of tiny gradients.
    optim = {"lr": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.1, "grad_clip": 0.6 * norm}
    groups = [
        {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": optim["weight_decay"]},
        {"params": [p for p in parameters.values() if p.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=optim["lr"], betas=(optim["beta1"], optim["beta2"]), eps=optim["eps"])
    before = {key: p.detach().clone() for key, p in parameters.items()}
    losses, norms = [], []
    for _ in range(3):
        adamw.zero_grad()
        loss = mean_loss(model, trained, starts)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), optim["grad_clip"]).item())
        adamw.step()
        losses.append(loss.item())
    for key, p in parameters.items():
        arrays["after." + key] = digest(p - before[key])
    with torch.no_grad():
        for key, p in parameters.items():
            p.copy_(before[key])

    prompts = [rng.integers(0, V, n).tolist() for n in PROMPTS]
    free = [greedy(model, prompt, NEW_TOKENS, [])[0] for prompt in prompts]
    # Two stop ids: the first prompt's completion meets the second of them half-way, the rest go on.
    later = set(t for ids in free[1:] for t in ids)
    stop = next((t for i, t in enumerate(free[0]) if i >= 5 and t not in later and t not in free[0][:i]), None)
    unused = next(t for t in range(V) if t not in later and t not in free[0])
    assert stop is not None, f"{name}: no token to stop at, take another seed"
    eos = [unused, stop]
    completions = []
    for prompt in prompts:
        ids, lead = greedy(model, prompt, NEW_TOKENS, eos)
        assert lead > 1e-3, f"{name}: a tie in the greedy text, take another seed"
        theirs = single.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                 max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=eos, pad_token_id=0)
        assert theirs[0, len(prompt) :].tolist() == ids
        completions.append(ids)
    assert all(len(set(ids)) >= 4 for ids in completions) , f"{name}: dull text, take another seed"
    with open(os.path.join(directory, "generation_config.json"), "w") as f:
        json.dump({"eos_token_id": eos}, f)

    golden = {"sequences": sequences, "first": first, "optim": optim, "losses": losses, "grad_norms": norms,
              "prompts": prompts, "completions": completions, "new_tokens": NEW_TOKENS, "eos": eos}
    write_golden(directory, golden, arrays)
    print(f"{name}: {sum(p.numel() for p in parameters.values())} parameters, losses {losses}, "
          f"norm {norm:.3f}, f32 off by {worst:.1e}, eos {eos}, lengths {[len(c) for c in completions]}, "
          f"distinct {[len(set(c)) for c in completions]}")


def make_scored(name, config, kind, seed, older):
    torch.manual_seed(seed)
    model = kind(config).float().eval()
    randomise(model, seed)
    directory = save_model(model, name, older)
    model = in_double(kind.from_pretrained(directory, dtype=torch.float32))
    rng = np.random.default_rng(seed)
    # No padding id (0) inside: transformers reads a sequence's score at the last token that is not one.
    sequences = [rng.integers(1, config.vocab_size, n).tolist() for n in LENGTHS]
    scores = []
    for ids in sequences:
        hidden = model.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
        scores.append(model.score(hidden)[:, 0])
        given = model(torch.tensor([ids]), use_cache=False).logits[0]
        want = scores[-1] if "Token" in kind.__name__ else scores[-1][-1:]
        assert torch.equal(given.flatten(), want)
    # An arbitrary loss whose gradient reaches every parameter: half the mean square of the read scores.
    read = torch.cat(scores) if "Token" in kind.__name__ else torch.stack([s[-1] for s in scores])
    loss = 0.5 * read.pow(2).mean()
    loss.backward()
    arrays = {"score": torch.cat(scores)}
    for key, p in model.named_parameters():
        arrays["grad." + key] = p.grad
    write_golden(directory, {"sequences": sequences, "loss": loss.item()}, arrays)
    print(f"{name}: loss {loss.item():.4f}")


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print("torch", torch.__version__, "transformers", transformers.__version__)
    T = transformers
    # No padding id: PyTorch's embedding would drop the gradient of that row.
    common = dict(num_hidden_layers=2, max_position_embeddings=192, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    plain = {"rope_type": "default", "rope_theta": 10000.0}

    # grouped queries 3:1, untied
    make_causal("llama", T.LlamaConfig(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37,
                vocab_size=97, rms_norm_eps=1e-5, rope_parameters=plain, tie_word_embeddings=False, **common),
                T.LlamaForCausalLM, 1100, older=True, full_gradients=True)
    # wavelengths 6 .. 9952 over an original context of 64: kept, ramped and stretched ones all occur
    scaled = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    make_causal("llama3_scaled", T.LlamaConfig(hidden_size=30, num_attention_heads=3, num_key_value_heads=3,
                intermediate_size=33, vocab_size=101, rms_norm_eps=1e-5, rope_parameters=scaled,
                tie_word_embeddings=True, **common), T.LlamaForCausalLM, 1203, older=False, full_gradients=False)
    make_causal("qwen2", T.Qwen2Config(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=34,
                vocab_size=89, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
                tie_word_embeddings=True, **common), T.Qwen2ForCausalLM, 1300, older=True, full_gradients=False)
    # heads wider than C / H
    make_causal("qwen3", T.Qwen3Config(hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
                intermediate_size=35, vocab_size=107, rms_norm_eps=1e-6,
                rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, tie_word_embeddings=True,
                **common), T.Qwen3ForCausalLM, 1400, older=False, full_gradients=True)
    common["num_hidden_layers"] = 1
    common["pad_token_id"] = 0
    make_scored("token_classification", T.LlamaConfig(hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
                intermediate_size=24, vocab_size=53, rms_norm_eps=1e-5, rope_parameters=plain, num_labels=1,
                token_classification_bias=False, tie_word_embeddings=False, **common),
                T.LlamaForTokenClassification, 15, older=True)
    make_scored("sequence_classification", T.Qwen2Config(hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
                intermediate_size=24, vocab_size=53, rms_norm_eps=1e-6, rope_parameters=plain, num_labels=1,
                tie_word_embeddings=True, **common), T.Qwen2ForSequenceClassification, 16, older=False)


main()
