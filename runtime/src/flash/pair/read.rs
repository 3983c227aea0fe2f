//! Reads content, which is checked whole before a byte of it is given.

use embedded_storage::nor_flash::NorFlash;

use super::{Error, Header, Pair};
use crate::flash::io::{self, twice};
use crate::plant::{Bug, planted};
use crate::samples::crc::Crc;
use crate::seal::Key;
use crate::seal::flow::{self, Flow};

impl<F: NorFlash, const STAGE: usize> Pair<F, STAGE> {
    /// Reads `out.len()` bytes of the content from byte `offset` on. The first read after a mount, a
    /// write or a fall-back passes over all of the content to check it, as [`open`](Self::open) does.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if the content ends before: `out` then holds nothing of use.
    pub fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Error<F::Error>> {
        let header = if self.checked { self.counting()?.1 } else { self.open()? };
        let asked = u64::from(offset) + out.len() as u64;
        if asked > u64::from(header.length) {
            return Err(Error::Behind { asked, length: header.length });
        }
        let (half, _) = self.counting()?;
        let at = self.content_at(half) + offset;
        let (flash, stage) = (&mut self.flash, &mut self.stage[..]);
        twice(|| io::read(flash, at, out, stage)).map_err(Error::Flash)?;
        if let (Some(key), Some(sealed)) = (self.key(&header)?, &header.sealed) {
            flow::open_at(key, &sealed.nonce, u64::from(offset), out);
        }
        Ok(())
    }

    /// Checks the content that counts: its CRC and, where it is sealed, its tag.
    ///
    /// # Errors
    /// If there is none, it is damaged, the flash fails, it is sealed with a key that is not there, or
    /// plain where there is a key.
    pub fn open(&mut self) -> Result<Header, Error<F::Error>> {
        self.checked = false;
        let (half, header) = self.counting()?;
        let flow = match (self.key(&header)?, &header.sealed) {
            (Some(key), Some(sealed)) => Some(header.flow(key, sealed)),
            _ => None,
        };
        self.check(half, &header, flow)?;
        self.checked = true;
        Ok(header)
    }

    /// Checks the content that counts as it lies in the flash, for which no key is needed.
    ///
    /// # Errors
    /// If there is none, it is damaged or the flash fails.
    pub fn verify(&mut self) -> Result<(), Error<F::Error>> {
        let (half, header) = self.counting()?;
        let checked = self.check(half, &header, None);
        self.checked &= checked.is_ok();
        checked
    }

    /// The half that counts and its header.
    fn counting(&self) -> Result<(usize, Header), Error<F::Error>> {
        let half = self.current.ok_or(Error::Empty)?;
        Ok((half, self.headers[half].ok_or(Error::Empty)?))
    }

    /// The key of sealed content, `None` for plain.
    fn key(&self, header: &Header) -> Result<Option<&Key>, Error<F::Error>> {
        match (&self.seal, &header.sealed) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::Sealed),
            (Some(_), None) => Err(Error::Plain),
            (Some(seal), Some(sealed)) => {
                let name = sealed.key;
                seal.named(name).map(Some).ok_or(Error::Key { name })
            }
        }
    }

    /// Passes over the content of a half, whose CRC must be its header's, and whose tag must be if
    /// there is a `flow` to take it.
    pub(super) fn check(
        &mut self,
        half: usize,
        header: &Header,
        mut flow: Option<Flow>,
    ) -> Result<(), Error<F::Error>> {
        if planted(Bug::Unchecked) {
            return Ok(());
        }
        let start = self.content_at(half);
        let mut left = header.length as usize;
        let end = start + io::padded::<F>(left) as u32;
        let mut crc = Crc::new();
        let see = |piece: &mut [u8]| {
            let piece = &piece[..piece.len().min(left)];
            crc.add(piece);
            if let Some(flow) = &mut flow {
                flow.check(piece);
            }
            left -= piece.len();
            true
        };
        io::pieces(&mut self.flash, start, end, &mut self.stage, see).map_err(Error::Flash)?;
        if crc.value() != header.crc {
            return Err(Error::Corrupt);
        }
        match (flow, &header.sealed) {
            (Some(flow), Some(sealed)) => flow.verify(&sealed.tag).map_err(|_| Error::Corrupt),
            _ => Ok(()),
        }
    }
}
