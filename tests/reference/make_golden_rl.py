"""Golden values of every RL loss, from PyTorch autograd in float64 and from TRL's own code.

    python tests/reference/make_golden_rl.py          writes tests/golden/rl/{rows.jsonl,cases.json}

Needs torch and, for the cases named trl:*, trl. Written from the papers' formulas
(specs: advantage, ratio, clip, KL, aggregation, selection), sharing nothing with the C++.
"""

import itertools
import json
import math
import os
import random
import types
from unittest.mock import MagicMock

import torch

torch.set_default_dtype(torch.float64)
OUT = os.path.join(os.path.dirname(__file__), "..", "golden", "rl")


# ---------------------------------------------------------------- rows


def make_rows():
    rng = random.Random(20)
    rewards = {3: [1, 0, 0.25, 0.875], 7: [1, 1, 1], 8: [0.5], 11: [0, -0.5, 0.25, 1.5, 2.0]}
    noise = lambda x, s: [round(v + rng.gauss(0, s), 6) for v in x]
    rows = []
    for prompt, values in rewards.items():
        for sample, reward in enumerate(values):
            length = rng.choice([1, 2, 3, 5, 6])
            old = noise([-1.3] * length, 0.4)
            value_old = noise([0.4] * length, 0.3)
            rows.append(
                {
                    "step": 10,
                    "prompt_id": prompt,
                    "sample": sample,
                    "prompt_ids": [1, 2],
                    "completion_ids": [rng.randrange(50) for _ in range(length)],
                    "finish": rng.choice(["stop", "stop", "length"]),
                    "logp_old": old,
                    "logp": noise(old, 0.25),
                    "logp_ref": noise(old, 0.3),
                    "entropy": [abs(x) for x in noise([0.8] * length, 0.5)],
                    "value": noise(value_old, 0.25),
                    "value_old": value_old,
                    "reward": reward,
                    "credit": [rng.choice([0.0, 0.0, -1.0, 0.5]) for _ in range(length)],
                }
            )
    return rows


# ---------------------------------------------------------------- presets, as the table of the contract has them

BASE = dict(loss="surrogate", lo=0.2, hi=0.2, dual=0, cap=0, kl="none", kl_coef=0.0, kl_in="loss", ent=0.0,
            agg="token_mean", norm=0, gamma=1.0, lam=1.0, vclip=0.0, vcoef=0.0,
            baseline="group", std=None, eps=1e-6, est="outcome", whiten=None, credit=0.0, overlong=None)
GROUP = dict(std="unbiased")
PRESETS = {
    "grpo": dict(GROUP, agg="seq_mean_token_mean"),
    "dr_grpo": dict(agg="seq_mean_token_sum_norm"),
    "dapo": dict(GROUP, hi=0.28),
    "gspo": dict(GROUP, lo=3e-4, hi=4e-4, loss="gspo", agg="seq_mean_token_mean"),
    "gspo_token": dict(GROUP, lo=3e-4, hi=4e-4, loss="gspo_token", agg="seq_mean_token_mean"),
    "cispo": dict(GROUP, loss="cispo", cap=5),
    "sapo": dict(GROUP, loss="sapo", tau=(1.0, 1.05), agg="seq_mean_token_mean"),
    "vespo": dict(GROUP, loss="vespo", k=(2.0, 3.0), decay=(3.0, 2.0)),
    "luspo": dict(GROUP, lo=2e-3, hi=2.5e-3, loss="gspo", agg="seq_mean_token_sum"),
    "bnpo": dict(baseline="beta"),
    "gmpo": dict(GROUP, loss="gmpo", bound=(0.4, 0.4), agg="seq_mean_token_mean"),
    "reinforce": dict(baseline="batch", loss="score"),
    "rloo": dict(baseline="loo", loss="score", agg="seq_mean_token_sum"),
    "reinforce_pp": dict(baseline=None, est="to_go", whiten="population", kl="k1", kl_coef=0.01, kl_in="reward"),
    "reinforce_pp_baseline": dict(whiten="population"),
    "ppo": dict(baseline=None, est="gae", whiten="population", vclip=0.2, vcoef=0.1),
    # peers
    "trl": dict(std="unbiased", eps=1e-4),
    "trl_dr_grpo": dict(std="unbiased", eps=1e-4, agg="seq_mean_token_sum_norm"),
    "verl": dict(std="unbiased", eps=1e-6),
    "openrlhf": dict(std="unbiased", eps=1e-9, est="to_go", kl="k1", kl_coef=0.01, kl_in="reward"),
    "openrlhf_dr_grpo": dict(est="to_go", kl="k1", kl_coef=0.01, kl_in="reward"),
    "grpo_zero": dict(std="population", eps=1e-4, loss="score"),
    "tiny_grpo": dict(std="unbiased", eps=1e-8, agg="seq_mean_token_mean", kl="k3", kl_coef=0.01),
    "simple_grpo": dict(std="unbiased", eps=1e-4, agg="seq_mean_token_mean", kl="k3", kl_coef=0.04),
    "nano_aha_moment": dict(std="population", eps=1e-4, loss="score", kl="k3", kl_coef=0.001),
    "nanochat": dict(loss="score", agg="group_mean_token_mean"),
}
SELECT = dict(mode="all", keep=None, keep_intra=None, k=(1, 1), key="abs_adv_entropy", scope="batch", denom=None,
              schedule="linear", drop=False, p=0.0)


# ---------------------------------------------------------------- advantage


def groups_of(rows):
    table = {}
    for i, row in enumerate(rows):
        table.setdefault((row["step"], row["prompt_id"]), []).append(i)
    return list(table.values())


def std_of(x, kind):
    if kind is None or len(x) < 2:
        return None
    return x.std(unbiased=kind == "unbiased")


def normal(x, kind, eps):
    if (x == x[0]).all():
        return torch.zeros_like(x)
    s = std_of(x, kind)
    return (x - x.mean()) / (1 if s is None else s + eps)


def shaped_rewards(rows, c):
    n = [len(r["completion_ids"]) for r in rows]
    R = torch.tensor([float(r["reward"]) for r in rows])
    if c["overlong"]:
        L, cache, factor = c["overlong"]
        R = R + torch.tensor([-factor * min(1.0, max(0.0, m - (L - cache)) / cache) for m in n])
    if c["kl"] != "none" and c["kl_in"] == "reward" and c["est"] == "outcome":
        R = R - c["kl_coef"] * torch.tensor([sum(r["logp_old"]) - sum(r["logp_ref"]) for r in rows])
    return R


def advantages(rows, c):
    """-> list of per-token advantage tensors, list of returns or None"""
    n = [len(r["completion_ids"]) for r in rows]
    R = shaped_rewards(rows, c)
    k1 = [torch.tensor(r["logp_old"]) - torch.tensor(r["logp_ref"]) for r in rows]
    in_reward = c["kl"] != "none" and c["kl_in"] == "reward"
    silent = [False] * len(rows)
    for g in groups_of(rows):
        if len(set(R[g].tolist())) == 1:
            for i in g:
                silent[i] = True
    A = R.clone()
    if c["est"] == "group_tokens":
        token = [R[i] + c["credit"] * torch.tensor(rows[i]["credit"]) for i in range(len(rows))]
        out = [None] * len(rows)
        for g in groups_of(rows):
            flat = torch.cat([token[i] for i in g])
            flat = normal(flat, c["std"], c["eps"]) if len(g) > 1 else 0 * flat  # nothing to be compared with
            for i, part in zip(g, flat.split([n[i] for i in g])):
                out[i] = part
        return out, None
    if c["baseline"] == "group":
        for g in groups_of(rows):
            A[g] = normal(R[g], c["std"], c["eps"])
    elif c["baseline"] == "loo":
        for g in groups_of(rows):
            for i in g:
                others = [R[j] for j in g if j != i]
                A[i] = 0 if silent[i] else R[i] - sum(others) / len(others)
    elif c["baseline"] == "beta":
        p = torch.stack([R[g].mean() for g in groups_of(rows)])
        size = p.mean() * (1 - p.mean()) / p.var() - 1
        alpha = torch.clamp(1 + size * p.mean() / 3, min=1.0)
        beta = torch.clamp(1 + size * (1 - p.mean()) / 3, min=1.0)
        density = torch.distributions.Beta(alpha, beta).log_prob(p).exp()
        for g, mean, f in zip(groups_of(rows), p, density):
            A[g] = 0 if silent[g[0]] else (R[g] - mean) * torch.clamp(1 / f, max=1e6)
    elif c["baseline"] == "batch":
        A = R - R.mean()
    ret = None
    if c["est"] == "outcome":
        out = [A[i].repeat(n[i]) for i in range(len(rows))]
    else:
        out, ret = [], []
        for i, row in enumerate(rows):
            rho = c["credit"] * torch.tensor(row["credit"])
            if in_reward:
                rho = rho - c["kl_coef"] * k1[i]
            rho[-1] += A[i]
            a = torch.zeros(n[i])
            if c["est"] == "to_go":
                for t in range(n[i]):
                    a[t] = sum(c["gamma"] ** (s - t) * rho[s] for s in range(t, n[i]))
            else:
                v = torch.tensor(row["value_old"] + [0.0])
                delta = rho + c["gamma"] * v[1:] - v[:-1]
                for t in range(n[i]):
                    a[t] = sum((c["gamma"] * c["lam"]) ** (s - t) * delta[s] for s in range(t, n[i]))
                ret.append(a + v[:-1])
            out.append(a)
    if c["whiten"]:
        flat = torch.cat(out)
        flat = (flat - flat.mean()) * torch.rsqrt(flat.var(unbiased=c["whiten"] == "unbiased") + 1e-8)
        out = list(flat.split(n))
        if c["baseline"] == "group" and c["est"] == "outcome":
            out = [torch.zeros_like(a) if silent[i] else a for i, a in enumerate(out)]
    return out, ret or None


# ---------------------------------------------------------------- selection


def at(range_, s):
    p = s["p"]
    if s["schedule"] == "cosine":
        p = (1 - math.cos(math.pi * p)) / 2
    if s["schedule"] == "step":
        p = float(p >= 0.5)
    return (1 - p) * range_[0] + p * range_[1]


def best_subset(indices, x, m):
    """brute force over all subsets; the data has no ties that matter"""
    if m >= len(indices):
        return list(indices)
    value = lambda s: torch.stack([x[i] for i in s]).var(unbiased=False).item()
    return list(max(itertools.combinations(indices, m), key=value))


def select_rows(rows, A, R, s):
    mean = torch.stack([a[0] if (a == a[0]).all() else a.mean() for a in A])  # no rounding: ties stay ties
    everyone = list(range(len(rows)))
    groups = groups_of(rows)
    size = lambda keep, g: min(max(2, math.floor(keep + 0.5)), len(g))
    mode = s["mode"]
    if mode == "all":
        kept = everyone
    else:
        keep = at(s["keep"], s)
        if mode == "intra":
            kept = [i for g in groups for i in best_subset(g, mean, size(keep, g))]
        elif mode == "cross":
            kept = best_subset(everyone, mean, size(keep * len(groups), everyone))
        elif mode == "intra_then_cross":
            first = [i for g in groups for i in best_subset(g, mean, size(at(s["keep_intra"], s), g))]
            kept = best_subset(first, mean, size(keep * len(groups), first))
        elif mode == "pods":
            kept = [i for g in groups for i in best_subset(g, R, size(keep, g))]
            for i in everyone:
                A[i] = torch.zeros_like(A[i])
            for g in groups:
                g = [i for i in g if i in kept]
                for i, a in zip(g, normal(R[g], "unbiased", 1e-6)):
                    A[i] = a.repeat(len(A[i]))
        elif mode == "cppo":
            kept = [i for g in groups for i in sorted(g, key=lambda i: (-abs(mean[i].item()), i))[: size(keep, g)]]
    if s["drop"]:
        kept = [i for i in kept if (A[i] != 0).any()]
    return sorted(kept)


def select_tokens(rows, A, kept, s):
    mask = [torch.zeros(len(a)) for a in A]
    K = at(s["k"], s)
    if K >= 1 or s["key"] == "none":
        for i in kept:
            mask[i][:] = 1
        return mask
    H = [torch.tensor(r["entropy"]) for r in rows]
    key = lambda i, t: (H[i][t] if s["key"] == "entropy" else A[i][t].abs() * H[i][t]).item()
    tokens = [(i, t) for i in kept for t in range(len(A[i]))]
    pools = [tokens] if s["scope"] == "batch" else [[x for x in tokens if x[0] == i] for i in kept]
    for pool in pools:
        keep = max(1, math.ceil(K * len(pool)))
        for i, t in sorted(pool, key=lambda x: (-key(*x), x))[:keep]:
            if key(i, t) != 0:
                mask[i][t] = 1
    return mask


def weights(rows, kept, mask, c, s):
    kind = c["agg"]
    if s["denom"] and kind in ("token_mean", "seq_mean_token_mean", "group_mean_token_mean"):
        kind = {"kept_tokens": "token_mean", "per_sequence": "seq_mean_token_mean"}.get(s["denom"], s["denom"])
    T = {i: mask[i].sum().item() for i in kept}
    out = [torch.zeros_like(m) for m in mask]
    live = [i for i in kept if T[i] > 0]
    group_tokens = {}
    for i in kept:
        g = rows[i]["prompt_id"]
        group_tokens[g] = group_tokens.get(g, 0) + T[i]
    for i in live:
        z = {
            "seq_mean_token_mean": len(live) * T[i],
            "token_mean": sum(T.values()),
            "all_selected_tokens": sum(len(rows[j]["completion_ids"]) for j in kept),
            "seq_mean_token_sum": len(kept),
            "seq_mean_token_sum_norm": len(kept) * c["norm"],
            "group_mean_token_mean": sum(v > 0 for v in group_tokens.values()) * group_tokens[rows[i]["prompt_id"]],
        }[kind]
        out[i] = mask[i] / z
    return out


# ---------------------------------------------------------------- the loss


def policy_term(c, logp, old, A):
    """per-token loss of one completion"""
    def surrogate(r):
        loss = -torch.min(r * A, torch.clamp(r, 1 - c["lo"], 1 + c["hi"]) * A)
        return torch.where(A < 0, torch.min(loss, -c["dual"] * A), loss) if c["dual"] else loss

    if c["loss"] == "score":
        return -A * logp
    if c["loss"] == "cispo":
        return -torch.clamp((logp - old).exp(), max=c["cap"]).detach() * A * logp
    if c["loss"] == "surrogate":
        return surrogate((logp - old).exp())
    if c["loss"] == "sapo":
        tau = torch.where(A > 0, *(torch.tensor(x) for x in c["tau"]))
        return -4 / tau * torch.sigmoid(tau * ((logp - old).exp() - 1)) * A
    if c["loss"] == "vespo":
        log_w = (logp - old).sum().detach()
        k, decay = (torch.where(A >= 0, *(torch.tensor(x) for x in c[key])) for key in ("k", "decay"))
        return -(log_w * k + decay * (1 - log_w.exp())).exp() * A * logp
    if c["loss"] == "gmpo":
        low, high = c["bound"]
        bounded = torch.where(A > 0, torch.clamp(logp - old, max=high), torch.clamp(logp - old, min=-low))
        return -bounded.mean().exp() * A
    s = (logp - old).mean().exp()
    if c["loss"] == "gspo" and not c.get("masked"):
        A = A.mean()
        return surrogate(s).expand(len(logp)) if A.dim() == 0 else surrogate(s)
    return surrogate(s.detach() * logp.exp() / logp.exp().detach())


def kl_of(kind, logp, old, ref):
    x = logp - ref
    k3 = (-x).exp() + x - 1
    return {"k1": x, "k2": x * x / 2, "k3": k3, "k3_ratio": (logp - old).exp() * k3}[kind]


def run(rows, c, s):
    tensors = lambda key, grad=False: [torch.tensor(r[key], requires_grad=grad) for r in rows]
    logp, entropy, value = tensors("logp", True), tensors("entropy", True), tensors("value", True)
    old, ref, value_old = tensors("logp_old"), tensors("logp_ref"), tensors("value_old")
    A, ret = advantages(rows, c)
    kept = select_rows(rows, A, shaped_rewards(rows, c), s)
    mask = select_tokens(rows, A, kept, s)
    everything = [torch.ones_like(m) if i in kept else torch.zeros_like(m) for i, m in enumerate(mask)]
    w, w_all = weights(rows, kept, mask, c, s), weights(rows, kept, everything, c, s)
    c = dict(c, masked=any((m == 0).any() for i, m in enumerate(mask) if i in kept))
    part = dict(policy=torch.zeros(()), kl=torch.zeros(()), entropy=torch.zeros(()), value=torch.zeros(()))
    for i in kept:
        part["policy"] = part["policy"] + (w[i] * policy_term(c, logp[i], old[i], A[i])).sum()
        if c["kl"] != "none" and c["kl_in"] == "loss":
            part["kl"] = part["kl"] + c["kl_coef"] * (w_all[i] * kl_of(c["kl"], logp[i], old[i], ref[i])).sum()
        part["entropy"] = part["entropy"] - c["ent"] * (w_all[i] * entropy[i]).sum()
        if c["vcoef"]:
            v, vo = value[i], value_old[i]
            loss = (v - ret[i]) ** 2
            if c["vclip"]:
                loss = torch.max(loss, (vo + torch.clamp(v - vo, -c["vclip"], c["vclip"]) - ret[i]) ** 2)
            part["value"] = part["value"] + c["vcoef"] * (w_all[i] * loss / 2).sum()
    leaves = logp + entropy + value
    total = sum(part.values()) + 0 * sum(x.sum() for x in leaves)
    grads = torch.autograd.grad(total, leaves)
    k = len(rows)
    flat = lambda parts: [digits(x) for x in torch.cat(list(parts)).tolist()]
    out = {"parts": {key: digits(x.item()) for key, x in part.items()},
           "advantage": flat(A), "kept": kept, "dlogp": flat(grads[:k])}
    if any((m == 0).any() for m in mask):
        out["token_kept"] = [int(x) for x in torch.cat(mask).tolist()]
    if c["ent"]:
        out["dentropy"] = flat(grads[k : 2 * k])
    if c["vcoef"]:
        out["dvalue"] = flat(grads[2 * k :])
    return out


def digits(x):
    return float(f"{x:.13g}") + 0.0


# ---------------------------------------------------------------- TRL's own loss on the same tensors


def run_trl(rows, A, loss_type, level="token", beta=0.0, bias=False, lo=0.2, hi=0.2, delta=None, norm=16):
    from trl.experimental.gmpo import GMPOTrainer
    from trl.trainer.grpo_trainer import GRPOTrainer

    T = max(len(r["completion_ids"]) for r in rows)
    pad = lambda key: torch.tensor([r[key] + [0.0] * (T - len(r[key])) for r in rows])
    mask = torch.tensor([[1] * len(r["completion_ids"]) + [0] * (T - len(r["completion_ids"])) for r in rows])
    logp = pad("logp").requires_grad_()
    me = MagicMock()
    me.loss_type, me.importance_sampling_level, me.beta = loss_type, level, beta
    me.epsilon_low, me.epsilon_high = lo, hi
    me.top_entropy_quantile, me.off_policy_mask_threshold = 1.0, None
    me.use_vllm, me._entropy_bonus_enabled, me.aux_loss_enabled = False, False, False
    me.args = types.SimpleNamespace(use_bias_correction_kl=bias, delta=delta, steps_per_generation=1,
                                    sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0,
                                    vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0)
    me.get_gamma_weights = GRPOTrainer.get_gamma_weights
    me.current_gradient_accumulation_steps = 1
    me.max_completion_length = norm
    me.accelerator.num_processes = 1
    me.accelerator.gather = me.accelerator.gather_for_metrics = lambda x: x
    me.accelerator.reduce = lambda x, reduction: x
    me.model.training = True
    me._get_per_token_logps_and_entropies.return_value = (logp, torch.zeros_like(logp), None)
    ids = torch.zeros((len(rows), T), dtype=torch.long)
    inputs = dict(prompt_ids=ids, prompt_mask=ids, completion_ids=ids, completion_mask=mask, advantages=A,
                  old_per_token_logps=pad("logp_old"), ref_per_token_logps=pad("logp_ref"),
                  num_items_in_batch=mask.sum())
    trainer = GMPOTrainer if loss_type == "gmpo" else GRPOTrainer
    loss = trainer._compute_loss(me, None, inputs)
    (grad,) = torch.autograd.grad(loss, logp)
    return loss.item(), [digits(x) for x in grad[mask.bool()].tolist()]


def trl_cases(rows):
    cases = []
    c = dict(BASE, **PRESETS["grpo"])
    A = torch.stack([a[0] for a in advantages(rows, c)[0]])
    centred = torch.stack([a[0] for a in advantages(rows, dict(BASE, **PRESETS["dr_grpo"]))[0]])

    def add(name, config, A, **options):
        loss, grad = run_trl(rows, A, **options)
        cases.append({"name": "trl:" + name, "config": config, "loss": digits(loss), "dlogp": grad})

    preset = lambda p, **more: {"algo": dict(preset=p, **more)}
    add("grpo", preset("grpo"), A, loss_type="grpo")
    add("grpo k3", preset("grpo", kl="k3", kl_coef=0.04), A, loss_type="grpo", beta=0.04)
    add("grpo delta", preset("grpo", dual_clip=1.4), A, loss_type="grpo", delta=1.4)
    add("dapo k3_ratio", preset("dapo", kl="k3_ratio", kl_coef=0.1), A, loss_type="dapo", hi=0.28, beta=0.1,
        bias=True)
    add("dr_grpo", preset("dr_grpo", max_length_norm=16), centred, loss_type="dr_grpo")
    add("cispo", preset("cispo", ratio_cap=1.2), A, loss_type="cispo", hi=1.2)
    add("gspo", preset("gspo", clip_eps_low=0.03, clip_eps_high=0.04), A, loss_type="grpo", level="sequence",
        lo=0.03, hi=0.04)
    add("sapo", preset("sapo"), A, loss_type="sapo")
    add("vespo", preset("vespo"), A, loss_type="vespo")
    add("luspo", preset("luspo", clip_eps_low=0.03, clip_eps_high=0.04), A, loss_type="luspo", level="sequence",
        lo=0.03, hi=0.04)
    normalised = torch.stack([a[0] for a in advantages(rows, dict(BASE, **PRESETS["bnpo"]))[0]])
    add("bnpo", preset("bnpo"), normalised, loss_type="bnpo")
    add("gmpo", preset("gmpo", gmpo=dict(eps_low=0.1, eps_high=0.15)), A, loss_type="gmpo", lo=0.1, hi=0.15)
    return cases


# ---------------------------------------------------------------- cases


def cases_of(rows):
    names = dict(lo="clip_eps_low", hi="clip_eps_high", dual="dual_clip", cap="ratio_cap", kl="kl", kl_coef="kl_coef",
                 kl_in="kl_in", ent="entropy_coef", agg="aggregation", norm="max_length_norm", gamma="gamma",
                 lam="lambda", vclip="value_clip", vcoef="value_coef")
    select_names = dict(mode="mode", keep="keep_samples", keep_intra="keep_samples_intra", k="keep_tokens",
                        key="token_key", scope="scope", denom="denominator", schedule="schedule", drop="drop_zero",
                        p="progress")
    estimator = {"to_go": "reward_to_go"}
    cases = []

    def add(preset, select=None, **over):
        c, s = dict(BASE, **PRESETS[preset]), dict(SELECT)
        if over.get("agg", c["agg"]) == "seq_mean_token_sum_norm":
            over["norm"] = 7
        c.update(over), s.update(select or {})
        algo = {"preset": preset}
        for key, value in over.items():
            if key in names:
                algo[names[key]] = value
            elif key == "overlong":
                algo["overlong_length"], algo["overlong_cache"], algo["overlong_factor"] = value
            else:
                name = dict(credit="credit_weight", est="estimator", whiten="whiten", std="std", eps="std_eps")[key]
                algo.setdefault("advantage", {})[name] = estimator.get(value, value)
        config = {"algo": algo}
        if select:
            config["select"] = {select_names[k]: v for k, v in select.items()}
        label = " ".join([preset] + [f"{k}={v}" for k, v in {**over, **(select or {})}.items()])
        cases.append({"name": label, "config": config, **run(rows, c, s)})

    for preset in PRESETS:
        add(preset)
    for kl in ("k1", "k2", "k3", "k3_ratio"):
        add("grpo", kl=kl, kl_coef=0.3)
    add("dapo", kl="k3", kl_coef=0.3, ent=0.02)
    add("grpo", dual=1.1)
    add("grpo", kl="k1", kl_in="reward", kl_coef=0.2)
    add("rloo", kl="k1", kl_in="reward", kl_coef=0.05)
    add("ppo", kl="k1", kl_in="reward", kl_coef=0.1, gamma=0.9, lam=0.8, ent=0.01)
    add("ppo", vclip=0.0, vcoef=1.0, credit=0.5)
    add("reinforce_pp", gamma=0.9, credit=1.0)
    add("gspo", lo=0.03, hi=0.04)
    add("gspo_token", lo=0.03, hi=0.04, est="group_tokens", credit=1.0)
    add("cispo", cap=1.1)
    add("dapo", overlong=(6, 4, 1.0))
    for agg in ("seq_mean_token_mean", "token_mean", "seq_mean_token_sum", "seq_mean_token_sum_norm"):
        add("grpo", select=dict(k=(0.4, 0.4), drop=True), agg=agg, kl="k3", kl_coef=0.2)
    add("grpo", select=dict(mode="intra", keep=(2, 4), p=0.5, drop=True))
    add("grpo", select=dict(mode="cross", keep=(1.5, 3), p=0.25, drop=True))
    add("grpo", select=dict(mode="intra_then_cross", keep=(1.25, 1.25), keep_intra=(3, 3), drop=True))
    add("grpo", select=dict(mode="pods", keep=(3, 3), drop=True))
    add("dapo", select=dict(mode="cppo", keep=(3, 3), drop=True))
    for denom in ("kept_tokens", "all_selected_tokens", "per_sequence"):
        add("grpo", select=dict(mode="cross", keep=(2, 3), k=(0.2, 0.7), p=0.3, denom=denom, drop=True),
            kl="k3", kl_coef=0.2, ent=0.01)
    add("gspo", select=dict(mode="cross", keep=(2, 2), k=(0.5, 0.5), drop=True), lo=0.03, hi=0.04)
    add("dapo", select=dict(k=(0.1, 0.6), p=0.7, schedule="cosine", key="entropy", scope="response"))
    add("dapo", select=dict(k=(0.1, 0.6), p=0.5, schedule="step"))
    return cases


def dpo_cases():
    rng = random.Random(4)
    cases = []
    for beta, eps, scale in [(0.1, 0.0, 1), (0.5, 0.1, 1), (1.0, 0.0, 8), (1.0, 0.0, -8)]:
        side = lambda n, shift: torch.tensor([round(rng.gauss(shift, 0.5), 6) for _ in range(n)])
        chosen, rejected = side(4, -1 + 0.1 * scale), side(3, -1 - 0.1 * scale)
        chosen_ref, rejected_ref = side(4, -1), side(3, -1)
        chosen.requires_grad_(), rejected.requires_grad_()
        margin = beta * ((chosen - chosen_ref).sum() - (rejected - rejected_ref).sum())
        loss = -(1 - eps) * torch.nn.functional.logsigmoid(margin) - eps * torch.nn.functional.logsigmoid(-margin)
        dc, dr = torch.autograd.grad(loss, [chosen, rejected])
        cases.append(dict(beta=beta, label_smoothing=eps, chosen=chosen.tolist(), chosen_ref=chosen_ref.tolist(),
                          rejected=rejected.tolist(), rejected_ref=rejected_ref.tolist(), loss=digits(loss.item()),
                          dchosen=digits(dc[0].item()), drejected=digits(dr[0].item())))
    return cases


def main():
    os.makedirs(OUT, exist_ok=True)
    rows = make_rows()
    with open(os.path.join(OUT, "rows.jsonl"), "w") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    cases = cases_of(rows) + trl_cases(rows)
    with open(os.path.join(OUT, "cases.json"), "w") as f:
        f.write('{"cases": [\n' + ",\n".join(json.dumps(c, allow_nan=False) for c in cases) + '\n],\n"dpo": [\n')
        f.write(",\n".join(json.dumps(c) for c in dpo_cases()) + "\n]}\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
