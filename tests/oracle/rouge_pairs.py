"""Pairs of texts from a seed: the rules of `tests/rouge/pairs.rs`, written a second time.

Texts are lists of pieces. Draws come from SplitMix64 as in `core/src/rng.rs`; pair k has a stream of
its own, `Rng(seed, k)`, so that one pair can be made without the others.
"""

import json
import pathlib

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FRAGMENTS = pathlib.Path(__file__).parent.parent / "golden" / "rouge_fragments.json"
# First and last code point of a range that characters are drawn from, surrogates never.
RANGES = [
    (0x00, 0x7F), (0x20, 0x7E), (0x61, 0x66), (0x30, 0x39), (0x80, 0x24F), (0x300, 0x36F),
    (0x370, 0x52F), (0x5D0, 0x6FF), (0x900, 0x97F), (0x1E00, 0x1FFF), (0x2000, 0x206F),
    (0x2100, 0x214F), (0x2160, 0x217F), (0x2460, 0x24FF), (0x3040, 0x30FF), (0x4E00, 0x4FFF),
    (0xFB00, 0xFB06), (0xFF00, 0xFF5E), (0x10400, 0x1044F), (0x1F600, 0x1F64F), (0x0, 0x10FFFF),
]


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hash_words(*words):
    h = 0
    for word in words:
        h = mix((h + GOLDEN * (word + 1)) & MASK)
    return h


class Rng:
    def __init__(self, seed, k):
        self.state = mix(hash_words(seed, k))

    def next(self):
        self.state = (self.state + GOLDEN) & MASK
        return mix(self.state)

    def below(self, n):
        threshold = (1 << 64) % n
        while True:
            product = self.next() * n
            if product & MASK >= threshold:
                return product >> 64

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


def character(rng):
    low, high = rng.pick(RANGES)
    while True:
        code = low + rng.below(high - low + 1)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def text(rng, fragments):
    kind = rng.below(16)
    if kind == 0:
        return []
    if kind == 1:
        return [rng.pick(fragments["marks"]) for _ in range(rng.below(6))]
    if kind < 5:
        return [character(rng) for _ in range(rng.below(81))]
    # A few words of the list, so that they repeat.
    few = [rng.pick(fragments["words"]) for _ in range(1 + rng.below(20))]
    pieces = []
    for _ in range(rng.below(61)):
        pieces.append(rng.pick(few))
        pieces.append(" " if rng.below(2) == 0 else rng.pick(fragments["marks"]))
    return pieces


def edited(rng, pieces, fragments):
    out = []
    for piece in pieces:
        kind = rng.below(12)
        if kind == 0:
            continue
        if kind == 1:
            out.append(rng.pick(fragments["words"]))
        elif kind == 2:
            out += [piece, piece]
        else:
            out.append(piece)
    if rng.below(3) == 0:
        rng.shuffle(out)
    return out


def pair(seed, k):
    """Reference and candidate k."""
    fragments = pair.fragments
    rng = Rng(seed, k)
    reference = text(rng, fragments)
    candidate = text(rng, fragments) if rng.below(3) == 0 else edited(rng, reference, fragments)
    if rng.below(8) == 0:
        reference, candidate = candidate, reference
    return "".join(reference), "".join(candidate)


pair.fragments = json.loads(FRAGMENTS.read_text(encoding="utf-8"))
