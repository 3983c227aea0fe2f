//! CRC-32 as Ethernet and zlib have it: polynomial 0x04C11DB7 reflected, all ones in and out.

/// `TABLES[i]`: what a byte does to the CRC with `i` zero bytes behind it. Four bytes are taken at once
/// (slicing, Kounavis and Berry 2008): 4 KiB of tables.
static TABLES: [[u32; 256]; 4] = {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut behind = 1;
    while behind < 4 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
};

/// A CRC in the making.
#[derive(Clone, Copy, Debug)]
pub struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc {
    /// Of no bytes.
    pub const fn new() -> Self {
        Crc(u32::MAX)
    }

    /// Takes `bytes` in.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            let [a, b, c, d] = (self.0 ^ u32::from_le_bytes(*word)).to_le_bytes();
            self.0 = TABLES[3][usize::from(a)]
                ^ TABLES[2][usize::from(b)]
                ^ TABLES[1][usize::from(c)]
                ^ TABLES[0][usize::from(d)];
        }
        for byte in rest {
            self.0 = self.0 >> 8 ^ TABLES[0][usize::from(self.0 as u8 ^ byte)];
        }
    }

    /// The CRC of all bytes so far.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

/// The CRC of `bytes`.
pub fn of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.add(bytes);
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_standard() {
        assert_eq!(of(b"123456789"), 0xCBF4_3926);
        assert_eq!(of(b""), 0);
        assert_eq!(of(&[0xFF; 4]), 0xFFFF_FFFF);
    }

    #[test]
    fn pieces_give_the_crc_of_the_whole() {
        let text: Vec<u8> = (0..100_u8).map(|i| i.wrapping_mul(7)).collect();
        for at in 0..text.len() {
            let mut crc = Crc::new();
            crc.add(&text[..at]);
            crc.add(&text[at..]);
            assert_eq!(crc.value(), of(&text));
        }
    }
}
