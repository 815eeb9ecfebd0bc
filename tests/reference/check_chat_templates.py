#!/usr/bin/env python3
"""Renders every chat template of public packages with `rlhf tokenize` and with transformers, and compares
text, ids and masks, and that both refuse the same conversations.

    pip download --no-deps --no-binary :all: trl axolotl llama-cpp-python      # and unpack the archives
    python3 tests/reference/check_chat_templates.py --rlhf build/rlhf DIRECTORY...

Templates are all *.jinja and *.jinja2 files below the directories, those of a processor's JSON file
("chat_template"), and string literals of Python files that hold a message loop (transformers' tests).
Each is given a byte-level tokenizer whose special tokens are the marks that it writes, and conversations of
one to five turns, with and without a system message, tools, tool calls and reasoning.

The mask that is compared: transformers' places of generation blocks, of which the tokens inside count; for
a template without them the rule of prefixes (chat_masks.py, written apart from the C++).
"""
import argparse
import ast
import collections
import concurrent.futures
import copy
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from chat_masks import token_ends, trained_by_blocks, trained_by_prefixes

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a \"city\" & <more>",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "\u00e9"},
        "days": {"type": "integer", "enum": [1, 2]},
        "opt": {"type": ["string", "null"], "default": None},
        "nested": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}}},
        "required": ["city"]},
    "return": {"type": "string"}}}]
USER = ["Hi there", "  def f():\n    pass\n", "What's <b>2+2</b>? & \u65e5\u672c", "Again\n\n", "Last one"]
ANSWER = ["Yo", " Sure:\n  code ", "<think>\nwhy\n</think>\n\n4", "ok", "done\n"]


def rows():
    """Rows of data files: messages, tools, and what `chat.add_generation_prompt` is set to."""
    for turns in range(1, 6):
        for system in (False, True):
            for kind in ("plain", "think", "reasoning", "thinking", "tools", "calls"):
                messages = [{"role": "system", "content": "Be brief. "}] if system else []
                for i in range(turns):
                    if i % 2 == 0:
                        messages.append({"role": "user", "content": USER[i]})
                        continue
                    if kind == "calls" and i == 1:
                        call = {"name": "get_weather", "arguments": {"city": "Paris", "x": [1.5, None, True]}}
                        messages.append({"role": "assistant", "content": "", "tool_calls": [
                            {"id": "abcdef123", "type": "function", "function": call}]})
                        messages.append({"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123",
                                         "content": "{\"t\": 20}"})
                    content = f"<think>\nBecause {i}\n</think>\n\n{ANSWER[i]}" if kind == "think" else ANSWER[i]
                    answer = {"role": "assistant", "content": content, "name": None}
                    if kind in ("reasoning", "thinking"):
                        answer["reasoning_content" if kind == "reasoning" else kind] = f"Because {i}\n"
                    messages.append(answer)
                yield messages, TOOLS if kind in ("tools", "calls") else None
    parts = [{"type": "text", "text": "parts"}]
    yield [{"role": "assistant", "content": "first"}], None
    yield [{"role": "user", "content": parts}, {"role": "assistant", "content": parts}], None
    yield [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}], None
    yield [{"role": "tool", "content": "x"}], None
    yield [{"role": "developer", "content": "dev"}, {"role": "user", "content": "y"}], []


def templates(directories):
    """(name, text) of every template, each text once."""
    seen = set()

    def fresh(text):
        known = text in seen
        seen.add(text)
        return not known

    for directory in directories:
        for path in sorted(glob.glob(os.path.join(directory, "**", "*"), recursive=True)):
            name = os.path.relpath(path, os.path.dirname(os.path.abspath(directory)))
            if path.endswith((".jinja", ".jinja2")) and "Dockerfile" not in path:
                text = open(path, encoding="utf-8", newline="").read()
                if fresh(text):
                    yield name, text
            elif path.endswith(".py"):
                try:
                    tree = ast.parse(open(path, encoding="utf-8").read())
                except SyntaxError:
                    continue
                for node in ast.walk(tree):
                    text = node.value if isinstance(node, ast.Constant) else None
                    is_template = isinstance(text, str) and re.search(r"\{%-?\s*for [^%]* in [^%]*messages", text)
                    if is_template and fresh(text):
                        yield f"{name}:{node.lineno}", text


def marks_of(text):
    """What a template writes that is a special token of its model, as far as its look tells."""
    found = set(re.findall(r"<[|\uff5c][^<>'\"{}\s]*[|\uff5c]>|</?s>|</?[a-z]+_[a-z_]+>|\[/?[A-Z_]+\]|<\uff5c[^>]*\uff5c>", text))
    return sorted(found | {"<s>", "</s>", "<pad>"})


def make_directory(directory, text):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = marks_of(text)
    raw.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    raw.save(os.path.join(directory, "tokenizer.json"))
    ends = [mark for mark in marks if re.search("im_end|eot|end_of_turn|end[|>]|/s>|END", mark)]
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    with open(os.path.join(directory, "tokenizer_config.json"), "w") as out:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", **special}, out)
    with open(os.path.join(directory, "generation_config.json"), "w") as out:
        json.dump({"eos_token_id": [raw.token_to_id(mark) for mark in ends]}, out)
    with open(os.path.join(directory, "chat_template.jinja"), "w", encoding="utf-8", newline="") as out:
        out.write(text)
    return raw, PreTrainedTokenizerFast(tokenizer_object=raw, **special), {raw.token_to_id(mark) for mark in ends}




class Reference:
    """What transformers makes of a row."""

    def __init__(self, raw, fast, stops, text):
        self.raw, self.fast, self.stops, self.template = raw, fast, stops, text
        self.marked = bool(re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", text))

    def render(self, messages, ask, tools):
        return self.fast.apply_chat_template(copy.deepcopy(messages), tools=tools, chat_template=self.template,
                                             tokenize=False, add_generation_prompt=ask)

    def row(self, messages, tools, ask):
        text = self.render(messages, ask, tools)
        encoding = self.raw.encode(text, add_special_tokens=False)
        output = self.fast.apply_chat_template(copy.deepcopy(messages), tools=tools, chat_template=self.template,
                                               add_generation_prompt=ask, return_dict=True,
                                               return_assistant_tokens_mask=self.marked)
        ids = list(output["input_ids"])
        assert ids == encoding.ids
        begins = [begin for begin, _ in encoding.offsets]
        row = {"text": text, "ids": ids}
        if self.marked:
            chat = chat_template_utils._normalize_chat_messages(copy.deepcopy(messages))
            _, spans = chat_template_utils.render_jinja_template(
                [chat], tools=tools, chat_template=self.template, return_assistant_tokens_mask=True,
                add_generation_prompt=ask, **self.fast.special_tokens_map)
            row["mask"] = trained_by_blocks(spans[0], begins, [end for _, end in encoding.offsets])
            row["own_mask"] = list(output["assistant_masks"])
        else:
            mask = trained_by_prefixes(lambda part, with_prompt: self.render(part, with_prompt, tools), messages, ask,
                                       ids, begins, token_ends(begins, len(text)), self.stops)
            row["mask"] = None if isinstance(mask, str) else mask
        return row


def tokenize(rlhf, directory, rows_, ask):
    path = os.path.join(directory, "rows.jsonl")
    with open(path, "w") as out:
        for messages, tools in rows_:
            out.write(json.dumps({"messages": messages, "tools": tools}) + "\n")
    done = subprocess.run([rlhf, "tokenize", f"model.path={directory}", f"data.path={path}", "out=-",
                           f"chat.add_generation_prompt={json.dumps(ask)}"], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def check(job):
    rlhf, name, text = job
    count = collections.Counter()
    notes = []
    with tempfile.TemporaryDirectory() as directory:
        raw, fast, stops = make_directory(directory, text)
        reference = Reference(raw, fast, stops, text)
        for ask in (False, True):
            good, refused = [], []
            for messages, tools in rows():
                try:
                    good.append((messages, tools, reference.row(messages, tools, ask)))
                except Exception as error:
                    refused.append((messages, tools, error))
            if good:
                status, out, err = tokenize(rlhf, directory, [row[:2] for row in good], ask)
                lines = out.splitlines()
                if status:
                    count["text wrong"] += len(good)
                    notes.append(f"refused: {err.strip()[:300]}")
                for line, (messages, tools, want) in zip(lines, good):
                    got = json.loads(line)
                    count["rows"] += 1
                    count["no mask"] += want["mask"] is None
                    count["own mask differs"] += "own_mask" in want and want["own_mask"] != want["mask"]
                    for key in ("text", "ids", "mask"):
                        if got[key] != want[key]:
                            count[key + " wrong"] += 1
                            if len(notes) < 3:
                                notes.append(f"{key}: {json.dumps(messages)[:200]}\n got {str(got[key])[-300:]}\n want {str(want[key])[-300:]}")
            for messages, tools, error in refused:
                count["refused"] += 1
                status, out, err = tokenize(rlhf, directory, [(messages, tools)], ask)
                if status != 1 or "error:" not in err:
                    count["refusal missing"] += 1
                    notes.append(f"transformers: {error!r}"[:200] + f"; here: {out[:200]}")
    return name, count, notes


COLUMNS = ("rows", "refused", "no mask", "own mask differs", "text wrong", "ids wrong", "mask wrong", "refusal missing")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rlhf", default="build/rlhf")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("directories", nargs="+")
    arguments = parser.parse_args()
    jobs = [(arguments.rlhf, name, text) for name, text in templates(arguments.directories)]
    total, bad, silent = collections.Counter(), 0, []
    print("  ".join(f"{column:>16}" for column in COLUMNS), " template")
    with concurrent.futures.ProcessPoolExecutor(arguments.workers) as pool:
        for name, count, notes in pool.map(check, jobs):
            print("  ".join(f"{count[column]:16}" for column in COLUMNS), f" {name}", flush=True)
            for note in notes:
                print("      ", note)
            total += count
            bad += any(count[column] for column in COLUMNS[4:])
            if not count["rows"]:
                silent.append(name)
    print("  ".join(f"{total[column]:16}" for column in COLUMNS), " all")
    print(f"{len(jobs)} templates, {bad} with a difference; transformers renders none of the rows with {len(silent)}:",
          ", ".join(silent))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
