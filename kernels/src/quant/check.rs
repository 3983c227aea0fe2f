//! Whether packed bytes are what [`pack`](super::pack) could have written.
//!
//! ```text
//! scales      finite; zero in rows that pad the last panel, and up to its 64 bytes
//! quants      q8: never -128; zero in columns that pad the last block and in padding rows
//! ```

use core::fmt;

use half::f16;

use super::{BLOCK, Format, GROUP, Packed, ROWS, q4, q8, scales_bytes};

/// What is wrong with a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A scale is infinite or not a number.
    Scale {
        /// Its row.
        row: usize,
        /// The first column that it is for.
        col: usize,
    },
    /// A quant of q8 is -128.
    Quant {
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
    },
    /// What pads the panel that begins with this row is not zero.
    Padding {
        /// The row.
        row: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Scale { row, col } => {
                write!(f, "has a scale that is not finite, in row {row}, from column {col} on")
            }
            Fault::Quant { row, col } => {
                write!(f, "has the quant -128, in row {row}, column {col}")
            }
            Fault::Padding { row } => {
                write!(f, "has padding that is not zero, in the panel from row {row} on")
            }
        }
    }
}

impl core::error::Error for Fault {}

impl Packed<'_> {
    /// Reads every byte.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), Fault> {
        (0..self.rows.div_ceil(ROWS)).try_for_each(|i| self.check_panel(i))
    }

    fn check_panel(&self, i: usize) -> Result<(), Fault> {
        let (first, panel) = (i * ROWS, self.panel(i));
        let rows = ROWS.min(self.rows - first);
        for (block, scales) in panel.scales.iter().enumerate() {
            for (row, scale) in scales.as_chunks().0.iter().enumerate() {
                if !f16::from_le_bytes(*scale).is_finite() {
                    return Err(Fault::Scale { row: first + row, col: block * BLOCK });
                }
            }
        }
        if self.format == Format::Q8 {
            let bad = |line: &[u8]| line.iter().position(|&quant| quant == 0x80);
            let mut lines = panel.lines.iter().enumerate();
            if let Some((line, at)) = lines.find_map(|(l, line)| Some((l, bad(line)?))) {
                let (row, col) = (first + at / GROUP, line * GROUP + at % GROUP);
                return Err(Fault::Quant { row, col });
            }
        }
        let size = self.format.panel_bytes(self.cols);
        let head = &self.bytes[i * size..][..scales_bytes(self.cols)];
        let gap = &head[panel.scales.len() * 2 * ROWS..];
        let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        let no_row = panel.scales.iter().all(|scales| zero(&scales[2 * rows..]))
            && panel.lines.iter().all(|line| zero(&line[GROUP * rows..]));
        let quant = match self.format {
            Format::Q8 => q8::quant,
            Format::Q4 => q4::quant,
        };
        let mut pad = self.cols..self.blocks() * BLOCK;
        let no_col = pad.all(|col| (0..rows).all(|row| quant(&panel, row, col) == 0));
        if zero(gap) && no_row && no_col { Ok(()) } else { Err(Fault::Padding { row: first }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Data;
    use crate::quant::pack;

    #[test]
    fn what_was_packed_is_sound_and_each_planted_fault_is_found_at_its_place() {
        for (rows, cols) in [(1, 1), (16, 32), (17, 40), (31, 172), (48, 96)] {
            let w: Vec<f32> = (0..rows * cols).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            for format in [Format::Q8, Format::Q4] {
                let mut bytes = vec![0; format.bytes(rows, cols).unwrap()];
                pack(format, Data::F32(&w), rows, cols, &mut bytes).unwrap();
                let check = |bytes: &[u8]| Packed::new(format, bytes, rows, cols).unwrap().check();
                assert_eq!(check(&bytes), Ok(()), "{format:?} {rows}x{cols}");
                let size = format.panel_bytes(cols);
                let last = (rows - 1) / ROWS;
                let (row, start) = ((rows - 1) % ROWS, last * size);
                let with = |at: usize, byte: u8| {
                    let mut bytes = bytes.clone();
                    bytes[at] = byte;
                    check(&bytes)
                };
                let scale = start + 2 * row + 1;
                assert_eq!(with(scale, 0x7c), Err(Fault::Scale { row: rows - 1, col: 0 }));
                let quants = start + scales_bytes(cols);
                if format == Format::Q8 {
                    let found = with(quants + GROUP * row, 0x80);
                    assert_eq!(found, Err(Fault::Quant { row: rows - 1, col: 0 }));
                }
                let padding = Err(Fault::Padding { row: last * ROWS });
                if row + 1 < ROWS {
                    assert_eq!(with(start + 2 * row + 2, 1), padding, "a padding row's scale");
                    assert_eq!(with(quants + GROUP * (row + 1), 1), padding, "its quant");
                }
                if !cols.is_multiple_of(BLOCK) {
                    // The last byte of the row is the last column of the last group.
                    assert_eq!(with(start + size - 64 + GROUP * row + 3, 0x77), padding);
                }
                if !(2 * ROWS * cols.div_ceil(BLOCK)).is_multiple_of(64) {
                    assert_eq!(with(quants - 1, 1), padding, "after the scales");
                }
            }
        }
    }
}
