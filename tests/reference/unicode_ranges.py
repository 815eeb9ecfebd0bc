"""The tables of src/text/unicode.cpp: where the Unicode versions inside `tokenizers` differ from Unicode
14, which Python 3.11's unicodedata and Debian 12's PCRE2 and utf8proc know.

    python tests/reference/unicode_ranges.py

Splitting by \\p{L}, \\p{N}, \\p{M} is asked of Oniguruma through Split, numbers of Rust through Digits,
and combining classes and compositions of the NFC normalizer.
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", "made for Python 3.11"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORY = {c: unicodedata.category(chr(c)) for c in POINTS}


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return ", ".join("{0x%X, 0x%X}" % (a, b) for a, b in out)


def kept_by(pattern):
    split, kept = pre_tokenizers.Split(Regex(pattern), "removed"), set()
    for begin in range(0, len(POINTS), 4096):
        text = "".join(map(chr, POINTS[begin:begin + 4096]))
        for piece, _ in split.pre_tokenize_str(text):
            kept.update(map(ord, piece))
    return kept


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


numbers = kept_by(r"[^\p{N}]")
for name, new, known in [("new_letters", kept_by(r"[^\p{L}]"), "L"), ("new_numbers", numbers, "N"), ("new_marks", kept_by(r"[^\p{M}]"), "M")]:
    print(name + ":", ranges(c for c in new if CATEGORY[c][0] != known), "\n")
print("not_normalized:", ranges(not_normalized()), "\n")
print("rust_numbers:", ranges(digits() - numbers))
