"""Matrices of 32-weight blocks, in numpy: the rules of kernels/src/quant, written a second time.

    row      | block 0: 32 weights | block 1 | ... | last block, maybe shorter |
    weight   = scale of its block (f16) * quant (i8)
    q8       scale = the least f16 with 127 scale >= max |w|;  quant = round(w / scale)
    q4       scale = of 18 candidates f16(factor * m / -8), f16(factor * m / 7), m the weight of the
             largest magnitude (the first of several), the first with the least squared error
             quant = round(w / scale), cut to -8..7

Rounding is to even; all arithmetic is in f32, sums from left to right, so the results are those of
Rust to the bit. How the quants are laid out in memory is not their business.
"""

import numpy as np

BLOCK = 32
FACTORS = [0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05]
f16, f32 = np.float16, np.float32


def q8(w):
    most = np.abs(w).max()
    scale = f16(most / f32(127))
    if f32(127) * f32(scale) < most:
        scale = np.nextafter(scale, f16(np.inf))
    if scale == 0:
        return np.zeros(len(w), np.int8), scale
    return np.rint(w / f32(scale)).astype(np.int8), scale


def nearest(w, scale):
    return np.rint(np.clip(w / scale, f32(-8), f32(7)))


def q4(w):
    most = w[np.abs(w).argmax()]
    best = (f32(np.inf), f16(most / f32(-8)))
    if best[1] == 0:
        return np.zeros(len(w), np.int8), f16(0)
    for factor in FACTORS:
        for part in (-8, 7):
            scale = f16(f32(factor) * most / f32(part))
            off = w - nearest(w, f32(scale)) * f32(scale)
            error = np.cumsum(off * off, dtype=f32)[-1]
            if error < best[0]:
                best = (error, scale)
    return nearest(w, f32(best[1])).astype(np.int8), best[1]


def quantise(format, matrix):
    """Quants (N, K) i8 and scales (N, K / 32 rounded up) f16 of a matrix (N, K) f32."""
    rule = {"q8": q8, "q4": q4}[format]
    rows, cols = matrix.shape
    quants = np.zeros((rows, cols), np.int8)
    scales = np.zeros((rows, -(-cols // BLOCK)), f16)
    for i in range(rows):
        for b in range(scales.shape[1]):
            here = slice(b * BLOCK, (b + 1) * BLOCK)
            quants[i, here], scales[i, b] = rule(matrix[i, here])
    return quants, scales


def dequantise(quants, scales):
    wide = np.repeat(scales.astype(f32), BLOCK, axis=1)[:, : quants.shape[1]]
    return quants.astype(f32) * wide
