"""Writes tests/golden/rouge.jsonl: ROUGE-1 of pairs of texts as Google's rouge_score gives it.

    python tests/oracle/rouge.py        needs: rouge-score
"""

import json
import pathlib
import random

from rouge_score import rouge_scorer

HAND = [
    ("", ""), ("", "a"), ("a", ""), ("!?\n", "..."), ("The cat sat on the mat.", "the the THE cat"),
    ("the the the the", "the cat the"), ("It's 2nd-best", "its 2nd best"),
    ("running runs ran", "run running"), ("İstanbul İ", "istanbul i̇ i stanbul"),
    ("300 K and Å", "300 k and å a"), ("Straße STRASSE", "strasse stra e"),
    ("😀 hello 😀world", "hello world 😀"), ("naïve café", "na ve caf naive cafe"),
    ("Ⅳ ① ² ﬁn ﬁ", "iv 1 2 fin fi n"), ("ΣΑΣ ς σ", "σας Σ"), ("你好 world", "world 你 好"),
    ("a\u0301b a\u200bb a\u00a0b", "a b"), ("ＡＢＣ abc", "abc ABC"), ("ǅ ǆ DŽ", "dz d z"),
    ("\ud7ff\ue000 x\U0010ffffy", "x y"), ("snake_case under_score", "snake case under score"),
    ("x" * 300, "X" * 300), ("tab\tnew\nline\r\nnull\0byte", "tab new line null byte"),
    ("0٣३ 3", "0 3"), ("ſ long s", "s long"), ("K" * 3 + "g", "kkkg"),
]

WORDS = ("the a of to and Rain rain tea TEA I'm don't café naïve Ünal İzmir Kelvin K ß ẞ 42 3.14 "
         "x_y 😀 你好 ... - O'Neil e-mail A1 ① ſo").split()


def main():
    draw = random.Random(7)
    pairs = list(HAND)
    for _ in range(80):
        pairs.append(tuple(" ".join(draw.choices(WORDS, k=draw.randint(0, 40))) for _ in range(2)))
    alphabet = "abAB01 .,-_'\tİKßſÅéΣ中😀\u0307\u0301"
    for _ in range(80):
        pairs.append(tuple("".join(draw.choices(alphabet, k=draw.randint(0, 60))) for _ in range(2)))
    scorer = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False)
    out = pathlib.Path(__file__).parent.parent / "golden" / "rouge.jsonl"
    with out.open("w", encoding="utf-8", newline="\n") as file:
        for reference, candidate in pairs:
            score = scorer.score(reference, candidate)["rouge1"]
            row = {"reference": reference, "candidate": candidate, "precision": score.precision,
                   "recall": score.recall, "f1": score.fmeasure}
            file.write(json.dumps(row) + "\n")


main()
