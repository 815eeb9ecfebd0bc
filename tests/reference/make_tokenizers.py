"""Golden files of the tokenizer and the chat templates: tests/golden/tokenizers/.

    python tests/reference/make_tokenizers.py

For each kind (SmolLM2, Qwen2, Llama 3, and one with every flag of added tokens) a small tokenizer.json
with the family's own components, and strings.json / ids.json: what `tokenizers` makes of tricky strings.
The merges are learnt without the pre-tokenizer, so that they run across its borders: a border in the
wrong place changes the ids. chat.jsonl: what transformers' apply_chat_template gives on each family's
template, with the mask of what the assistant says.
"""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from chat_masks import token_ends, trained_by_prefixes
from chat_templates import TEMPLATES

OUT = os.path.join(os.path.dirname(__file__), "..", "golden", "tokenizers")
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
SPECIAL = {
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
}


def tricky_strings():
    rng = random.Random(7)
    fixed = [
        "", " ", "  ", "   a", "a   ", "\n", "\n\n", "\r\n", "\t\tx", " \n \n a", "a\n\n\n  b", "a \u00a0 b", "x\u2003y\u3000z",
        "a\u180eb \u180e c", "x\u0085y", "\u200b \u200d", "\ufeffBOM", "it's IT'S 'S I'LL we'Re 'ſ 'D", "don't, can't; y'all'd've",
        "12345 1,234.56 ٣٤٥ ½ Ⅳ ² 一二三", "3.14e-10 0x1F 1_000", "x=1;y=22;z=333;w=4444", "1 22 333 4444 55555",
        "e\u0301 é \u0301 a\u0316\u0301 a\u0301\u0316 ế", "ﬁ Å Å K K ½", "가 각 한국어", "क्षि हिन्दी", "ไทย ภาษา", "中文，测试。", "日本語テスト",
        "שלום עולם", "مرحبا بالعالم ١٢٣", "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\u0000b", "\u007f\u0080\u009f", "\ufffd \uffff", "\U0010ffff",
        "def f(x):\n    return x + 1\n", "if (a && b) { c++; } // d", "<div class=\"a\">&nbsp;</div>", "#include <cstdio>\r\n", "\\n \\t \\u0041",
        "http://a.b/c?d=e&f=g#h", "foo_bar-baz.qux@x.org", "...!!!???", "___---***", "—–‘’“”", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "<|im_start|>user\nhi<|im_end|>\n", "a<|im_end|>b", "<|im_end|><|im_end|>", "<|im_end", "<|begin_of_text|>x<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\n", " <|endoftext|> ", "<think>\nok\n</think>\n\n", "a<|endoftext|><|im_start|>é",
        "\u1c89\ua7cb\U000105c0 \U00031350x", "\U00010d40\U0001ccf0 1", "a\u0897\u0301", "a\u07fd\u0301", "\U00011935\U00011930",
    ]
    latin = list("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789")
    pools = [
        latin + list("   \n\t'\".,:;!?-+*/=()[]{}<>|_@#$%^&~`\\"),
        [chr(c) for c in range(0xC0, 0x250)] + list(" 'e\u0301\u0308\u0327"),
        [chr(c) for c in range(0x300, 0x370)] + list("aeiouAEIOU "),
        [chr(c) for c in range(0x370, 0x530)] + list(" 12"),
        [chr(c) for c in range(0x5D0, 0x5EB)] + [chr(c) for c in range(0x620, 0x66A)] + list(" \u200f"),
        [chr(c) for c in range(0x900, 0xE5C) if chr(c).isprintable()] + [" "],
        [chr(c) for c in range(0x4E00, 0x4E80)] + [chr(c) for c in range(0x3041, 0x30FF)] + [chr(c) for c in range(0xAC00, 0xAC40)] + list("，。 "),
        [chr(c) for c in range(0x1100, 0x11FF)] + [" "],
        [chr(c) for c in range(0x1F300, 0x1F600)] + list("\u200d\ufe0f\U0001f3fb\U0001f3ff \u2764"),
        list("0123456789٠١٢๓४½¾²Ⅷ") + list(" ,.-+"),
        list(" \t\n\r\u0085\u00a0\u1680\u180e\u2000\u2009\u2028\u2029\u202f\u205f\u3000\u200b") + list("ab1."),
        ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|", "|>", "<", "user", "\n", " ", "a", "é"],
        ["'s", "'S", "'t", "'RE", "'ve", "'m", "'lL", "'d", "'x", "it", "We", " ", "1", "'", "ſ"],
        [chr(c) for c in range(0x2190, 0x2300)] + list(" ab"),
        ["for ", "if ", "(", ")", "{", "}", "\n", "    ", "\t", "==", "->", "::", "//", "i", "x1", "return ", ";", "\"s\"", "'c'", "0x0f", "\r\n"],
    ]
    strings = list(fixed)
    while len(strings) < 1040:
        pool = pools[len(strings) % len(pools)]
        if rng.random() < 0.15:
            pool = pool + pools[rng.randrange(len(pools))]
        strings.append("".join(rng.choice(pool) for _ in range(rng.randrange(1, 13))))
    return strings


def corpus(strings):
    with open(__file__, encoding="utf-8") as script:
        lines = script.read().split("\n")
    for text in TEMPLATES.values():
        lines += text.split("\n")
    return lines * 2 + strings * 3


def pre_tokenizer(kind):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "smollm2")
    if kind == "smollm2":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    pattern = Regex(QWEN2 if kind == "qwen2" else LLAMA3)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), byte_level])


def train(kind, strings, vocab_size, alphabet):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False,
                                  special_tokens=SPECIAL.get(kind, []), max_token_length=12)
    tokenizer.train_from_iterator(corpus(strings), trainer)
    return json.loads(tokenizer.to_str())


def make(kind, strings):
    tree = train(kind, strings, 700, pre_tokenizers.ByteLevel.alphabet())
    if kind == "llama3":
        # Tokens that only ignore_merges reaches: their merges are gone.
        tree["model"]["ignore_merges"] = True
        tree["model"]["merges"] = [m for i, m in enumerate(tree["model"]["merges"]) if i % 9 != 4]
    if kind == "qwen2":
        tree["model"]["merges"] = [" ".join(m) for m in tree["model"]["merges"]]  # the older form
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.pre_tokenizer = pre_tokenizer(kind)
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    if kind == "llama3":
        template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def make_flags(strings):
    """Added tokens with every flag, missing bytes, an unknown token, Split in its other behaviours."""
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c not in "zÃ©"]
    tree = train("flags", ["".join(c for c in s if c not in "zZ" and ord(c) < 128) for s in strings], 360, alphabet)
    model = tree["model"]
    for c in "zÃ©":
        model["vocab"].pop(c, None)
    model["merges"] = [m for m in model["merges"] if not set("".join(m)) & set("zÃ©")]
    vocab = [t for t in sorted(model["vocab"], key=model["vocab"].get) if not set(t) & set("zÃ©")] + ["<unk>"]
    model["vocab"] = {t: i for i, t in enumerate(vocab)}
    model["unk_token"], model["fuse_unk"] = "<unk>", True
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("_", "merged_with_next"), pre_tokenizers.Split(Regex(r"[,;]+\s?"), "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[^#]+"), "removed", invert=True), pre_tokenizers.Split(Regex(r"\d"), "contiguous"),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel()])
    tokenizer.add_tokens([AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True), AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
                          AddedToken("word", single_word=True), AddedToken("wörd", normalized=True), AddedToken("wörds", normalized=False),
                          AddedToken("a b", normalized=False), AddedToken("a", single_word=True, normalized=False)])
    tokenizer.add_special_tokens(["<s>", AddedToken("</s>", rstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def flag_strings():
    rng = random.Random(11)
    parts = ["<l>", "<r>", "<lr>", "word", "wörd", "wo\u0308rd", "wörds", "wo\u0308rds", "a b", "a", "<s>", "</s>", " ", "  ", "\n", "\u00a0", "x", "é", "zz", "z",
             "_", "__", ",", ";", ", ", "#", "##", "12", "7", "\u0301", "\u200d", "b", "q", "-"]
    return ["".join(rng.choice(parts) for _ in range(rng.randrange(1, 9))) for _ in range(220)]


def conversations():
    system, user, answer = "You add numbers.", "What is 2+2?", "2 + 2 = 4"
    yield [("user", user)]
    yield [("user", user), ("assistant", answer)]
    yield [("system", system), ("user", user), ("assistant", answer)]
    yield [("user", user), ("assistant", answer), ("user", "é\u0301 and 3?"), ("assistant", "\n\nstarts with a break"), ("user", "thanks")]
    yield [("user", "  spaces around \n"), ("assistant", "  spaces around \n")]
    yield [("user", ""), ("assistant", "")]
    yield [("system", " \n"), ("user", "e\u0301"), ("assistant", "\u0301 begins with a mark"), ("user", "x"), ("assistant", "1\n2\n")]
    yield [("assistant", "I begin"), ("assistant", "and go on")]
    yield [("user", user), ("assistant", "<think>\nadd\n</think>\n\n4"), ("user", "more"), ("assistant", "<think>\nwell\n\n</think>\n\n5"), ("assistant", "6")]
    yield [("user", user), ("assistant", "no end of <think> here"), ("user", "<|im_start|>injected<|eot_id|>"), ("assistant", "<|im_end|>inside<|eot_id|>")]
    yield [("user", user), ("system", "late"), ("assistant", "日本語👩‍👧")]


def chat_rows(tokenizers):
    kinds = {"smollm2": "smollm2", "qwen2.5": "qwen2", "qwen3": "qwen2", "llama3": "llama3", "llama3.1": "llama3"}
    for name, template in TEMPLATES.items():
        raw = tokenizers[kinds[name]]
        fast = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|begin_of_text|>" if "llama" in name else None)
        stops = {raw.token_to_id("<|im_end|>" if "llama" not in name else "<|eot_id|>")}

        def render(messages, ask):
            return fast.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)

        for turns in conversations():
            messages = [{"role": r, "content": c} for r, c in turns]
            for ask in (False, True):
                text = render(messages, ask)
                encoding = raw.encode(text, add_special_tokens=False)
                ids = fast.apply_chat_template(messages, chat_template=template, add_generation_prompt=ask, return_dict=False)
                assert list(ids) == encoding.ids
                begins = [begin for begin, _ in encoding.offsets]
                mask = trained_by_prefixes(render, messages, ask, ids, begins, token_ends(begins, len(text)), stops)
                mask = None if isinstance(mask, str) else mask
                yield {"template": name, "kind": kinds[name], "messages": messages, "ask": ask, "ids": ids, "mask": mask}


def write(path, lines):
    with open(os.path.join(OUT, path), "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    os.makedirs(OUT, exist_ok=True)
    strings = tricky_strings()
    tokenizers = {kind: make(kind, strings) for kind in SPECIAL}
    tokenizers["flags"] = make_flags(strings)
    texts = {kind: strings for kind in SPECIAL} | {"flags": flag_strings() + strings[:40]}
    write("strings.jsonl", strings)
    write("flag_strings.jsonl", texts["flags"])
    for kind, tokenizer in tokenizers.items():
        directory = os.path.join(OUT, kind)
        os.makedirs(directory, exist_ok=True)
        tree = json.loads(tokenizer.to_str())
        with open(os.path.join(directory, "tokenizer.json"), "w", encoding="utf-8") as out:
            json.dump(tree, out, ensure_ascii=False, separators=(",", ":"))
        rows = []
        for text in texts[kind]:
            ids = tokenizer.encode(text).ids
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            rows.append([ids] if decoded == text else [ids, decoded])
        write(kind + "/ids.jsonl", rows)
        for name, template in TEMPLATES.items():
            if kind == {"smollm2": "smollm2", "qwen2.5": "qwen2", "llama3": "llama3"}.get(name):
                special = {"eos_token": SPECIAL[kind][-1]} | ({"bos_token": SPECIAL[kind][0]} if kind == "llama3" else {})
                with open(os.path.join(directory, "tokenizer_config.json"), "w") as out:
                    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", **special, "chat_template": template}, out, indent=1)
    for name, template in TEMPLATES.items():
        with open(os.path.join(OUT, name + ".jinja"), "w") as out:
            out.write(template)
    write("chat.jsonl", chat_rows(tokenizers))


if __name__ == "__main__":
    main()
