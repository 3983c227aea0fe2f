//! Makes a flash a buffer of empty bins.

use embedded_storage::nor_flash::NorFlash;

use super::layout::{
    self, Common, MOST_BINS, SLOT_HEADER_BYTES, SUPERBLOCK_BYTES, flash_bytes, slots,
};
use super::{Error, STAGE};
use crate::flash::io;

/// Erases all of `flash` and makes it a buffer of `bins` empty bins, whose records will be `sealed`
/// or not. What is known of how often its slots were erased stays.
///
/// # Errors
/// If `flash` does not suit the layout, holds less than [`flash_bytes`] or fails.
pub fn format<F: NorFlash>(
    flash: &mut F,
    bins: usize,
    sealed: bool,
) -> Result<(), Error<F::Error>> {
    // Units are mostly of a few bytes; those of a page take their own path and its memory.
    if io::suits::<F>(STAGE) {
        format_with(flash, bins, sealed, &mut [0; STAGE])
    } else if io::suits::<F>(4096) {
        format_with(flash, bins, sealed, &mut [0; 4096])
    } else {
        Err(Error::Geometry)
    }
}

/// [`format()`] with a stage of at least a unit.
fn format_with<F: NorFlash>(
    flash: &mut F,
    bins: usize,
    sealed: bool,
    stage: &mut [u8],
) -> Result<(), Error<F::Error>> {
    let (needed, available) = (flash_bytes::<F>(bins, 1), flash.capacity());
    let slots = slots::<F>(available);
    if bins == 0 || bins > MOST_BINS || slots <= bins {
        return Err(Error::Capacity { bins, needed, available });
    }
    let common = Common { bins, sealed };
    // The superblock goes first and comes last, so that a torn format is no buffer.
    let first = layout::first_slot::<F>();
    flash.erase(0, first as u32).map_err(Error::Flash)?;
    for slot in 0..slots {
        let start = (first + slot * layout::slot_bytes::<F>()) as u32;
        let mut old = [0; SLOT_HEADER_BYTES];
        io::read(flash, start, &mut old, stage).map_err(Error::Flash)?;
        let erases = Common::of_slot::<F>(&old).map_or(0, |(_, erases)| erases);
        let end = start + layout::slot_bytes::<F>() as u32;
        flash.erase(start, end).map_err(Error::Flash)?;
        let header = common.slot_header::<F>(erases.saturating_add(1));
        write(flash, stage, start, &header)?;
    }
    write(flash, stage, 0, &common.superblock::<F>())
}

/// Writes `bytes` at `at`, filled up to whole units.
pub(super) fn write<F: NorFlash>(
    flash: &mut F,
    stage: &mut [u8],
    at: u32,
    bytes: &[u8],
) -> Result<(), Error<F::Error>> {
    let mut writer = io::Writer::new(flash, stage, at);
    writer.push(bytes).and_then(|()| writer.finish()).map(drop).map_err(Error::Flash)
}

/// What the buffer in `flash` has in common.
///
/// # Errors
/// If there is none, or one of another version or geometry, or the flash fails.
pub(super) fn common<F: NorFlash>(
    flash: &mut F,
    stage: &mut [u8],
) -> Result<Common, Error<F::Error>> {
    if flash.capacity() < layout::first_slot::<F>() {
        return Err(Error::Unformatted);
    }
    let mut bytes = [0; SUPERBLOCK_BYTES];
    let read = io::twice(|| io::read(flash, 0, &mut bytes, stage));
    if read.is_ok() {
        if let Some(common) = Common::of_superblock::<F>(&bytes)? {
            return Ok(common);
        }
        if io::is_erased(&bytes) {
            return Err(Error::Unformatted);
        }
    }
    // Damaged: every slot header repeats it.
    let mut failure = read.err();
    let mut start = layout::first_slot::<F>();
    for _ in 0..slots::<F>(flash.capacity()) {
        let mut bytes = [0; SLOT_HEADER_BYTES];
        match io::twice(|| io::read(flash, start as u32, &mut bytes, stage)) {
            Ok(()) => {
                if let Some((common, _)) = Common::of_slot::<F>(&bytes) {
                    return Ok(common);
                }
            }
            Err(error) => failure = Some(error),
        }
        start += layout::slot_bytes::<F>();
    }
    Err(failure.map_or(Error::Unformatted, Error::Flash))
}
