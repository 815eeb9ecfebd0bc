"""RAGTruth's files as rows for rlhf judge judge.kind=trm: python3 ragtruth_rows.py response.jsonl source_info.jsonl OUT.jsonl

RAGTruth (github ParticleMedia/RAGTruth) marks hallucinated spans of a response; TRM judges sentences. A sentence that
overlaps a span is not faithful (0), and right only if every span that it overlaps is implicit_true: right although the
documents do not say it. A sentence without a span is faithful; whether it is right is not known (null), as nobody has
checked the documents. So three of the four cases occur. Offsets become bytes of UTF-8.
"""

import json
import re
import sys

SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*(?:[.!?]+[\"')\]]*\s*|\n\s*|$)")


def sentences(text):
    return [m.span() for m in SENTENCE.finditer(text) if m.group().strip()]


def documents(source):
    info = source["source_info"]
    if isinstance(info, str):
        return [{"id": source["source_id"], "text": info}]
    if "passages" in info:
        return [{"id": source["source_id"], "text": info["passages"]}]
    return [{"id": source["source_id"], "text": json.dumps(info, ensure_ascii=False)}]


def question(source):
    info = source["source_info"]
    return info["question"] if isinstance(info, dict) and "question" in info else source["task_type"]


def row(response, source):
    text = response["response"]
    labelled = []
    for begin, end in sentences(text):
        spans = [label for label in response["labels"] if label["start"] < end and begin < label["end"]]
        right = None if not spans else int(all(label.get("implicit_true") for label in spans))
        labelled.append({"start": len(text[:begin].encode()), "end": len(text[:end].encode()),
                         "faithful": int(not spans), "reason": None, "correct": right})
    return {"id": response["id"], "question": question(source), "documents": documents(source), "answer": text,
            "sentences": labelled, "split": response["split"]}


def main():
    sources = {}
    for line in open(sys.argv[2]):
        source = json.loads(line)
        sources[source["source_id"]] = source
    with open(sys.argv[3], "w") as out:
        for line in open(sys.argv[1]):
            response = json.loads(line)
            out.write(json.dumps(row(response, sources[response["source_id"]]), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
