"""The tables of src/text/unicode.cpp: where the Unicode versions inside `tokenizers` differ from Unicode
14, which Python 3.11's unicodedata and Debian 12's PCRE2 and utf8proc know; and, into
tests/golden/tokenizers/classes.json, a hash of the code points of every class, for the tests.

    python tests/reference/unicode_ranges.py

Splitting is asked of Oniguruma through Split, numbers of Rust through Digits, and combining classes and
compositions of the NFC normalizer.
"""
import json
import os
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", "made for Python 3.11"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = set(POINTS)
CATEGORY = {c: unicodedata.category(chr(c)) for c in POINTS}
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn").split()
SCRIPTS = "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai".split()


def spans(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def ranges(points):
    return ", ".join("{0x%X, 0x%X}" % (a, b) for a, b in spans(points))


def matched_by(pattern):
    split, kept = pre_tokenizers.Split(Regex(pattern), "removed"), set()
    for begin in range(0, len(POINTS), 4096):
        text = "".join(map(chr, POINTS[begin:begin + 4096]))
        for piece, _ in split.pre_tokenize_str(text):
            kept.update(map(ord, piece))
    return ALL - kept


def digits():
    found = set()
    for begin in range(0, len(POINTS), 4096):
        text = "".join(chr(c) * 2 for c in POINTS[begin:begin + 4096])
        for piece, _ in pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(text):
            if len(piece) == 1:
                found.add(ord(piece))
    return found


def not_normalized():
    theirs, ours = normalizers.NFC().normalize_str, lambda s: unicodedata.normalize("NFC", s)
    found = set()
    for c in POINTS:
        for text in ("a" + chr(c) + "\u0301", "a\u0301" + chr(c) + "\u0316", chr(c)):
            if theirs(text) != ours(text):
                found.add(c)
        parts = unicodedata.normalize("NFD", chr(c))
        if parts != chr(c) and theirs(parts) != ours(parts):
            found.update([c, *map(ord, parts)])
    return found


def fnv(points):
    h = 0xCBF29CE484222325
    for a, b in spans(points):
        for byte in ("%X-%X;" % (a, b)).encode():
            h = (h ^ byte) * 0x100000001B3 % 2**64
    return "%016x" % h


category, rows = {}, []
for name in CATEGORIES:
    category.update((c, name) for c in matched_by(r"\p{%s}" % name))
for c in POINTS:
    if category[c] == CATEGORY[c]:
        continue
    if rows and rows[-1][1] == c - 1 and rows[-1][2] == category[c]:
        rows[-1][1] = c
    else:
        rows.append([c, c, category[c]])
print("new_characters:", ", ".join('{0x%X, 0x%X, "%s"}' % tuple(row) for row in rows), "\n")
for name in SCRIPTS:
    new = {c for c in matched_by(r"\p{%s}" % name) if CATEGORY[c] == "Cn"}
    print(name + ":", "".join("\\x{%X}-\\x{%X}" % (a, b) for a, b in spans(new)))
print("\nnot_normalized:", ranges(not_normalized()), "\n")
print("rust_numbers:", ranges(digits() - {c for c in POINTS if category[c][0] == "N"}))

patterns = [r"\p{%s}" % name for name in CATEGORIES + list("LMNPSZC") + SCRIPTS]
patterns += [r"\P{L}", r"\P{P}", r"\p{^N}", r"\P{^S}", r"[^\p{L}]", r"[\p{P}\p{S}]", r"[^\s\p{L}\p{N}]",
             r"[\p{L}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[^\r\n\p{L}\p{P}\p{S}]", r"[\p{C}a]", r"[^\p{Mn}]",
             r"\d", r"\D", r"[\d]", r"[^\d]", r"\w", r"\W", r"[\w]", r"[^\w]", r"\s", r"\S", r"[\s]", r"[^\S]", r"\v",
             r"\p{lu}", r"\p{han}", r"\u0041"]
golden = {pattern: fnv(matched_by(pattern)) for pattern in patterns}
path = os.path.join(os.path.dirname(__file__), "../golden/tokenizers/classes.json")
with open(path, "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
