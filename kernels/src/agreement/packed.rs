//! Int8 activations and their products with packed matrices, over odd shapes and extremes.

use bytemuck::Zeroable;

use super::*;
use crate::quant::{ActivationBlock, Activations, BLOCK, ROWS};
use crate::{Input, Product, Serial};

/// `(T, N, K)`: one token and many, a row, a panel and a bit, part of a block, a model's odd ones.
const SHAPES: [(usize, usize, usize); 22] = [
    (0, 5, 7),
    (3, 0, 7),
    (3, 7, 0),
    (1, 1, 1),
    (1, 16, 32),
    (1, 17, 33),
    (1, 64, 172),
    (1, 100, 64),
    (1, 272, 576),
    (2, 33, 96),
    (3, 48, 31),
    (4, 31, 160),
    (5, 16, 40),
    (6, 80, 288),
    (7, 15, 63),
    (8, 65, 65),
    (11, 130, 172),
    (12, 32, 320),
    (13, 96, 100),
    (25, 40, 224),
    (50, 47, 130),
    (67, 67, 67),
];

fn shapes() -> impl Iterator<Item = (usize, usize, usize)> {
    SHAPES.into_iter().filter(|&(t, n, k)| !cfg!(miri) || t * n * k < 800)
}

fn quantise(kernels: &Kernels, x: &[f32], k: usize) -> Vec<ActivationBlock> {
    let tokens = x.len().checked_div(k).unwrap_or(0);
    let mut blocks = vec![ActivationBlock::zeroed(); tokens * Activations::width(k)];
    kernels.quantize(&Serial, x, k, &mut blocks);
    blocks
}

fn product(kernels: &Kernels, blocks: &[ActivationBlock], w: Matrix, add: bool, y: &mut [f32]) {
    let x = Input::I8(Activations::new(blocks, w.cols()));
    kernels.matmul_each(&Serial, x, [Product { w, accumulate: add, y }]);
}

#[test]
fn activations_quantise_to_the_same_bits() {
    for (kernels, k) in others().flat_map(|kernels| (1..200).map(move |k| (kernels, k))) {
        let mut x = numbers(3 * k, k as u32);
        x[0] *= 1e-30;
        x[k / 2] *= 1e20;
        x[k..2 * k].fill(-0.0);
        x[2 * k] = 1e-36;
        assert_eq!(quantise(kernels, &x, k), quantise(specification(), &x, k), "{kernels:?} {k}");
    }
}

#[test]
fn halves_round_to_even_and_no_quant_leaves_its_range() {
    for kernels in Kernels::available() {
        let mut x: Vec<f32> = (0..32).map(|i| i as f32 + 0.5).collect();
        x[31] = 127.0;
        x[30] = -127.0;
        let blocks = quantise(kernels, &x, 32);
        assert_eq!(blocks[0].quants[..4], [0, 2, 2, 4], "{kernels:?}");
        assert_eq!(blocks[0].quants[30..], [-127, 127]);
        assert_eq!(blocks[0].scale, 1.0);
        assert_eq!(blocks[0].sum, blocks[0].quants.iter().map(|&q| i32::from(q)).sum::<i32>());
    }
}

#[test]
fn an_activation_that_is_not_finite_reaches_every_product() {
    for (kernels, bad) in
        Kernels::available().flat_map(|k| [f32::NAN, f32::INFINITY].map(|bad| (k, bad)))
    {
        for at in (0..40).step_by(if cfg!(miri) { 39 } else { 1 }) {
            let mut x = numbers(40, 1);
            x[at] = bad;
            let w = Stored::new(DType::Q8, &numbers(20 * 40, 2), 40);
            let mut y = [0.0; 20];
            product(kernels, &quantise(kernels, &x, 40), w.matrix(20, 40), false, &mut y);
            assert!(y.iter().all(|y| !y.is_finite()), "{kernels:?} {bad} at {at}: {y:?}");
        }
    }
}

/// What differs between scalar and `product`, given the kernels' inputs.
fn difference_of(
    product_of: impl Fn(&[ActivationBlock], Matrix, bool, &mut [f32]),
) -> Option<String> {
    let cases = shapes().flat_map(|shape| [DType::Q8, DType::Q4].map(|dtype| (shape, dtype)));
    cases.flat_map(|case| [false, true].map(|add| (case, add))).find_map(|((shape, dtype), add)| {
        let (t, n, k) = shape;
        let w = Stored::new(dtype, &numbers(n * k, 2), k);
        let x = quantise(specification(), &numbers(t * k, 1), k);
        let mut got = if add { numbers(t * n, 4) } else { vec![f32::NAN; t * n] };
        let mut want = got.clone();
        product_of(&x, w.matrix(n, k), add, &mut got);
        product(specification(), &x, w.matrix(n, k), add, &mut want);
        let bound = 2.0 * ULP * (k as f32 + 2.0);
        difference(&got, &want, |_| bound)
            .map(|found| format!("{dtype:?} {shape:?} add {add}: {found}"))
    })
}

#[test]
fn int8_products_agree() {
    for kernels in others() {
        let found = difference_of(|x, w, add, y| product(kernels, x, w, add, y));
        assert_eq!(found, None, "{kernels:?}");
    }
}

/// Where the outputs of all tokens at once differ from those of each token and, from the second
/// panel on, each part of the matrix alone; `product_of` makes the ones of a token alone.
fn difference_alone(
    kernels: &Kernels,
    product_of: impl Fn(&[ActivationBlock], Matrix, &mut [f32]),
) -> Option<String> {
    for (n, k) in [(1, 1), (15, 33), (16, 32), (17, 96), (32, 31), (33, 64), (48, 100), (63, 160)] {
        for dtype in [DType::Q8, DType::Q4] {
            let w = Stored::new(dtype, &numbers(n * k, 2), k);
            let (w, width) = (w.matrix(n, k), Activations::width(k));
            let Storage::Packed(packed) = w.storage() else { unreachable!("q8 and q4 are packed") };
            let from = if n > ROWS { ROWS } else { 0 };
            let part = Matrix::packed(packed.rows_range(from, n));
            for tokens in 1..=13 {
                let x = quantise(kernels, &numbers(tokens * k, 1), k);
                let mut all = vec![f32::NAN; tokens * n];
                product(kernels, &x, w, false, &mut all);
                for (t, all) in all.chunks_exact(n).enumerate() {
                    let (x, mut alone) = (&x[t * width..][..width], vec![f32::NAN; n - from]);
                    product_of(x, part, &mut alone);
                    if alone != all[from..] {
                        return Some(format!("{dtype:?} token {t} of {tokens}, {n} x {k}"));
                    }
                }
            }
        }
    }
    None
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn an_output_has_the_same_bits_whatever_is_made_with_it() {
    for kernels in Kernels::available() {
        let found = difference_alone(kernels, |x, w, y| product(kernels, x, w, false, y));
        assert_eq!(found, None, "{kernels:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn blocks_that_are_added_in_another_order_are_caught() {
    let found = difference_alone(specification(), |x, w, y| {
        product(specification(), x, w, false, y);
        let Storage::Packed(packed) = w.storage() else { unreachable!("q8 and q4 are packed") };
        let mut row = vec![0.0; w.cols()];
        for (n, y) in y.iter_mut().enumerate() {
            packed.dequantize(n, 0, &mut row);
            let blocks = row.chunks(BLOCK).zip(x).rev().map(|(w, x)| {
                let dot: f32 = w.iter().zip(&x.quants).map(|(w, &x)| w * f32::from(x)).sum();
                dot * x.scale
            });
            *y = blocks.sum();
        }
    });
    assert!(found.is_some());
}

#[test]
fn a_lane_or_a_tail_that_is_left_out_of_an_int8_product_is_caught() {
    let lane = difference_of(|x, w, add, y| {
        let mut x = x.to_vec();
        x.iter_mut().for_each(|block| block.quants[13] = 0);
        product(specification(), &x, w, add, y);
    });
    assert!(lane.is_some());
    let tail = difference_of(|x, w, add, y| {
        let mut x = x.to_vec();
        let width = Activations::width(w.cols());
        let last = |blocks: &mut [ActivationBlock]| blocks[width - 1].quants[24..].fill(0);
        x.chunks_exact_mut(width.max(1)).for_each(last);
        product(specification(), &x, w, add, y);
    });
    assert!(tail.is_some());
    let row = difference_of(|x, w, add, y| {
        let before = y.last().copied();
        product(specification(), x, w, add, y);
        if let (Some(y), Some(before)) = (y.last_mut(), before) {
            *y = before;
        }
    });
    assert!(row.is_some());
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter has the scalar table alone")]
fn a_token_gets_the_same_bits_alone_and_among_others() {
    let (tokens, n, k) = (13, 33, 172);
    for (kernels, dtype) in
        Kernels::available().flat_map(|kernels| [DType::Q8, DType::Q4].map(|d| (kernels, d)))
    {
        let w = Stored::new(dtype, &numbers(n * k, 2), k);
        let x = quantise(kernels, &numbers(tokens * k, 1), k);
        for count in 1..=tokens {
            let x = &x[..count * Activations::width(k)];
            let (mut among, mut alone) = (vec![0.0; count * n], vec![0.0; count * n]);
            product(kernels, x, w.matrix(n, k), false, &mut among);
            for (x, y) in x.chunks_exact(Activations::width(k)).zip(alone.chunks_exact_mut(n)) {
                product(kernels, x, w.matrix(n, k), false, y);
            }
            assert!(among == alone, "{kernels:?} {dtype:?} {count}");
        }
    }
}

/// A matrix of one block of columns with scales of one, so that a product is an integer.
fn unit(format: Format, rows: usize, byte: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = vec![0; format.bytes(rows, BLOCK).unwrap()];
    let panel = format.panel_bytes(BLOCK);
    for bytes in bytes.chunks_exact_mut(panel) {
        for scale in bytes[..32].as_chunks_mut::<2>().0 {
            *scale = f16::ONE.to_le_bytes();
        }
        bytes[64..].iter_mut().enumerate().for_each(|(i, b)| *b = byte(i));
    }
    bytes
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter has the scalar table alone")]
fn the_sum_of_a_block_is_exact_at_every_extreme() {
    // A file that nobody checked may hold the byte -128, which packing never writes.
    let extremes: [fn(usize) -> i8; 7] = [
        |_| 127,
        |_| -127,
        |i| if i.is_multiple_of(2) { 127 } else { -127 },
        |i| (i * 37 % 255) as i8,
        |_| 0,
        |_| -128,
        |i| if i.is_multiple_of(3) { -128 } else { 127 },
    ];
    for (x, w) in extremes.iter().flat_map(|x| extremes.iter().map(move |w| (x, w))) {
        let quants = core::array::from_fn(|i| x(i).max(-127));
        let sum = quants.iter().map(|&q| i32::from(q)).sum();
        let blocks = [ActivationBlock { quants, scale: 1.0, sum }; 7];
        for format in [Format::Q8, Format::Q4] {
            let bytes = unit(format, 40, |i| w(i).cast_unsigned());
            let matrix = Matrix::packed(Packed::new(format, &bytes, 40, BLOCK).unwrap());
            for tokens in 1..=7 {
                let mut want = vec![0.0; tokens * 40];
                product(specification(), &blocks[..tokens], matrix, false, &mut want);
                for kernels in others() {
                    let mut got = vec![0.0; tokens * 40];
                    product(kernels, &blocks[..tokens], matrix, false, &mut got);
                    assert_eq!(got, want, "{kernels:?} {format:?}");
                }
            }
        }
    }
}
