#!/usr/bin/env python3
"""tests/golden/jinja/cases.jsonl: what Jinja, set up as transformers does it, makes of the templates in
jinja_templates.txt (one JSON string a line): {"template", "text", "spans"} or {"template", "error"}. The
first line holds the variables of all. Spans of {% generation %} blocks are in bytes.

    python3 tests/reference/make_golden_jinja.py        # needs transformers and jinja2
"""
import json
import os

from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "golden", "jinja", "cases.jsonl")

VARIABLES = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": " hi "},
        {"role": "assistant", "content": "yo \u00e9 \u0001\"q'", "n": 3, "f": 1.5, "t": True, "z": None,
         "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": [1, 2]}}}]},
        {"role": "user", "content": "b"},
    ],
    "tools": None, "x": 5, "s": "Hello World", "l": [3, 1, 2], "d": {"b": 1, "a": 2, "items": 9},
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
}


def render(template, variables):
    """What transformers' environment writes, with the places of generation blocks in characters."""
    compiled = chat_template_utils._compile_jinja_template.__wrapped__(template)
    blocks, spans = [], []
    with compiled.environment.activate_tracker(blocks, spans):
        for block in compiled.generate(**variables):
            blocks.append(block)
    return "".join(blocks), spans


def in_bytes(text, spans):
    return [[len(text[:begin].encode()), len(text[:end].encode())] for begin, end in spans]


def main():
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    count = errors = 0
    with open(os.path.join(HERE, "jinja_templates.txt")) as lines, open(OUT, "w") as out:
        out.write(json.dumps({"variables": VARIABLES}, ensure_ascii=False) + "\n")
        for line in lines:
            template = json.loads(line)
            case = {"template": template}
            try:
                text, spans = render(template, VARIABLES)
                assert "object at 0x" not in text, template
                case["text"] = text
                if spans:
                    case["spans"] = in_bytes(text, spans)
            except Exception as error:
                case["error"] = type(error).__name__
                errors += 1
            count += 1
            out.write(json.dumps(case, ensure_ascii=False) + "\n")
    print(f"{count} templates, {errors} of them errors")


if __name__ == "__main__":
    main()
