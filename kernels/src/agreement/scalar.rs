//! The scalar table gives the same bits on every target, and the fast table of a target is chosen.

use bytemuck::Zeroable;

use super::*;
use crate::quant::{ActivationBlock, Activations};
use crate::{Input, Product, Serial};

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
        let stored = Stored::new(dtype, &w, depth);
        let w = stored.matrix(n, depth);
        let mut y = numbers(t * n, 4);
        k.matmul(&Serial, &x, w, true, &mut y);
        let mut d_x = vec![0.0; t * depth];
        k.matmul_backward(&Serial, &d_y, w, false, &mut d_x);
        let mut norm = vec![0.0; depth];
        let mut first = vec![0.0; depth];
        k.widen_row(w, 0, &mut first);
        let scale = k.rmsnorm(&x[..depth], Data::F32(&first), 1e-5, &mut norm);
        let lse = k.softmax(&mut y);
        all = hash(hash(hash(hash(all, &y), &d_x), &norm), &[scale, lse]);
    }
    let mut blocks = vec![ActivationBlock::zeroed(); t * Activations::width(depth)];
    let quantised = Input::I8(k.quantize(&Serial, &x, depth, &mut blocks));
    for dtype in [DType::Q8, DType::Q4] {
        let stored = Stored::new(dtype, &w, depth);
        let mut y = vec![0.0; t * n];
        let product = Product { w: stored.matrix(n, depth), accumulate: false, y: &mut y };
        k.matmul_each(&Serial, quantised, [product]);
        all = hash(all, &y);
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
#[cfg_attr(miri, ignore = "libm takes square roots by assembly")]
fn scalar_results_are_the_same_bits_on_every_target() {
    let found = fingerprint();
    assert!(found == 0x1c18_dc6c_6bdf_d724, "{found:#018x}");
}

#[test]
fn the_last_table_that_the_cpu_has_is_chosen() {
    let detected = Kernels::detect().isa();
    assert_eq!(Kernels::available().last().map(Kernels::isa), Some(detected));
    assert_eq!(Kernels::for_isa(detected).map(Kernels::isa), Some(detected));
    assert_eq!(Kernels::for_isa(Isa::Scalar).map(Kernels::isa), Some(Isa::Scalar));
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "an interpreter has no /proc")]
fn a_table_is_there_if_and_only_if_the_kernel_says_that_the_cpu_can_run_it() {
    let flags = cpu_flags();
    let avx2 = ["avx2", "fma", "f16c"];
    let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"];
    for isa in Isa::ALL {
        let needs: Vec<&str> = match isa {
            Isa::Scalar => vec![],
            Isa::Avx2 => avx2.to_vec(),
            Isa::AvxVnni => [&avx2[..], &["avx_vnni"]].concat(),
            Isa::Avx512 => [&avx2[..], &avx512].concat(),
            Isa::Avx512Vnni => [&avx2[..], &avx512, &["avx512_vnni"]].concat(),
            Isa::Neon => vec!["asimd"],
            Isa::NeonDotprod => vec!["asimd", "asimddp"],
        };
        let has = needs.iter().all(|flag| flags.iter().any(|has| has == flag));
        assert_eq!(Kernels::for_isa(isa).is_some(), has, "{isa:?} {flags:?}");
    }
}

/// What the kernel says of the CPU: a second opinion.
#[cfg(all(target_os = "linux", not(target_arch = "aarch64")))]
fn cpu_flags() -> Vec<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info.lines().find(|l| l.starts_with("flags")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

/// The same from the words that the kernel gives each process: an emulator's `/proc/cpuinfo` is that
/// of the machine that it runs on.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn cpu_flags() -> Vec<String> {
    const AT_HWCAP: u64 = 16;
    let bytes = std::fs::read("/proc/self/auxv").unwrap();
    let words: Vec<_> = bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect();
    let pairs = words.as_chunks::<2>().0;
    let [_, bits] = pairs.iter().find(|pair| pair[0] == AT_HWCAP).unwrap();
    let names = [(1, "asimd"), (20, "asimddp")];
    names.iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name.to_string()).collect()
}
