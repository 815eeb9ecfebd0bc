"""Compares a directory that `rlhf convert from=FILE.gguf to=DIR` wrote with transformers' own import of the file.

    python tests/reference/check_gguf.py FILE.gguf DIR

Prints the largest difference of any weight, and how many texts the two tokenizers encode alike. transformers'
import leaves out the pre-tokenizer that the file names (tokenizer.ggml.pre), so texts with runs of white
space before digits may differ there; such texts are counted apart.
"""

import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "What is 7 times 8?", "  two  spaces, 12 345 and 6.75%", "def f(x):\n\treturn x**2  # 3\n\n\n", "naïve café – 数学は楽しい",
    "<|im_start|>user\nHi<|im_end|>\n", "I'll we've THEY'RE 'tis", "مرحبا بالعالم", "a\u0301e\u0300 🙂👩‍👩‍👧 \r\n x",
    "   ", "\n\n 1\n 22\n  333", "1234567890", "x = 10   20", "\u00a0non\u00a0break",
]


def main():
    file, directory = sys.argv[1:3]
    folder, name = os.path.dirname(file), os.path.basename(file)
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    ours, report = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    state = ours.state_dict()
    worst = max((state[key] - value).abs().max().item() for key, value in theirs.state_dict().items())
    print(f"{len(state)} tensors, largest difference {worst}")

    tokenizer, other = AutoTokenizer.from_pretrained(directory), AutoTokenizer.from_pretrained(folder, gguf_file=name)
    assert tokenizer.get_vocab() == other.get_vocab()
    same = [tokenizer.encode(text) == other.encode(text) for text in TEXTS]
    print(f"tokenizers agree on {sum(same)} of {len(TEXTS)} texts; not on", [t for t, s in zip(TEXTS, same) if not s])
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in TEXTS)
    assert tokenizer.eos_token_id == other.eos_token_id and tokenizer.bos_token_id == other.bos_token_id
    chat = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == other.apply_chat_template(chat, tokenize=False)

    ids = tokenizer("What is 7 times 8?", return_tensors="pt").input_ids
    with torch.no_grad():
        print("largest difference of logits", (ours(ids).logits - theirs(ids).logits).abs().max().item())
    assert worst == 0


main()
