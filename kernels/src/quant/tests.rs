//! The layout is what the picture says, and quantising errs as little as it says.

use half::bf16;

use super::*;
use crate::matrix::Data;

/// Reproducible numbers in -1..1.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    crate::agreement::numbers(len, seed)
}

fn packed_bytes(format: Format, data: Data, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = vec![1; format.bytes(rows, cols).unwrap()];
    pack(format, data, rows, cols, &mut bytes).unwrap();
    bytes
}

const SHAPES: [(usize, usize); 8] =
    [(0, 7), (1, 1), (16, 32), (17, 33), (5, 172), (40, 64), (33, 288), (3, 31)];

#[test]
fn a_weight_is_off_by_at_most_half_a_scale() {
    for (format, worst) in [(Format::Q8, 0.51 / 127.0), (Format::Q4, 0.25)] {
        for (rows, cols) in SHAPES.into_iter().filter(|(r, c)| !cfg!(miri) || r * c < 600) {
            let w = numbers(rows * cols, 1);
            let bytes = packed_bytes(format, Data::F32(&w), rows, cols);
            let packed = Packed::new(format, &bytes, rows, cols).unwrap();
            for (row, w) in w.chunks_exact(cols).enumerate() {
                let mut found = vec![0.0; cols];
                packed.dequantize(row, 0, &mut found);
                for (w, found) in w.chunks(BLOCK).zip(found.chunks(BLOCK)) {
                    let most = w.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
                    for (w, found) in w.iter().zip(found) {
                        let off = (w - found).abs();
                        assert!(off <= worst * most, "{format:?} {rows}x{cols}: {w} {found}");
                    }
                }
            }
        }
    }
}

#[test]
fn weights_lie_where_the_picture_says() {
    let (rows, cols) = (17, 40);
    let w: Vec<f32> = (0..rows * cols).map(|i| (i % 255) as f32 - 127.0).collect();
    let bytes = packed_bytes(Format::Q8, Data::F32(&w), rows, cols);
    // Panel 1, after scales of two blocks: row 16, k = 37 is group 9, byte 1.
    let panel = &bytes[64 + 2 * 512..];
    let scale = f16::from_le_bytes([panel[32], panel[33]]).to_f32();
    let quant = panel[64 + 9 * 64 + 1].cast_signed();
    assert!((f32::from(quant) * scale - w[16 * cols + 37]).abs() < 0.51 * scale);
    let bytes = packed_bytes(Format::Q4, Data::F32(&w), rows, cols);
    let panel = &bytes[64 + 2 * 256..];
    let scale = f16::from_le_bytes([panel[32], panel[33]]).to_f32();
    // k = 37: pair 4, its upper group.
    let quant = f32::from(panel[64 + 4 * 64 + 1] >> 4) - 8.0;
    assert!((quant * scale - w[16 * cols + 37]).abs() < 0.6 * scale.abs(), "{quant} {scale}");
}

#[test]
fn every_quant_is_in_range_and_integers_are_exact() {
    let w: Vec<f32> = (0..64).map(|i| (i - 32) as f32 * 4.0 - 1.0).collect();
    let bytes = packed_bytes(Format::Q8, Data::F32(&w), 1, 64);
    assert!(bytes[64..].iter().all(|&b| b.cast_signed() != -128));
    let w: Vec<bf16> = (0..32).map(|i| bf16::from_f32((i % 15 - 8) as f32)).collect();
    let bytes = packed_bytes(Format::Q4, Data::Bf16(&w), 1, 32);
    let packed = Packed::new(Format::Q4, &bytes, 1, 32).unwrap();
    let mut found = [0.0; 32];
    packed.dequantize(0, 0, &mut found);
    assert!(found.iter().zip(&w).all(|(found, w)| *found == w.to_f32()), "{found:?}");
}

#[test]
fn what_cannot_be_expressed_is_refused_by_its_place() {
    let mut w = vec![1.0; 3 * 40];
    w[2 * 40 + 35] = f32::NAN;
    for format in [Format::Q8, Format::Q4] {
        let mut out = vec![0; format.bytes(3, 40).unwrap()];
        let found = pack(format, Data::F32(&w), 3, 40, &mut out);
        assert_eq!(found, Err(Error::NonFinite { row: 2, col: 35 }));
        let large = vec![1e9; 3 * 40];
        let found = pack(format, Data::F32(&large), 3, 40, &mut out);
        assert_eq!(found, Err(Error::TooLarge { row: 0 }));
        let none = vec![0.0; 3 * 40];
        pack(format, Data::F32(&none), 3, 40, &mut out).unwrap();
        let mut row = [1.0; 40];
        Packed::new(format, &out, 3, 40).unwrap().dequantize(1, 0, &mut row);
        assert_eq!(row, [0.0; 40]);
    }
}

#[test]
fn a_length_that_does_not_fit_is_no_matrix() {
    assert!(Packed::new(Format::Q8, &[0; 575], 16, 32).is_none());
    assert!(Packed::new(Format::Q8, &[0; 576], 16, 32).is_some());
    assert_eq!(Format::Q4.bytes(usize::MAX, usize::MAX / 64), None);
    assert_eq!(Format::Q8.bytes(1, usize::MAX), None);
}
