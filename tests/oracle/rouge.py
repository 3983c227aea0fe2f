"""Writes two goldens: ROUGE-1 of pairs of texts as Google's rouge_score gives it.

    python tests/oracle/rouge.py        needs: rouge-score

    tests/golden/rouge.jsonl   texts and figures of pairs made by hand and by a few draws
    tests/golden/rouge.bin     11,000 pairs of rouge_pairs.py, without their texts:
        110 x 8 bytes     of each 100 pairs: the first bytes of the SHA-256 of their texts
        11,000 x 3 bytes  of each pair: matched words, the candidate's words, the reference's
Precision is the first over the second, recall the first over the third; that these quotients and F1
of them are what rouge_score gives is checked here to the bit before anything is written.
"""

import hashlib
import json
import pathlib
import random

from rouge_score import rouge_scorer, tokenize

from rouge_pairs import pair

PAIRS, BLOCK, SEED = 11_000, 100, 20

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


def counts(scorer, reference, candidate):
    """Matched words and the words of both sides, from which rouge_score's figures follow exactly."""
    score = scorer.score(reference, candidate)["rouge1"]
    words = [len(tokenize.tokenize(side, None)) for side in (candidate, reference)]
    matched = round(score.precision * words[0])
    precision, recall = matched / max(words[0], 1), matched / max(words[1], 1)
    f1 = 2 * precision * recall / (precision + recall) if matched else 0.0
    found = (score.precision, score.recall, score.fmeasure)
    assert found == (precision, recall, f1), (reference, candidate, found)
    return bytes([matched, *words])


def write_many(folder, scorer):
    heads, rows = b"", b""
    for first in range(0, PAIRS, BLOCK):
        digest = hashlib.sha256()
        for k in range(first, first + BLOCK):
            reference, candidate = pair(SEED, k)
            digest.update((reference + "\xff" + candidate + "\xff").encode())
            rows += counts(scorer, reference, candidate)
        heads += digest.digest()[:8]
    (folder / "rouge.bin").write_bytes(heads + rows)


def main():
    draw = random.Random(7)
    pairs = list(HAND)
    for _ in range(80):
        pairs.append(tuple(" ".join(draw.choices(WORDS, k=draw.randint(0, 40))) for _ in range(2)))
    alphabet = "abAB01 .,-_'\tİKßſÅéΣ中😀\u0307\u0301"
    for _ in range(80):
        pairs.append(tuple("".join(draw.choices(alphabet, k=draw.randint(0, 60))) for _ in range(2)))
    scorer = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False)
    folder = pathlib.Path(__file__).parent.parent / "golden"
    write_many(folder, scorer)
    with (folder / "rouge.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for reference, candidate in pairs:
            score = scorer.score(reference, candidate)["rouge1"]
            row = {"reference": reference, "candidate": candidate, "precision": score.precision,
                   "recall": score.recall, "f1": score.fmeasure}
            file.write(json.dumps(row) + "\n")


main()
