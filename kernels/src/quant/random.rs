//! Random panels, for measurements: as fast as memory takes them, where packing random numbers would
//! search for the best scale of each block.
//!
//! ```text
//! quants   uniform over -127..=127 or -7..=7, 0 twice as often as any other
//! scale    deviation / (standard deviation of the quants), the same for all
//! ```

use half::f16;

use super::{BLOCK, Format, ROWS, scales_bytes};

/// Fills `out` with panels of a matrix `(rows, cols)` whose weights have mean 0 and the standard
/// deviation `deviation`; `draw` gives random bits.
///
/// # Panics
/// If `rows` and `cols` are not whole panels and blocks, or `out` is not as long as they are.
pub fn random(
    format: Format,
    rows: usize,
    cols: usize,
    deviation: f32,
    draw: &mut dyn FnMut() -> u64,
    out: &mut [u8],
) {
    assert!(rows.is_multiple_of(ROWS) && cols.is_multiple_of(BLOCK), "panels are not whole");
    assert_eq!(Some(out.len()), format.bytes(rows, cols), "room and shape differ");
    let quants_deviation = match format {
        Format::Q8 => deviation_of(127),
        Format::Q4 => deviation_of(7),
    };
    let scale = f16::from_f32_const(deviation / quants_deviation).to_le_bytes();
    for panel in out.chunks_exact_mut(format.panel_bytes(cols).max(1)) {
        let (scales, quants) = panel.split_at_mut(scales_bytes(cols));
        scales.fill(0);
        scales[..cols / BLOCK * 2 * ROWS].as_chunks_mut().0.fill(scale);
        for eight in quants.as_chunks_mut::<8>().0 {
            *eight = draw().to_le_bytes().map(|byte| match format {
                // -128 is no quant.
                Format::Q8 => byte & (0u8.wrapping_sub(u8::from(byte != 0x80))),
                // A half of 0 would mean -8; 8 means 0.
                Format::Q4 => {
                    let (low, high) = (byte & 0x0f, byte & 0xf0);
                    let low = low | (u8::from(low == 0) << 3);
                    low | high | (u8::from(high == 0) << 7)
                }
            });
        }
    }
}

/// Of a number in `-most..=most` with 0 twice as likely as any other.
fn deviation_of(most: u32) -> f32 {
    let squares: u32 = (1..=most).map(|q| q * q).sum();
    libm::sqrtf(2.0 * squares as f32 / (2 * most + 2) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Packed;

    #[test]
    #[cfg_attr(miri, ignore = "libm's square root is inline assembly")]
    fn random_panels_have_the_mean_and_the_deviation_that_were_asked_for() {
        let (rows, cols) = (48, 160);
        for format in [Format::Q8, Format::Q4] {
            let mut bytes = vec![0xff; format.bytes(rows, cols).unwrap()];
            let mut state = 1u64;
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state ^ (state >> 32)
            };
            random(format, rows, cols, 0.02, &mut draw, &mut bytes);
            let packed = Packed::new(format, &bytes, rows, cols).unwrap();
            assert_eq!(packed.check(), Ok(()));
            let mut weights = vec![0.0; cols];
            let (mut sum, mut square) = (0.0, 0.0);
            for row in 0..rows {
                packed.dequantize(row, 0, &mut weights);
                sum += weights.iter().sum::<f32>();
                square += weights.iter().map(|w| w * w).sum::<f32>();
            }
            let count = (rows * cols) as f32;
            let (mean, deviation) = (sum / count, (square / count).sqrt());
            assert!(mean.abs() < 1e-3, "{format:?}: {mean}");
            assert!((deviation - 0.02).abs() < 5e-4, "{format:?}: {deviation}");
        }
    }
}
