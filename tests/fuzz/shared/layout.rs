//! Geometries that are tried, and where the parts of a buffer lie in an image.

use embedded_storage::nor_flash::NorFlash;
use homespun_runtime::samples::crc;
use homespun_runtime::samples::header::HEADER_BYTES;
use homespun_runtime::samples::layout::{
    RECORD_BYTES, SLOT_HEADER_BYTES, first_slot, header_at, payload_at, slot_bytes, slots,
};

/// Evaluates an expression with one of the geometries as constants.
macro_rules! geometry {
    ($number:expr, $r:ident, $w:ident, $e:ident => $run:expr) => {
        match $number % 5 {
            0 => geometry!(@ $r, $w, $e, 1, 4, 4096 => $run),
            1 => geometry!(@ $r, $w, $e, 1, 1, 256 => $run),
            2 => geometry!(@ $r, $w, $e, 32, 32, 8192 => $run),
            3 => geometry!(@ $r, $w, $e, 8, 12, 768 => $run),
            _ => geometry!(@ $r, $w, $e, 4, 256, 2048 => $run),
        }
    };
    (@ $r:ident, $w:ident, $e:ident, $read:expr, $write:expr, $erase:expr => $run:expr) => {{
        const $r: usize = $read;
        const $w: usize = $write;
        const $e: usize = $erase;
        $run
    }};
}
pub(crate) use geometry;

/// Where the parts lie.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub first: usize,
    pub slot: usize,
    pub slots: usize,
    pub header: usize,
    pub header_bytes: usize,
    pub payload: usize,
    /// In a header: length and CRC of the text, components and CRC of the embedding.
    lengths: [usize; 4],
    /// The embedding begins at a multiple of this.
    pad: usize,
}

impl Places {
    pub fn of<F: NorFlash>(capacity: usize) -> Self {
        Places {
            first: first_slot::<F>(),
            slot: slot_bytes::<F>(),
            slots: slots::<F>(capacity),
            header: header_at::<F>(),
            header_bytes: HEADER_BYTES,
            payload: payload_at::<F>(),
            lengths: [24, 28, 32, 36],
            pad: 1,
        }
    }

    /// Of a buffer of version 1.
    pub fn v1<F: NorFlash>(capacity: usize) -> Self {
        let slot = RECORD_BYTES.next_multiple_of(F::ERASE_SIZE);
        Places {
            first: F::ERASE_SIZE,
            slot,
            slots: capacity.saturating_sub(F::ERASE_SIZE) / slot,
            header: 0,
            header_bytes: 128,
            payload: 128,
            lengths: [60, 64, 68, 72],
            pad: 32,
        }
    }

    pub fn start(&self, slot: usize) -> usize {
        self.first + slot % self.slots.max(1) * self.slot
    }

    /// Makes right the CRC that the parts named in `what` end with: 1 the superblock, 2 slot headers,
    /// 4 what a header says of its payload, 8 record headers.
    pub fn mend(&self, image: &mut [u8], what: usize) {
        if what & 1 != 0 {
            with_crc(image, 0, 128);
        }
        for start in (0..self.slots).map(|slot| self.start(slot)) {
            let header = start + self.header;
            if what & 2 != 0 && self.header > 0 {
                with_crc(image, start, SLOT_HEADER_BYTES);
            }
            if what & 4 != 0 {
                self.mend_payload(image, header, start + self.payload, start + self.slot);
            }
            if what & 8 != 0 {
                with_crc(image, header, self.header_bytes);
            }
        }
    }

    fn mend_payload(&self, image: &mut [u8], header: usize, payload: usize, end: usize) {
        let field = |image: &[u8], at: usize| {
            let bytes = image.get(header + at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes) as usize)
        };
        let [text, text_crc, components, embedding_crc] = self.lengths;
        let (Some(text), Some(components)) = (field(image, text), field(image, components)) else {
            return;
        };
        if text > self.slot || components > self.slot {
            return;
        }
        let embedding = payload + text.next_multiple_of(self.pad);
        let parts = [(payload, text, text_crc), (embedding, 2 * components, embedding_crc)];
        for (from, length, at) in parts {
            if from + length <= end
                && let Some(part) = image.get(from..from + length)
            {
                let crc = crc::of(part);
                image[header + at..][..4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

/// Makes the last four of `length` bytes the CRC of those before.
pub fn with_crc(image: &mut [u8], at: usize, length: usize) {
    if let Some(part) = image.get_mut(at..at + length) {
        let crc = crc::of(&part[..length - 4]);
        part[length - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}
