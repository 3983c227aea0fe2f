//! The scalar table gives the same bits on every target, and the fast table of a target is chosen.

use super::*;
use crate::{Matrix, Serial};

/// A hash (FNV-1a) of the bits of `x`.
fn hash(before: u64, x: &[f32]) -> u64 {
    let bytes = x.iter().flat_map(|x| x.to_bits().to_le_bytes());
    bytes.fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A hash of what every scalar operation makes of fixed inputs.
fn fingerprint() -> u64 {
    let k = specification();
    let (t, n, depth) = (5, 19, 300);
    let (x, w, d_y) = (numbers(t * depth, 1), numbers(n * depth, 2), numbers(t * n, 3));
    let mut all = hash(0xcbf2_9ce4_8422_2325, &[k.dot(&x, &x)]);
    for dtype in DTYPES {
        let stored = Weights::new(dtype, &w);
        let w = Matrix::new(stored.data(), n, depth);
        let mut y = numbers(t * n, 4);
        k.matmul(&Serial, &x, w, true, &mut y);
        let mut d_x = vec![0.0; t * depth];
        k.matmul_backward(&Serial, &d_y, w, false, &mut d_x);
        let mut norm = vec![0.0; depth];
        let scale = k.rmsnorm(&x[..depth], w.row(0), 1e-5, &mut norm);
        let lse = k.softmax(&mut y);
        all = hash(hash(hash(hash(all, &y), &d_x), &norm), &[scale, lse]);
    }
    let mut d_w = w.clone();
    k.outer_accumulate(&Serial, 0.3, &d_y, &x, t, &mut d_w);
    let (mut gate, mut up) = (x.clone(), x.clone());
    gate.iter_mut().for_each(|x| *x *= 20.0);
    let mut gated = vec![0.0; x.len()];
    k.swiglu(&gate, &up, &mut gated);
    k.swiglu_backward(&x, &mut gate, &mut up);
    k.exp(&mut d_w);
    [d_w, gated, gate, up].iter().fold(all, |all, x| hash(all, x))
}

#[test]
fn scalar_results_are_the_same_bits_on_every_target() {
    let found = fingerprint();
    assert!(found == 0xd944_0af9_aee5_8955, "{found:#018x}");
}

#[test]
fn the_fastest_table_of_the_target_is_chosen() {
    let detected = Kernels::detect();
    assert_eq!(Kernels::for_isa(detected.isa()).map(Kernels::isa), Some(detected.isa()));
    assert_eq!(Kernels::for_isa(Isa::Scalar).map(Kernels::isa), Some(Isa::Scalar));
    if cfg!(target_arch = "aarch64") {
        assert_eq!(detected.isa(), Isa::Neon);
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    assert_eq!(
        detected.isa() == Isa::Avx2,
        ["avx2", "fma", "f16c"].iter().all(|flag| cpu_flags().iter().any(|has| has == flag)),
    );
}

/// What the kernel says of the CPU: a second opinion.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn cpu_flags() -> Vec<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info.lines().find(|line| line.starts_with("flags")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}
