//! `homespun device`: an image and its flash as a firmware has them, on this machine.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use homespun_core::compute::Compute;
use homespun_core::weights::Layer;
use homespun_kernels::Pool;

use super::Outcome;
use super::options::Machine;
use crate::checkpoint::map::Bytes;
use crate::device::console::Flow;
use crate::device::{self, Device, Flash, Plan, Setting};
use crate::flash::FileFlash;
use crate::image::Image;
use crate::samples::{self, BinInfo};

/// Run an image as a firmware does: lines in, lines out, flash in a folder
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun device --image builtin.img --flash flash\n\nLines of standard input: hear QUESTION<TAB>REPLY, ask, prefer BIN<TAB>TEXT, accept BIN, skip BIN, forget BIN,\nlearn STEPS, save, say TEXT, logits TEXT, gradient BIN, buffer, status, anew, quit. With --isa scalar every\nfigure is that of a firmware, to the last bit."
)]
pub(crate) struct Args {
    /// What `homespun pack` wrote
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// The folder of the flash: samples.bin and adapter.bin, made if they are not there
    #[arg(long, value_name = "DIR")]
    flash: PathBuf,
    /// small (half a megabyte of memory) or large
    #[arg(long, value_name = "NAME", default_value = "small")]
    setting: String,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let setting = Setting::named(&args.setting)
        .ok_or_else(|| format!("--setting: {:?} is not small or large", args.setting))?;
    let file = &args.image;
    let bytes = Bytes::map(file)?;
    let image = Image::open(&bytes).and_then(|image| image.verify().map(|()| image));
    let image = image.map_err(|error| format!("{}: {error}", file.display()))?;
    fs::create_dir_all(&args.flash)
        .map_err(|error| format!("{}: {error}", args.flash.display()))?;
    let slots = setting.bins + samples::file::spare(setting.bins);
    let room = samples::flash_bytes::<FileFlash>(slots, 0);
    let adapter = device::adapter_bytes::<FileFlash>(image.config(), &setting.lora);
    let flash = Flash {
        samples: open(&args.flash.join("samples.bin"), room)?,
        adapter: open(&args.flash.join("adapter.bin"), adapter)?,
        seal: None,
    };
    let mut layers = vec![Layer::empty(); image.config().layers];
    let mut index = vec![BinInfo::FREE; device::index(&flash.samples)];
    let pool = machine.pool()?;
    let mut memory = vec![0; Plan::of(image.config(), &setting, pool.threads()).least()];
    let compute = Compute::new(machine.kernels()?, &pool);
    let mut device =
        Device::open(image, &mut layers, &mut index, &mut memory, flash, setting, compute)
            .map_err(|error| format!("{}: {error}", args.flash.display()))?;
    let (mut line, mut answer) = (String::new(), String::new());
    let mut input = io::stdin().lock();
    loop {
        line.clear();
        answer.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        // A String takes whatever is written.
        let flow = device.line(&line, &mut answer).unwrap_or(Flow::Quit);
        io::stdout().write_all(answer.as_bytes())?;
        io::stdout().flush()?;
        if flow == Flow::Quit {
            return Ok(());
        }
    }
}

fn open(path: &Path, bytes: usize) -> Result<FileFlash, crate::flash::FileError> {
    if path.exists() { FileFlash::open(path) } else { FileFlash::create(path, bytes) }
}
