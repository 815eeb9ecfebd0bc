"""Ids of the cases of Tokenizer.TokensThatOnlyTheConfigurationNamesAreTokens, by transformers.

    python tests/reference/configured_tokens.py
"""
import json
import os
import tempfile

from transformers import PreTrainedTokenizerFast


def alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(other)) for b in range(256)]


def token(content, special):
    return {"content": content, "special": special, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}


def ids(files, text):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocab = {letter: b for b, letter in enumerate(alphabet())}
    vocab["<in>"] = 256
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [{"id": 257, **token("<end>", True)}],
             "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model}
    with tempfile.TemporaryDirectory() as directory:
        for name, value in {"tokenizer.json": whole, **files}.items():
            with open(os.path.join(directory, name), "w") as file:
                json.dump(value, file)
        return PreTrainedTokenizerFast.from_pretrained(directory).encode(text)


decoder = {"258": token("<tool>", False), "257": token("<end>", True)}
base = {"tokenizer_class": "PreTrainedTokenizerFast"}
config = lambda **keys: {"tokenizer_config.json": {**base, **keys}}
print(ids(config(added_tokens_decoder=decoder), "a<tool>b<end>"))
print(ids(config(added_tokens_decoder=decoder, pad_token="<pad>", eos_token={"__type": "AddedToken", "content": "<eos>", "normalized": False},
                 additional_special_tokens=["<x>", "<end>"]), "<x><pad><eos><end>"))
print(ids(config(eos_token="<in>"), "<in>"))
print(ids({**config(), "added_tokens.json": {"<tool>": 258}, "special_tokens_map.json": {"pad_token": "<pad>"}}, "<pad><tool>"))
