//! Vectors of every length up to a few registers, and the exponential over its whole range.

use super::*;

/// Lengths with every tail, none, and a model's odd one.
fn lengths() -> impl Iterator<Item = usize> {
    let longer = if cfg!(miri) { [0; 4] } else { [172, 255, 576, 1000] };
    (0..70).chain(longer)
}

fn magnitude(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| (x * y).abs()).sum()
}

/// A dot product's bound: half an ULP for each of two roundings a term, in each of the two tables.
fn dot_difference(dot: impl Fn(&[f32], &[f32]) -> f32) -> Option<String> {
    lengths().find_map(|len| {
        let (x, y) = (numbers(len, 1), numbers(len, 2));
        let bound = 2.0 * ULP * (len as f32).sqrt() * magnitude(&x, &y);
        difference(&[dot(&x, &y)], &[specification().dot(&x, &y)], |_| bound)
    })
}

#[test]
fn dots_agree() {
    for kernels in others() {
        assert_eq!(dot_difference(|x, y| kernels.dot(x, y)), None, "{kernels:?}");
    }
}

#[test]
fn a_dot_without_its_tail_or_one_lane_is_caught() {
    let tail_lost = |x: &[f32], y: &[f32]| {
        let whole = x.len() / 8 * 8;
        specification().dot(&x[..whole], &y[..whole])
    };
    let lane_lost = |x: &[f32], y: &[f32]| {
        let one_lane = |x: &[f32]| x.iter().skip(3).step_by(8).copied().collect::<Vec<_>>();
        specification().dot(x, y) - specification().dot(&one_lane(x), &one_lane(y))
    };
    assert!(dot_difference(tail_lost).is_some());
    assert!(dot_difference(lane_lost).is_some());
}

#[test]
fn axpy_agrees_within_one_rounding() {
    for (kernels, len) in others().flat_map(|kernels| lengths().map(move |len| (kernels, len))) {
        let (x, mut got) = (numbers(len, 1), numbers(len, 2));
        let mut want = got.clone();
        kernels.axpy(0.7, &x, &mut got);
        specification().axpy(0.7, &x, &mut want);
        assert_eq!(difference(&got, &want, |_| 2.0 * ULP), None, "{kernels:?} {len}");
    }
}

#[test]
fn widening_is_exact() {
    for dtype in DENSE {
        for (kernels, len) in others().flat_map(|kernels| lengths().map(move |len| (kernels, len)))
        {
            let x = Stored::new(dtype, &numbers(len, 1), len);
            let (mut got, mut want) = (vec![9.0; len], vec![8.0; len]);
            kernels.widen(x.data(), &mut got);
            specification().widen(x.data(), &mut want);
            assert_eq!(got, want, "{kernels:?} {dtype:?} {len}");
        }
    }
}

#[test]
fn every_half_widens_exactly() {
    let finite = |x: &f32| x.is_finite();
    let all = || (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 });
    let f16: Vec<f16> = all().map(f16::from_bits).filter(|x| finite(&x.to_f32())).collect();
    let bf16: Vec<bf16> = all().map(bf16::from_bits).filter(|x| finite(&x.to_f32())).collect();
    for kernels in Kernels::available() {
        let mut got = vec![0.0; f16.len()];
        kernels.widen(Data::F16(&f16), &mut got);
        assert!(got.iter().zip(&f16).all(|(got, x)| got.to_bits() == x.to_f32_const().to_bits()));
        got.resize(bf16.len(), 0.0);
        kernels.widen(Data::Bf16(&bf16), &mut got);
        assert!(
            got.iter().zip(&bf16).all(|(got, x)| got.to_bits() == u32::from(x.to_bits()) << 16)
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter has the scalar table alone")]
fn narrowing_rounds_to_the_nearest_half() {
    // Every half, the middles between neighbours, a bit to either side, and what lies beyond.
    let halves = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32_const());
    let around = |x: f32| {
        let middle = x.to_bits().wrapping_add(1 << 12);
        [x.to_bits(), middle - 1, middle, middle + 1].map(f32::from_bits)
    };
    let tiny = (0..2000).map(|i| (i - 1000) as f32 * 2e-10);
    let mut x: Vec<f32> = halves.flat_map(around).chain(tiny).collect();
    x.extend([65519.0, 65520.0, 1e30, f32::MAX, f32::MIN_POSITIVE, 1e-45, -0.0]);
    for (kernels, len) in others().flat_map(|k| (0..40).chain([x.len()]).map(move |len| (k, len))) {
        let x = &x[x.len() - len..];
        let (mut got, mut want) = (vec![f16::ONE; len], vec![f16::ZERO; len]);
        kernels.narrow(x, &mut got);
        specification().narrow(x, &mut want);
        for ((got, want), x) in got.iter().zip(&want).zip(x) {
            let same = got.to_bits() == want.to_bits() || (x.is_nan() && got.is_nan());
            assert!(same, "{kernels:?}: {x} is {want}, not {got}");
            assert_eq!(want.is_nan(), x.is_nan());
        }
    }
}

#[test]
fn norms_agree() {
    for dtype in DENSE {
        for (kernels, len) in others().flat_map(|kernels| lengths().map(move |len| (kernels, len)))
        {
            if len == 0 {
                continue;
            }
            let (x, weight) = (numbers(len, 1), Stored::new(dtype, &numbers(len, 2), len));
            let (mut got, mut want) = (vec![9.0; len], vec![8.0; len]);
            let scale = kernels.rmsnorm(&x, weight.data(), 1e-5, &mut got);
            let want_scale = specification().rmsnorm(&x, weight.data(), 1e-5, &mut want);
            assert_eq!(difference(&[scale], &[want_scale], |_| 8.0 * ULP * want_scale), None);
            let bound = |i: usize| 8.0 * ULP * want[i].abs();
            assert_eq!(difference(&got, &want, bound), None, "{kernels:?} {dtype:?} {len}");
        }
    }
}

/// How many representable numbers lie between.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

#[test]
fn exponentials_are_within_their_bound() {
    let smallest = f64::from(f32::MIN_POSITIVE).ln() as f32;
    let points = if cfg!(miri) { 1000 } else { 400_000 };
    let x: Vec<f32> = (0..=points).map(|i| -110.0 + (200 * i) as f32 / points as f32).collect();
    for kernels in Kernels::available() {
        let bound = if kernels.isa() == Isa::Scalar { 1 } else { 2 };
        let mut got = x.clone();
        kernels.exp(&mut got);
        for (&x, &got) in x.iter().zip(&got) {
            let want = f64::from(x).exp() as f32;
            if x > smallest {
                assert!(ulps(got, want) <= bound, "{kernels:?}: e^{x} is {want}, not {got}");
            } else {
                assert!((got - want).abs() <= f32::MIN_POSITIVE * ULP * 2.0, "{kernels:?} {x}");
            }
        }
    }
}

#[test]
fn exponentials_know_the_special_numbers() {
    for kernels in Kernels::available() {
        for len in 1..20 {
            for (x, y) in [
                (f32::NEG_INFINITY, 0.0),
                (f32::INFINITY, f32::INFINITY),
                (0.0, 1.0),
                (-0.0, 1.0),
                (1e30, f32::INFINITY),
                (-1e30, 0.0),
            ] {
                let mut got = vec![x; len];
                kernels.exp(&mut got);
                assert_eq!(got, vec![y; len], "{kernels:?} e^{x}");
            }
            let mut got = vec![f32::NAN; len];
            kernels.exp(&mut got);
            assert!(got.iter().all(|x| x.is_nan()), "{kernels:?}");
        }
    }
}

#[test]
fn softmaxes_agree() {
    for (kernels, len) in others().flat_map(|kernels| lengths().map(move |len| (kernels, len))) {
        let mut got: Vec<f32> = numbers(len, 1).iter().map(|x| 20.0 * x).collect();
        if len > 2 {
            got[len / 2] = f32::NEG_INFINITY;
        }
        let mut want = got.clone();
        let (lse, want_lse) = (kernels.softmax(&mut got), specification().softmax(&mut want));
        let bound = 4.0 * ULP * want_lse.abs().max(1.0);
        assert_eq!(difference(&[lse], &[want_lse], |_| bound), None, "{kernels:?} {len}");
        let bound = |i: usize| 8.0 * ULP * want[i] + ULP * (len as f32).sqrt() * want[i];
        assert_eq!(difference(&got, &want, bound), None, "{kernels:?} {len}");
    }
}

#[test]
fn a_nan_is_never_hidden_by_a_softmax() {
    for (kernels, at) in Kernels::available().flat_map(|k| (0..19).map(move |at| (k, at))) {
        let mut x = numbers(19, 1);
        x[at] = f32::NAN;
        assert!(kernels.softmax(&mut x).is_nan() && x.iter().all(|x| x.is_nan()), "{kernels:?}");
    }
}

#[test]
fn gates_and_their_gradients_agree() {
    for (kernels, len) in others().flat_map(|kernels| lengths().map(move |len| (kernels, len))) {
        let gate: Vec<f32> = numbers(len, 1).iter().map(|x| 100.0 * x * x * x).collect();
        let (up, d_y) = (numbers(len, 2), numbers(len, 3));
        let (mut got, mut want) = (vec![9.0; len], vec![8.0; len]);
        kernels.swiglu(&gate, &up, &mut got);
        specification().swiglu(&gate, &up, &mut want);
        let bound = |i: usize| 8.0 * ULP * want[i].abs() + f32::MIN_POSITIVE;
        assert_eq!(difference(&got, &want, bound), None, "{kernels:?} {len}");

        let (mut d_gate, mut d_up) = (gate.clone(), up.clone());
        kernels.swiglu_backward(&d_y, &mut d_gate, &mut d_up);
        let (mut want_gate, mut want_up) = (gate.clone(), up.clone());
        specification().swiglu_backward(&d_y, &mut want_gate, &mut want_up);
        // 1 + z (1 - s) cancels near its zero, by the size of z.
        let bound = |i: usize| 8.0 * ULP * (d_y[i] * up[i]).abs() * (1.0 + gate[i].abs());
        assert_eq!(difference(&d_gate, &want_gate, bound), None, "{kernels:?} {len}");
        let bound = |i: usize| 8.0 * ULP * want_up[i].abs() + f32::MIN_POSITIVE;
        assert_eq!(difference(&d_up, &want_up, bound), None, "{kernels:?} {len}");
    }
}
