//! The mission: a model in flash hears, asks, learns, saves and replies, as the lines of standard input
//! tell it to; `homespun_runtime::device::console` says what they are.
//!
//! ```text
//! live [small|large] [marks] [isa=NAME]     the first line
//! # ...                                     figures of this machine alone, by the program
//! ```

use core::fmt::Write;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use homespun_core::compute::Compute;
use homespun_core::weights::Layer;
use homespun_kernels::Kernels;
use homespun_runtime::device::{self, Device, Flash, Plan, Setting, console::Flow};
use homespun_runtime::image::Image;
use homespun_runtime::samples::{self, BinInfo};

use crate::Machine;
use crate::host::{Input, Output};
use crate::marked::Marked;
use crate::{semihosting, stack};

/// The most layers of a model.
const LAYERS: usize = 16;
/// Slots beside those of the bins.
const SPARE: usize = 4;
/// Entries of the index.
const SLOTS: usize = 24;

/// What the first line says besides its first word.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How it lives.
    pub setting: Setting,
    /// Whether writes to flash are marked.
    pub marks: bool,
    /// What computes.
    pub kernels: &'static Kernels,
}

/// The first bytes of a flash.
#[derive(Debug)]
struct Front<F> {
    flash: F,
    bytes: usize,
}

/// Lives until the last line.
///
/// # Errors
/// If it cannot begin; the cause was printed. What fails later is an answer.
pub fn live<F: NorFlash, const LINE: usize>(
    machine: Machine<'_, F>,
    options: Options,
    input: &mut Input<LINE>,
    out: &mut Output,
) -> Result<(), &'static str> {
    const PRINT: &str = "standard output";
    let Machine { board, weights, arena, samples, adapter, .. } = machine;
    let Options { setting, marks, kernels } = options;
    let image = Image::open(weights).and_then(|image| image.verify().map(|()| image));
    let image = match image {
        Ok(image) => image,
        Err(error) => {
            let _ = writeln!(out, "# weights: {error}");
            return Err("there is no model in the weights partition");
        }
    };
    let (needed, given) = (Plan::of(image.config(), &setting, 1).least(), arena.len());
    let table = kernels.isa().name();
    writeln!(out, "# {}: kernels {table}, memory {needed} of {given} needed", board.name)
        .map_err(|_| PRINT)?;
    let bytes = samples::flash_bytes::<F>(setting.bins, SPARE).min(samples.capacity());
    let samples = Marked::new(Front { flash: samples, bytes }, *out, marks);
    let bytes = adapter.capacity();
    let adapter = Marked::new(Front { flash: adapter, bytes }, *out, marks);
    let (mut layers, mut index) = ([Layer::empty(); LAYERS], [BinInfo::FREE; SLOTS]);
    let layers = layers.get_mut(..image.config().layers).ok_or("the model has too many layers")?;
    let slots = device::index(&samples);
    let index = index.get_mut(..slots).ok_or("the setting has too many bins")?;
    let compute = Compute::serial(kernels);
    let flash = Flash { samples, adapter, seal: None };
    let mut device = match Device::open(image, layers, index, arena, flash, setting, compute) {
        Ok(device) => device,
        Err(error) => {
            let _ = writeln!(out, "# {error}");
            return Err("the device cannot be opened");
        }
    };
    writeln!(out, "# ready after {} steps", device.steps()).map_err(|_| PRINT)?;
    let mut flow = Flow::Go;
    while flow == Flow::Go {
        flow = match input.line() {
            Ok(Some(line)) => device.line(line, out).map_err(|_| PRINT)?,
            Ok(None) => Flow::Quit,
            Err(error) => {
                writeln!(out, "error: {error}").map_err(|_| PRINT)?;
                Flow::Go
            }
        };
    }
    let (used, size) = (stack::used(), stack::size());
    writeln!(out, "# memory {} of {given} used, stack {used} of {size}", device.used())
        .map_err(|_| PRINT)?;
    if let Some(nanoseconds) = semihosting::elapsed() {
        writeln!(out, "# time {} ms", nanoseconds / 1_000_000).map_err(|_| PRINT)?;
    }
    if used == size { Err("the stack is full") } else { Ok(()) }
}

impl<F: ErrorType> ErrorType for Front<F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> ReadNorFlash for Front<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl<F: NorFlash> NorFlash for Front<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.flash.write(offset, bytes)
    }
}
