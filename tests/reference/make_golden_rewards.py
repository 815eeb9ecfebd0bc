"""Golden values of every reward model's loss, from PyTorch autograd in float64.

    python tests/reference/make_golden_rewards.py [--trl]     writes tests/golden/rewards/cases.json

Two kinds of cases. "pairs" and "labels": a step of a few pairs or labelled answers, scores given, the loss and its
derivative by every score. "heads": logits of a vocabulary head or hidden rows of a scalar head, the loss of Q-RM
through torch's own log_softmax, gather and matmul, and the derivative by logits, by hidden rows and by the head.
--trl compares the preference losses with TRL 1.16's own functions and training steps first. Written from the papers' formulas; shares nothing with the C++.
"""

import json
import os
import random
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
OUT = os.path.join(os.path.dirname(__file__), "..", "golden", "rewards")
rng = random.Random(5)


def leaf(values):
    return torch.tensor(values, requires_grad=True)


def noise(n, scale=1.0, shift=0.0):
    return [round(shift + rng.gauss(0, scale), 6) for _ in range(n)]


# ---------------------------------------------------------------- losses of a step; w, l: lists of 1-D tensors


def qrm(w, l, beta, gamma, ce_coef=0.0):
    d = torch.stack([beta * (a.mean() - b.mean()) - gamma for a, b in zip(w, l)])
    loss = -F.logsigmoid(d).mean()
    return loss + ce_coef * -torch.cat(w).mean() if ce_coef else loss


def orm(w, l):
    return -F.logsigmoid(torch.stack([a[-1] - b[-1] for a, b in zip(w, l)])).mean()


def pgtg(w, l):
    terms = []
    for a, b in zip(w, l):
        c = (len(a) + len(b)) / 2
        terms.append(-F.logsigmoid(c * (torch.sigmoid(a).mean() - torch.sigmoid(b).mean())))
    return torch.stack(terms).mean()


def dpo(w, l, wr, lr, beta):
    delta = [(a - ar).sum() - (b - br).sum() for a, b, ar, br in zip(w, l, wr, lr)]
    return -F.logsigmoid(beta * torch.stack(delta)).mean()


def pointwise(z, y, focal):
    z, y = torch.stack([a[-1] for a in z]), torch.tensor([float(v) for v in y])
    ce = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    p = torch.sigmoid(z)
    p_right = torch.where(y == 1, p, 1 - p)
    return ((1 - p_right) ** focal * ce).mean()


def prm(z, y):
    return torch.stack([((torch.tanh(a) - torch.tensor([float(v) for v in b])) ** 2).mean() for a, b in zip(z, y)]).mean()


def implicit_prm(z, zr, y, beta):
    s = torch.stack([beta * (a - r).sum() for a, r in zip(z, zr)])
    return F.binary_cross_entropy_with_logits(s, torch.tensor([float(v) for v in y]))


# ---------------------------------------------------------------- preferences: losses of a policy


def sums(rows):
    return torch.stack([r.sum() for r in rows])


def means(rows):
    return torch.stack([r.mean() for r in rows])


def ipo(w, l, wr, lr, beta):
    h = means([a - r for a, r in zip(w, wr)]) - means([b - r for b, r in zip(l, lr)])
    return ((h - 1 / (2 * beta)) ** 2).mean()


def kto(z, zr, y, z0, beta, desirable, undesirable):
    r = sums([a - b for a, b in zip(z, zr)])
    good = desirable * (1 - torch.sigmoid(beta * (r - z0)))
    bad = undesirable * (1 - torch.sigmoid(beta * (z0 - r)))
    return torch.where(torch.tensor(y) == 1, good, bad).mean()


def orpo(w, l, beta):
    odds = lambda rows: torch.log(means(rows).exp() / (1 - means(rows).exp()))
    return (-means(w) - beta * F.logsigmoid(odds(w) - odds(l))).mean()


def cpo(w, l, beta, sft):
    return (-F.logsigmoid(beta * (sums(w) - sums(l))) - sft * means(w)).mean()


def simpo(w, l, beta, gamma):
    return -F.logsigmoid(beta * (means(w) - means(l)) - gamma).mean()


class Said:
    """A model for TRL's steps whose log-probabilities are known: rows[k] for input_ids that begin with k (a prompt of one token)."""

    training = True

    def __init__(self, *rows):
        pad = lambda row, n: F.pad(row, (0, n - len(row)))
        self.log_probs = [torch.stack([pad(r, max(map(len, some))) for r in some]) for some in rows]
        self.mask = [F.pad(torch.stack([pad(torch.ones_like(r), max(map(len, some))) for r in some]).long(), (1, 0)) for some in rows]
        self.ids = [k + 0 * mask for k, mask in enumerate(self.mask)]

    def __call__(self, input_ids, **_):
        from types import SimpleNamespace

        x = self.log_probs[input_ids[0, 0]]
        return SimpleNamespace(log_probs=x, entropy=0 * x, mean_logits=0 * x, is_top1=x < 0)


def trl_steps_agree(w, l, wr, lr, labels):
    """KTO, DPO and IPO, whose losses TRL has inside of a training step."""
    import collections
    from types import SimpleNamespace

    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer

    z, zr = w + l, wr + lr
    accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x)
    usual = dict(accelerator=accelerator, precompute_ref_logps=True, aux_loss_enabled=False, _total_train_tokens=0, _tp_size=1)
    for z0, desirable, undesirable in [(0.7, 1.5, 0.5), (0.0, 1.0, 1.0)]:
        model = Said(z, [torch.tensor([-1.0 + z0])])
        trl = SimpleNamespace(**usual, model=model, calculate_KL=True, loss_type="kto", beta=0.3, desirable_weight=desirable,
                              undesirable_weight=undesirable, _metrics=collections.defaultdict(lambda: collections.defaultdict(list)))
        trl._compute_kl_logps = lambda m, b: KTOTrainer._compute_kl_logps(trl, m, b)
        mask, kl_mask = model.mask
        batch = dict(input_ids=model.ids[0], attention_mask=mask, completion_mask=mask, label=torch.tensor(labels), ref_logps=sums(zr),
                     KL_input_ids=model.ids[1], KL_attention_mask=kl_mask, KL_completion_mask=kl_mask, ref_KL_logps=torch.tensor([-1.0]))
        torch.testing.assert_close(KTOTrainer._compute_loss(trl, model, batch, False), kto(z, zr, labels, z0, 0.3, desirable, undesirable))
    for name, want in [("sigmoid", dpo(w, l, wr, lr, 0.3)), ("ipo", ipo(w, l, wr, lr, 0.3))]:
        model = Said(z)
        trl = SimpleNamespace(**usual, model=model, loss_types=[name], loss_weights=[1.0], beta=0.3, label_smoothing=0.0, ld_alpha=None,
                              use_weighting=False, f_divergence_type="reverse_kl", _metrics=collections.defaultdict(lambda: collections.defaultdict(list)))
        batch = dict(input_ids=model.ids[0], attention_mask=model.mask[0], completion_mask=model.mask[0],
                     ref_chosen_logps=sums(wr), ref_rejected_logps=sums(lr))
        torch.testing.assert_close(DPOTrainer._compute_loss(trl, model, batch, False), want)


def trl_agrees(w, l):
    """The same from TRL's own functions, where they take log-probabilities."""
    from types import SimpleNamespace

    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    cpu = SimpleNamespace(device="cpu")
    same = lambda a, b: torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)  # TRL's ORPO is in f32
    trl = SimpleNamespace(beta=0.3, accelerator=cpu)
    same(-means(w).mean() - ORPOTrainer.odds_ratio_loss(trl, means(w), means(l))[0].mean(), orpo(w, l, 0.3))
    trl = SimpleNamespace(beta=0.3, alpha=0.0, label_smoothing=0.0, accelerator=cpu, loss_type="sigmoid", simpo_gamma=0.5)
    same(CPOTrainer.cpo_loss(trl, sums(w), sums(l))[0].mean(), cpo(w, l, 0.3, 0))
    trl.loss_type = "simpo"
    same(CPOTrainer.cpo_loss(trl, means(w), means(l))[0].mean(), simpo(w, l, 0.3, 0.5))
    trl.loss_type = "ipo"  # of CPO, without a reference
    zeros = [torch.zeros_like(r) for r in w], [torch.zeros_like(r) for r in l]
    same(CPOTrainer.cpo_loss(trl, means(w), means(l))[0].mean(), ipo(w, l, *zeros, 0.3))


# ---------------------------------------------------------------- cases


def answers(lengths, scale=1.0, shift=0.0):
    return [noise(n, scale, shift) for n in lengths]


def step_case(name, settings, scores, loss_of, **extra):
    """scores: one list per answer, of pairs chosen and rejected in turn."""
    leaves = [leaf(s) for s in scores]
    loss = loss_of(leaves)
    loss.backward()
    zero = lambda x: torch.zeros_like(x) if x.grad is None else x.grad
    return dict(name=name, reward=settings, scores=scores, loss=loss.item(), grads=[zero(x).tolist() for x in leaves], **extra)


def pairs_of(leaves):
    return leaves[0::2], leaves[1::2]


def step_cases():
    cases = []
    lengths = [3, 2, 5, 1, 4, 4]
    for beta, gamma in [(0.2, 2.0), (1.0, 0.0), (3.0, -1.5)]:
        scores = answers(lengths, 2.0)
        cases.append(step_case(f"qrm beta {beta} gamma {gamma}", dict(kind="qrm", head="scalar", beta=beta, gamma=gamma),
                               scores, lambda x: qrm(*pairs_of(x), beta, gamma)))
    cases.append(step_case("qrm logit", dict(kind="qrm", head="logit", beta=0.2, gamma=2.0), scores,
                           lambda x: qrm(*pairs_of(x), 0.2, 2.0)))
    for eta in [0.0, 1.0, 0.25]:
        scores = answers(lengths, 0.5, -1.5)
        cases.append(step_case(f"qrm log_softmax ce {eta}", dict(kind="qrm", head="log_softmax", beta=0.2, gamma=2.0, ce_coef=eta),
                               scores, lambda x: qrm(*pairs_of(x), 0.2, 2.0, eta)))
    scores = answers([1] * 6, 2.0)
    cases.append(step_case("orm", dict(kind="orm"), scores, lambda x: orm(*pairs_of(x))))
    scores = answers(lengths, 2.0)
    cases.append(step_case("pgtg", dict(kind="pgtg"), scores, lambda x: pgtg(*pairs_of(x))))
    scores, ref = answers(lengths, 0.5, -1.5), answers(lengths, 0.5, -1.5)
    t = lambda rows: [torch.tensor(r) for r in rows]
    for beta in [0.1, 1.0]:
        cases.append(step_case(f"dpo_rm beta {beta}", dict(kind="dpo_rm", beta=beta), scores,
                               lambda x: dpo(*pairs_of(x), t(ref[0::2]), t(ref[1::2]), beta), logp_ref=ref))
    labels = [1, 0, 0, 1, 1, 0]
    for beta in [1.0, 0.05]:
        cases.append(step_case(f"implicit_prm beta {beta}", dict(kind="implicit_prm", beta=beta), scores,
                               lambda x: implicit_prm(x, t(ref), labels, beta), logp_ref=ref, labels=[[y] for y in labels]))
    scores = answers([1] * 6, 2.0)
    for focal in [0.0, 2.0, 0.5]:
        cases.append(step_case(f"orm_pointwise focal {focal}", dict(kind="orm_pointwise", focal=focal), scores,
                               lambda x: pointwise(x, labels, focal), labels=[[y] for y in labels]))
    scores, steps = answers([2, 1, 4]), [[1, -1], [0], [1, 1, -1, 0]]
    cases.append(step_case("prm", dict(kind="prm"), scores, lambda x: prm(x, steps), labels=steps))
    state = rng.getstate()  # what is drawn below stays as it was without these
    cases += preference_cases(lengths)
    rng.setstate(state)
    return cases


def preference_cases(lengths):
    cases = []
    scores, ref = answers(lengths, 0.5, -1.5), answers(lengths, 0.5, -1.5)
    t = lambda rows: [torch.tensor(r) for r in rows]
    refs = t(ref[0::2]), t(ref[1::2])
    if "--trl" in sys.argv:
        trl_agrees(t(scores[0::2]), t(scores[1::2]))
        trl_steps_agree(t(scores[0::2]), t(scores[1::2]), *refs, [1, 0, 0, 1, 1, 0])

    def add(settings, loss_of, **extra):
        name = " ".join(str(v) for v in settings.values())
        cases.append(step_case(name, settings, scores, loss_of, **extra))

    for sft in [0.0, 0.2]:
        add(dict(kind="dpo", beta=0.1, sft_coef=sft),
            lambda x: dpo(*pairs_of(x), *refs, 0.1) - sft * means(pairs_of(x)[0]).mean(), logp_ref=ref)
    for beta in [0.1, 1.0]:
        add(dict(kind="ipo", beta=beta), lambda x: ipo(*pairs_of(x), *refs, beta), logp_ref=ref)
        add(dict(kind="orpo", beta=beta), lambda x: orpo(*pairs_of(x), beta))
        add(dict(kind="simpo", beta=beta, gamma=0.5), lambda x: simpo(*pairs_of(x), beta, 0.5))
        for sft in [1.0, 0.0]:
            add(dict(kind="cpo", beta=beta, sft_coef=sft), lambda x: cpo(*pairs_of(x), beta, sft))
    labels = [1, 0, 0, 1, 1, 0]
    for z0, desirable, undesirable in [(0.0, 1.0, 1.0), (0.7, 1.5, 0.5)]:
        add(dict(kind="kto", beta=0.3, desirable=desirable, undesirable=undesirable),
            lambda x: kto(x, t(ref), labels, z0, 0.3, desirable, undesirable),
            logp_ref=ref, labels=[[y] for y in labels], z0=z0)
    return cases


def head_cases():
    """One pair through a head. vocabulary: (T, V) logits and the taken tokens; scalar: (T, C) hidden rows and w."""
    cases, V, C = [], 7, 4
    lengths = [3, 2]
    tokens = [[rng.randrange(V) for _ in range(n)] for n in lengths]
    logits = [[noise(V, 1.5) for _ in range(n)] for n in lengths]
    for head, eta in [("logit", 0.0), ("log_softmax", 0.0), ("log_softmax", 1.0)]:
        x = [leaf(rows) for rows in logits]
        take = lambda rows, ids: rows.gather(1, torch.tensor(ids)[:, None])[:, 0]
        Z = [take(rows if head == "logit" else F.log_softmax(rows, 1), ids) for rows, ids in zip(x, tokens)]
        loss = qrm([Z[0]], [Z[1]], 0.2, 2.0, eta)
        loss.backward()
        cases.append(dict(head=head, ce_coef=eta, tokens=tokens, logits=logits, scores=[z.tolist() for z in Z],
                          loss=loss.item(), dlogits=[rows.grad.tolist() for rows in x]))
    hidden, w = [[noise(C) for _ in range(n)] for n in lengths], noise(C)
    h, head = [leaf(rows) for rows in hidden], leaf(w)
    loss = qrm([h[0] @ head], [h[1] @ head], 0.2, 2.0)
    loss.backward()
    cases.append(dict(head="scalar", hidden=hidden, w=w, loss=loss.item(), dhidden=[rows.grad.tolist() for rows in h],
                      dw=head.grad.tolist()))
    return cases


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "cases.json"), "w") as f:
        for key, cases in [("steps", step_cases()), ("heads", head_cases())]:
            f.write(('{' if key == "steps" else ',\n') + f'"{key}": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]")
        f.write("}\n")
