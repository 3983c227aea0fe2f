//! The three products over odd shapes, and bugs planted in them.

use super::*;
use crate::Serial;

/// `(T, N, K)`: nothing, one token, few, a panel and a bit; LoRA's narrow sides; a model's odd ones.
const SHAPES: [(usize, usize, usize); 39] = [
    (0, 0, 0),
    (0, 5, 7),
    (3, 0, 7),
    (3, 7, 0),
    (1, 1, 1),
    (1, 5, 3),
    (1, 33, 172),
    (1, 64, 576),
    (2, 5, 8),
    (2, 17, 31),
    (5, 4, 172),
    (5, 61, 64),
    (7, 259, 16),
    (11, 16, 300),
    (12, 16, 8),
    (12, 16, 16),
    (13, 31, 17),
    (17, 33, 172),
    (17, 8, 260),
    (17, 260, 8),
    (18, 48, 513),
    (19, 1, 40),
    (19, 40, 1),
    (25, 15, 15),
    (31, 7, 5),
    (37, 24, 9),
    (48, 32, 32),
    (61, 97, 101),
    (6, 16, 256),
    (64, 64, 257),
    (9, 3, 600),
    (9, 600, 3),
    (300, 8, 40),
    (300, 40, 8),
    (270, 17, 16),
    (40, 130, 300),
    (130, 70, 33),
    (200, 129, 64),
    (20, 31, 150),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Product {
    Forward,
    Backward,
    Outer,
}

struct Case {
    product: Product,
    dtype: DType,
    shape: (usize, usize, usize),
    accumulate: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // An interpreter that checks memory has time for small shapes only.
    let small = |&(t, n, k): &(usize, usize, usize)| !cfg!(miri) || t * n * k < 800;
    for shape in SHAPES.into_iter().filter(small) {
        for accumulate in [false, true] {
            cases.push(Case { product: Product::Outer, dtype: DType::F32, shape, accumulate });
            for dtype in DTYPES {
                cases.push(Case { product: Product::Forward, dtype, shape, accumulate });
                cases.push(Case { product: Product::Backward, dtype, shape, accumulate });
            }
        }
    }
    cases
}

/// Runs one product; `x` and `d_y` are the factors, `out` is where the result goes.
fn run(kernels: &Kernels, case: &Case, x: &[f32], w: &Stored, d_y: &[f32], out: &mut [f32]) {
    let (t, n, k) = case.shape;
    let w = w.matrix(n, k);
    match case.product {
        Product::Forward => kernels.matmul(&Serial, x, w, case.accumulate, out),
        Product::Backward => kernels.matmul_backward(&Serial, d_y, w, case.accumulate, out),
        Product::Outer => kernels.outer_accumulate(&Serial, 0.5, d_y, x, t, out),
    }
}

/// What differs between scalar and `product`, given the kernels, case, `x`, `w`, `d_y` and output.
fn product_difference(
    product: impl Fn(&Case, &[f32], &Stored, &[f32], &mut [f32]),
) -> Option<String> {
    cases().into_iter().find_map(|case| {
        let (t, n, k) = case.shape;
        let (len, depth) = match case.product {
            Product::Forward => (t * n, k),
            Product::Backward => (t * k, n),
            Product::Outer => (n * k, t),
        };
        let (x, w, d_y) = (numbers(t * k, 1), numbers(n * k, 2), numbers(t * n, 3));
        let w = Stored::new(case.dtype, &w, k);
        // Products that do not accumulate must not read what was there.
        let reads = case.accumulate || case.product == Product::Outer;
        let mut got = if reads { numbers(len, 4) } else { vec![f32::NAN; len] };
        let mut want = got.clone();
        product(&case, &x, &w, &d_y, &mut got);
        run(specification(), &case, &x, &w, &d_y, &mut want);
        // Terms are below 1; roundings of a sum of `depth` of them walk at random.
        let bound = 2.0 * ULP * (depth as f32 + 2.0) * largest(case.dtype);
        difference(&got, &want, |_| bound).map(|difference| {
            format!("{:?} {:?} {:?}: {difference}", case.product, case.dtype, case.shape)
        })
    })
}

#[test]
fn products_agree() {
    for kernels in others() {
        let found = product_difference(|case, x, w, d_y, out| run(kernels, case, x, w, d_y, out));
        assert_eq!(found, None, "{kernels:?}");
    }
}

/// The first weight that multiplying by an identity does not give, bit for bit.
fn weight_lost(dtype: DType, product: impl Fn(Matrix, &[f32], bool, &mut [f32])) -> Option<String> {
    let shapes = [(1, 1), (16, 32), (40, 172), (33, 70), (70, 300), (300, 45)];
    shapes.into_iter().filter(|&(n, k)| !cfg!(miri) || n * k < 300).find_map(|(n, k)| {
        let stored = Stored::new(dtype, &numbers(n * k, 2), k);
        let w = stored.matrix(n, k);
        let identity = |size: usize| {
            (0..size * size).map(|i| f32::from(i / size == i % size)).collect::<Vec<f32>>()
        };
        let (mut by_k, mut by_n) = (vec![0.0; k * n], vec![0.0; n * k]);
        product(w, &identity(k), true, &mut by_k);
        product(w, &identity(n), false, &mut by_n);
        let wrong = |&(i, j): &(usize, usize)| {
            by_k[j * n + i] != w.get(i, j) || by_n[i * k + j] != w.get(i, j)
        };
        (0..n * k).map(|at| (at / k, at % k)).find(wrong).map(|at| format!("{at:?} of {n} x {k}"))
    })
}

#[test]
fn weights_reach_products_exactly() {
    for (kernels, dtype) in others().flat_map(|k| DTYPES.map(|dtype| (k, dtype))) {
        let lost = weight_lost(dtype, |w, x, forward, y| {
            if forward {
                kernels.matmul(&Serial, x, w, false, y);
            } else {
                kernels.matmul_backward(&Serial, x, w, false, y);
            }
        });
        assert_eq!(lost, None, "{kernels:?} {dtype:?}");
    }
    let lost = weight_lost(DType::Q4, |w, x, forward, y| {
        if forward {
            specification().matmul(&Serial, x, w, false, y);
        } else {
            specification().matmul_backward(&Serial, x, w, false, y);
            y[0] *= 1.0 + ULP;
        }
    });
    assert!(lost.is_some());
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn a_product_that_skips_the_last_element_of_its_depth_is_caught() {
    for product in [Product::Forward, Product::Backward, Product::Outer] {
        let found = product_difference(|case, x, w, d_y, out| {
            let (mut x, mut d_y) = (x.to_vec(), d_y.to_vec());
            let (t, n, k) = case.shape;
            match product {
                _ if case.product != product => (),
                Product::Forward => x.chunks_mut(k.max(1)).for_each(|x| x[k - 1] = 0.0),
                Product::Backward => d_y.chunks_mut(n.max(1)).for_each(|d_y| d_y[n - 1] = 0.0),
                Product::Outer => x.iter_mut().skip(t.saturating_sub(1) * k).for_each(|x| *x = 0.0),
            }
            run(specification(), case, &x, w, &d_y, out);
        });
        assert!(found.is_some_and(|found| found.starts_with(&format!("{product:?}"))));
    }
}

#[test]
fn a_product_that_ignores_accumulate_or_leaves_a_column_is_caught() {
    let ignores = product_difference(|case, x, w, d_y, out| {
        run(specification(), &Case { accumulate: true, ..*case }, x, w, d_y, out);
    });
    assert!(ignores.is_some());
    let leaves = product_difference(|case, x, w, d_y, out| {
        let before = out.last().copied();
        run(specification(), case, x, w, d_y, out);
        if let (Some(last), Some(before)) = (out.last_mut(), before) {
            *last = before;
        }
    });
    assert!(leaves.is_some());
}

#[test]
#[should_panic(expected = "lengths do not fit")]
fn a_wrong_length_is_refused() {
    let w = [0.0; 12];
    let w = Matrix::new(Data::F32(&w), 3, 4);
    specification().matmul(&Serial, &[0.0; 7], w, false, &mut [0.0; 6]);
}
