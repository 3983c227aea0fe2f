"""Random, FIFO and K-Center written from their definitions, with no look at how `core` decides.

    python selection.py        needs: numpy

writes tests/golden/selection.txt: a line `policy stream bins seed verdicts`, one character an arrival:
the bin that it goes to as a digit of 0-9a-v, or `.` where it is dropped.

    random     Vitter's algorithm R: the first B are kept; number i > B goes to place j, uniform in
               0..i - 1, if j < B. The draw is the hash of (seed, arrival, 0), scaled.
    fifo       a queue of B
    k-center   of the B + 1 points, start from the oldest and take B - 1 times the point farthest from
               its nearest taken one; what is left over goes. Ties: the lower bin, the arrival last.

Streams of embeddings, arrival a, component d, h = hash(seed, stream, a, d), 24 bits of it as x:
    grid       4 components, whole numbers from -3 to 3: ties in plenty, distances exact
    drift      16 components, x in -1..1 plus a whole number from -2 to 2 that lasts 40 arrivals
"""

import pathlib

import numpy

from rouge_pairs import hash_words

ARRIVALS, SEEDS, BINS = 600, (1, 2), (1, 5, 32)
DIGITS = "0123456789abcdefghijklmnopqrstuv"


def grid(seed, a):
    return [hash_words(seed, 0, a, d) % 7 - 3 for d in range(4)]


def drift(seed, a):
    def component(d):
        x = (hash_words(seed, 1, a, d) >> 40) / 2**23 - 1.0
        return x + hash_words(seed, 2, a // 40, d) % 5 - 2

    return [component(d) for d in range(16)]


def algorithm_r(arrivals, bins, seed):
    for i in range(1, arrivals + 1):
        arrival = i - 1
        if i <= bins:
            yield arrival
        else:
            j = (hash_words(seed, arrival, 0) * i) >> 64
            yield j if j < bins else None


def fifo(arrivals, bins):
    free, queue = list(range(bins)), []
    for _ in range(arrivals):
        place = free.pop(0) if free else queue.pop(0)
        queue.append(place)
        yield place


def k_center(points, bins, stored=lambda x: x):
    """`points`: rows (N, D). `stored`: what a bin makes of an embedding."""
    points = numpy.asarray(points, dtype=numpy.float32)
    held, since = [], []
    for arrival, point in enumerate(points):
        if len(held) < bins:
            held.append(stored(point))
            since.append(arrival)
            yield len(held) - 1
            continue
        all_points = numpy.array([*held, point], dtype=numpy.float64)
        apart = ((all_points[:, None, :] - all_points[None, :, :]) ** 2).sum(axis=2)
        centers = [since.index(min(since))]
        while len(centers) < bins:
            gap = apart[:, centers].min(axis=1)
            gap[centers] = -1.0
            centers.append(int(gap.argmax()))
        (left,) = set(range(bins + 1)) - set(centers)
        if left == bins:
            yield None
        else:
            held[left], since[left] = stored(point), arrival
            yield left


def main():
    lines = []

    def write(policy, stream, bins, seed, verdicts):
        text = "".join("." if place is None else DIGITS[place] for place in verdicts)
        assert len(text) == ARRIVALS
        lines.append(f"{policy} {stream} {bins} {seed} {text}\n")

    for bins in BINS:
        write("fifo", "grid", bins, 1, fifo(ARRIVALS, bins))
        for seed in SEEDS:
            write("random", "grid", bins, seed, algorithm_r(ARRIVALS, bins, seed))
            for stream in (grid, drift):
                points = [stream(seed, a) for a in range(ARRIVALS)]
                write("k-center", stream.__name__, bins, seed, k_center(points, bins))
    path = pathlib.Path(__file__).parent.parent / "golden" / "selection.txt"
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
