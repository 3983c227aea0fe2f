//! Where numbers lie in memory changes no bit: files give weights at any byte.
//!
//! ```text
//! aligned   |x x x x ...          moved by 1   |. x x x x ...      by 2   |. . x x x x ...
//! ```

use bytemuck::Zeroable;

use super::*;
use crate::quant::{ActivationBlock, Activations};
use crate::{Input, Product, Serial};

/// Elements, behind some that belong to no input.
struct Moved<T>(Vec<T>, usize);

impl<T: Clone> Moved<T> {
    fn new(x: &[T], by: usize) -> Self {
        Self(x.iter().cycle().take(by).chain(x).cloned().collect(), by)
    }

    fn get(&self) -> &[T] {
        &self.0[self.1..]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.0[self.1..]
    }
}

impl Stored {
    /// Calls `f` with the matrix `by` elements further on; a packed one, `by` bytes further on.
    fn with_moved(&self, by: usize, n: usize, k: usize, f: impl FnOnce(Matrix)) {
        match self {
            Stored::F32(x) => f(Matrix::new(Data::F32(Moved::new(x, by).get()), n, k)),
            Stored::Bf16(x) => f(Matrix::new(Data::Bf16(Moved::new(x, by).get()), n, k)),
            Stored::F16(x) => f(Matrix::new(Data::F16(Moved::new(x, by).get()), n, k)),
            Stored::I8(x) => f(Matrix::new(Data::I8(Moved::new(x, by).get()), n, k)),
            Stored::Packed(format, x) => {
                let x = Moved::new(x, by);
                f(Matrix::packed(Packed::new(*format, x.get(), n, k).unwrap()));
            }
        }
    }
}

/// How far what `result` makes can be moved without another result: the first way that it cannot.
fn changed(result: impl Fn(usize) -> Vec<f32>) -> Option<usize> {
    let bits = |by| result(by).iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let want = bits(0);
    (1..4).find(|&by| bits(by) != want)
}

/// Every operation on vectors, inputs and outputs moved.
fn vectors(kernels: &Kernels, len: usize, by: usize) -> Vec<f32> {
    let x = Moved::new(&numbers(len, 1), by);
    let (y, z) = (Moved::new(&numbers(len, 2), by), Moved::new(&numbers(len, 3), by));
    let mut all = vec![kernels.dot(x.get(), y.get())];
    let mut out = Moved::new(y.get(), by);
    kernels.axpy(0.7, x.get(), out.get_mut());
    all.extend(out.get());
    kernels.exp(out.get_mut());
    all.extend(out.get());
    kernels.scale(1.7, out.get_mut());
    all.extend(out.get());
    all.push(kernels.softmax(out.get_mut()));
    all.extend(out.get());
    kernels.swiglu(x.get(), y.get(), out.get_mut());
    all.extend(out.get());
    let (mut gate, mut up) = (Moved::new(y.get(), by), Moved::new(z.get(), by));
    kernels.swiglu_backward(x.get(), gate.get_mut(), up.get_mut());
    all.extend(gate.get().iter().chain(up.get()));
    let mut halves = Moved::new(&vec![f16::ONE; len], by);
    kernels.narrow(x.get(), halves.get_mut());
    all.extend(halves.get().iter().map(|x| x.to_f32_const()));
    for dtype in DENSE {
        Stored::new(dtype, y.get(), len).with_moved(by, 1, len, |w| {
            let Storage::Dense(w) = w.storage() else { unreachable!("dense types alone") };
            all.push(kernels.rmsnorm(x.get(), w, 1e-5, out.get_mut()));
            all.extend(out.get());
            kernels.widen(w, out.get_mut());
            all.extend(out.get());
        });
    }
    all
}

/// Every product, inputs and outputs moved.
fn products(kernels: &Kernels, (t, n, k): (usize, usize, usize), by: usize) -> Vec<f32> {
    let (x, d_y) = (Moved::new(&numbers(t * k, 1), by), Moved::new(&numbers(t * n, 2), by));
    let (mut y, mut d_x) = (Moved::new(&vec![0.0; t * n], by), Moved::new(&vec![0.0; t * k], by));
    let mut d_w = Moved::new(&vec![0.0; n * k], by);
    kernels.outer_accumulate(&Serial, 0.5, d_y.get(), x.get(), t, d_w.get_mut());
    let mut all = d_w.get().to_vec();
    let zero = vec![ActivationBlock::zeroed(); t * Activations::width(k)];
    let mut blocks = Moved::new(&zero, by);
    kernels.quantize(&Serial, x.get(), k, blocks.get_mut());
    for dtype in DTYPES {
        Stored::new(dtype, &numbers(n * k, 3), k).with_moved(by, n, k, |w| {
            kernels.matmul(&Serial, x.get(), w, false, y.get_mut());
            kernels.matmul_backward(&Serial, d_y.get(), w, false, d_x.get_mut());
            all.extend(y.get().iter().chain(d_x.get()));
            if let Storage::Packed(_) = w.storage() {
                let x = Input::I8(Activations::new(blocks.get(), k));
                let product = Product { w, accumulate: true, y: y.get_mut() };
                kernels.matmul_each(&Serial, x, [product]);
                all.extend(y.get());
            }
        });
    }
    all
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn vectors_that_begin_anywhere_have_the_same_results() {
    let lengths: &[usize] = if cfg!(miri) { &[19] } else { &[1, 7, 8, 15, 16, 31, 33, 70, 172] };
    for (kernels, &len) in
        Kernels::available().flat_map(|k| lengths.iter().map(move |len| (k, len)))
    {
        let found = changed(|by| vectors(kernels, len, by));
        assert_eq!(found, None, "{kernels:?} {len}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn matrices_that_begin_anywhere_have_the_same_products() {
    let shapes: &[_] = match cfg!(miri) {
        true => &[(2, 3, 35)],
        false => &[(1, 33, 172), (2, 16, 64), (7, 40, 33), (13, 65, 100), (64, 48, 96)],
    };
    for (kernels, &shape) in Kernels::available().flat_map(|k| shapes.iter().map(move |s| (k, s))) {
        let found = changed(|by| products(kernels, shape, by));
        assert_eq!(found, None, "{kernels:?} {shape:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes minutes for all shapes")]
fn a_read_from_the_aligned_address_below_is_caught() {
    let found = changed(|by| {
        let (x, y) = (Moved::new(&numbers(33, 1), by), numbers(33, 2));
        vec![specification().dot(&x.0[by / 2 * 2..][..33], &y)]
    });
    assert_eq!(found, Some(1));
}
