//! What the program does, on any board, told by the first line of standard input.
//!
//! ```text
//! live [small|large] [marks] [isa=NAME]    learn a person: see `live`
//! selftest [marks] [isa=NAME]   show the processor and memory, put a sample and read it back, count boots
//! panic                         end as a panic does
//! overflow                      use more stack than there is
//! ```

use core::fmt::Write;

use embedded_storage::nor_flash::NorFlash;
use homespun_boards::Board;
use homespun_kernels::Kernels;
use homespun_runtime::device::Setting;
use homespun_runtime::flash::pair::Pair;
use homespun_runtime::samples::{
    self, BinInfo, Message, RECORD_BYTES, Sample, Samples, record::Embedding, record::Messages,
};

use crate::host::{Input, Output};
use crate::live::{Options, live};
use crate::marked::Marked;
use crate::{semihosting, stack};

/// What a board gives: its memories, and flash over disjoint ranges.
#[derive(Debug)]
pub struct Machine<'m, F> {
    /// Its data.
    pub board: &'static Board,
    /// What its processor has, as [`Board::features`] calls it.
    pub features: &'m [&'static str],
    /// The partition of the weights, in place.
    pub weights: &'static [u8],
    /// Memory for all that the model writes.
    pub arena: &'static mut [u8],
    /// The partition of the samples.
    pub samples: F,
    /// The partition of the adapter.
    pub adapter: F,
}

/// The most bytes of a line.
const LINE: usize = 1536;
/// The most slots of a board's samples partition.
const SLOTS: usize = 128;
const BOOTS: [u8; 8] = *b"BOOTS\0\0\0";

/// Does what the first line says; what went wrong is told in the error.
///
/// # Errors
/// If anything did, in the words of what it was, as `core::fmt` has no string to give.
pub fn run<F: NorFlash>(machine: Machine<'_, F>) -> Result<(), &'static str> {
    let mut out = Output::standard().map_err(|_| "no standard output")?;
    let mut input = Input::<LINE>::standard().map_err(|_| "no standard input")?;
    let line = match input.line() {
        Ok(line) => line.unwrap_or(""),
        Err(error) => {
            let _ = writeln!(out, "{error}");
            return Err("the first line cannot be read");
        }
    };
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("live") => {
            let (mut setting, mut marks, mut isa) = (Setting::SMALL, false, None);
            for word in words {
                match (word.split_once('='), Setting::named(word)) {
                    (None, Some(named)) => setting = named,
                    (None, None) if word == "marks" => marks = true,
                    (Some(("isa", name)), _) => isa = Some(name),
                    _ => return Err("live takes `small` or `large`, `marks` and `isa=NAME`"),
                }
            }
            let kernels = kernels(isa)?;
            live(machine, Options { setting, marks, kernels }, &mut input, &mut out)
        }
        Some("selftest") => {
            let (mut marks, mut isa) = (false, None);
            for word in words {
                match word.split_once('=') {
                    None if word == "marks" => marks = true,
                    Some(("isa", name)) => isa = Some(name),
                    _ => return Err("selftest takes `marks` and `isa=NAME`"),
                }
            }
            selftest(machine, &mut out, marks, isa)
        }
        Some("panic") => panic!("asked to"),
        Some("overflow") => Err(overflow(machine.board.bins as u64)),
        _ => Err("the first line is none of `live`, `selftest`, `panic`, `overflow`"),
    }
}

/// Never ends by itself; what it returns depends on every frame.
fn overflow(depth: u64) -> &'static str {
    let frame = core::hint::black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return "there is no end to the stack";
    }
    let deeper = overflow(depth + 1);
    if frame[1] == 0 { "the stack has an end" } else { deeper }
}

/// The table that is asked for, or the fastest.
fn kernels(isa: Option<&str>) -> Result<&'static Kernels, &'static str> {
    let Some(name) = isa else { return Ok(Kernels::detect()) };
    Kernels::available()
        .find(|table| table.isa().name() == name)
        .ok_or("isa: this processor has no such table")
}

fn selftest<F: NorFlash>(
    machine: Machine<'_, F>,
    out: &mut Output,
    marks: bool,
    isa: Option<&str>,
) -> Result<(), &'static str> {
    let Machine { board, features, weights, arena, samples, adapter } = machine;
    let print = "standard output";
    let table = kernels(isa)?;
    writeln!(out, "board      {}: {} bytes of RAM", board.name, board.ram).map_err(|_| print)?;
    write!(out, "kernels    {} of", table.isa().name()).map_err(|_| print)?;
    for table in Kernels::available() {
        write!(out, " {}", table.isa().name()).map_err(|_| print)?;
    }
    writeln!(out, "; the processor has {features:?}").map_err(|_| print)?;
    if board.features.iter().any(|one| !features.contains(one)) {
        return Err("the processor lacks a feature of the board");
    }
    let (x, y) = ([0.5f32; 37], [2.0f32; 37]);
    if table.dot(&x, &y) != 37.0 {
        return Err("a dot product is wrong");
    }
    let begins = weights.first_chunk::<4>().ok_or("no weights")?;
    let (at, length) = (weights.as_ptr(), weights.len());
    writeln!(out, "weights    {length} bytes at {at:?}, {begins:02x?} ..").map_err(|_| print)?;
    let (at, length) = (arena.as_ptr(), arena.len());
    writeln!(out, "arena      {length} bytes at {at:?}").map_err(|_| print)?;
    let samples = Marked::new(samples, *out, marks);
    let scratch = arena.get_mut(..RECORD_BYTES).ok_or("the arena is smaller than a record")?;
    buffer(samples, scratch, out)?;
    boots(Marked::new(adapter, *out, marks), out)?;
    if let Some(nanoseconds) = semihosting::elapsed() {
        writeln!(out, "time       {} us", nanoseconds / 1000).map_err(|_| print)?;
    }
    let (used, size) = (stack::used(), stack::size());
    writeln!(out, "stack      {used} of {size} bytes").map_err(|_| print)?;
    if used == size { Err("the stack is full") } else { Ok(()) }
}

/// Puts a sample, reads it back, and tries to set a bit that is clear.
fn buffer<F: NorFlash>(
    mut flash: F,
    scratch: &mut [u8],
    out: &mut Output,
) -> Result<(), &'static str> {
    let print = "standard output";
    let mut index = [BinInfo::FREE; SLOTS];
    let slots = samples::slots::<F>(flash.capacity()).min(SLOTS);
    let mounted = Samples::<_, _, 512>::mount(&mut flash, &mut index[..]).is_ok();
    if !mounted {
        let bins = slots.saturating_sub(2);
        if let Err(error) = samples::format(&mut flash, bins, false) {
            let _ = writeln!(out, "{error:?}");
            return Err("the samples partition cannot be formatted");
        }
    }
    let mut buffer = match Samples::<_, _, 512>::mount(&mut flash, &mut index[..]) {
        Ok(buffer) => buffer,
        Err(error) => {
            let _ = writeln!(out, "{error:?}");
            return Err("the samples partition cannot be mounted");
        }
    };
    let (bins, used) = (buffer.bins(), buffer.entries().count());
    let last = buffer.entries().map(|(_, info)| info.header().id).max().unwrap_or(0);
    let what = if mounted { "mounted" } else { "formatted" };
    let damaged = buffer.damaged();
    writeln!(out, "samples    {what}: {used} of {bins} bins, last {last}, {damaged} damaged")
        .map_err(|_| print)?;
    for (bin, _) in (0..bins).zip(0..used) {
        if buffer.info(bin).is_some() && buffer.verify(bin).is_err() {
            return Err("a sample of an earlier boot is damaged");
        }
    }
    let (id, embedding) = (last + 1, [0.25, -1.5, id_component(last + 1)]);
    let messages = [
        Message { role: "user", content: "Does it run on a microcontroller?" },
        Message { role: "assistant", content: "It does." },
    ];
    let sample = Sample {
        id,
        messages: Messages::Given(&messages),
        embedding: Embedding::Floats(&embedding),
        ..Sample::default()
    };
    let bin = (last % bins as u64) as usize;
    if let Err(error) = buffer.put(bin, &sample) {
        let _ = writeln!(out, "{error:?}");
        return Err("the sample cannot be put");
    }
    let read = buffer.read(bin, scratch).map_err(|_| "the sample cannot be read")?;
    let same =
        read.id == id && read.messages.iter().eq(messages) && read.embedding.iter().eq(embedding);
    if !same {
        return Err("the sample is another than was put");
    }
    writeln!(out, "sample     {id} in bin {bin}, read back").map_err(|_| print)?;
    let mut old = [0; 4];
    flash.read(0, &mut old).map_err(|_| "the superblock cannot be read")?;
    if flash.write(0, &[0xFF; 4]).is_ok() {
        return Err("a write that sets bits was not refused");
    }
    let mut now = [0; 4];
    flash.read(0, &mut now).map_err(|_| "the superblock cannot be read")?;
    if old != now {
        return Err("a write that was refused was done");
    }
    writeln!(out, "set bits   refused").map_err(|_| print)
}

/// A number that f16 holds, different for each sample.
fn id_component(id: u64) -> f32 {
    (id % 1024) as f32
}

/// Counts the boots in a pair of halves.
fn boots<F: NorFlash>(flash: F, out: &mut Output) -> Result<(), &'static str> {
    let to = flash.capacity() as u32;
    let mut pair = Pair::<_, 512>::mount(flash, 0..to).map_err(|_| "no pair in the flash")?;
    let mut boots = [0; 4];
    if pair.info().is_some() {
        pair.read(0, &mut boots).map_err(|_| "the boots cannot be read")?;
    }
    let boots = u32::from_le_bytes(boots) + 1;
    let mut write = pair.begin(BOOTS).map_err(|_| "the boots cannot be erased")?;
    write.push(&boots.to_le_bytes()).map_err(|_| "the boots cannot be written")?;
    write.commit().map_err(|_| "the boots cannot be committed")?;
    writeln!(out, "boots      {boots}").map_err(|_| "standard output")
}
