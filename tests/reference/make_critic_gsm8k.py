"""Lessons for a critic of worked answers: python3 make_critic_gsm8k.py GSM8K.jsonl OUT.jsonl [ROWS]

GSM8K's answers hold their calculations as <<48/2=24>>. A row's prompt is configs/critic_gsm8k.jinja of question and
answer, one step per line, half of the answers with one result changed; its completion works every calculation out again
beside what was written, and ends in the list of wrong steps in a box. Of a changed result later steps go on rightly.
"""

import json
import random
import re
import sys

CALCULATION = re.compile(r"<<([^=<>]+)=([^<>]+)>>")


def prompt(question, steps):
    shown = "".join(f"Step {k}: {step}\n" for k, step in enumerate(steps))
    return f"Check the solution.\n\nProblem: {question}\n\n{shown}\nWork out each step again."


def lesson(row, rng):
    lines = row["answer"].split("\n####")[0].split("\n")
    steps, words, wrong = [], [], []
    planted = rng.randrange(len(lines)) if rng.random() < 0.6 else None
    for k, line in enumerate(lines):
        found = CALCULATION.search(line)
        text = CALCULATION.sub("", line).strip()
        if not found:
            steps.append(text), words.append(f"Step {k}: no calculation, right")
            continue
        left, result = found.group(1).strip(), found.group(2).strip()
        said = result
        if k == planted and re.fullmatch(r"\d+", result) and result in text:
            said = str(max(0, int(result) + rng.choice([-10, -2, -1, 1, 2, 10])))
            at = text.rindex(result)
            text = text[:at] + said + text[at + len(result) :]
        if said != result:
            wrong.append(k)
        steps.append(text)
        words.append(f"Step {k}: {left} = {result}, written {said}, {'right' if said == result else 'wrong'}")
    completion = "\n".join(words) + "\n\\boxed{[" + ", ".join(map(str, wrong)) + "]}"
    return {"prompt": prompt(row["question"].strip(), steps), "completion": completion,
            "question": row["question"].strip(), "response": "\n\n".join(steps), "wrong": wrong}


def main():
    rng = random.Random(1)
    rows = [json.loads(line) for line in open(sys.argv[1])]
    rng.shuffle(rows)
    with open(sys.argv[2], "w") as out:
        for row in rows[: int(sys.argv[3]) if len(sys.argv) > 3 else None]:
            out.write(json.dumps(lesson(row, rng)) + "\n")


if __name__ == "__main__":
    main()
