//! The example `firmware` on a computer, with flash that is memory: takes the image that `homespun pack`
//! writes, and ends with 1 where the reply is not what the person said.
//!
//! `cargo run -p homespun-runtime --example firmware_on_host --no-default-features -- IMAGE`

#[path = "firmware.rs"]
#[expect(unused_attributes, reason = "there it is the root")]
mod firmware;

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

use homespun_runtime::seal::NoRandom;

/// Memory at a multiple of 64 bytes, which is never given back.
fn lend(bytes: usize, fill: u8) -> &'static mut [u8] {
    let memory = Box::leak(vec![fill; bytes + 64].into_boxed_slice());
    let from = memory.as_ptr().align_offset(64);
    &mut memory[from..][..bytes]
}

fn main() -> ExitCode {
    let path = std::env::args_os().nth(1).expect("the image's path");
    let file = std::fs::read(path).expect("the image can be read");
    let image = lend(file.len(), 0);
    image.copy_from_slice(&file);
    let board = firmware::Board {
        image,
        arena: lend(firmware::ARENA_BYTES, 0),
        flash: [256 << 10, 512 << 10].map(|bytes| firmware::Chip(lend(bytes, 0xFF))),
        key: [7; 32],
        random: |bytes| {
            let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
            random.map_err(|_| NoRandom)
        },
        clock: || {
            static START: LazyLock<Instant> = LazyLock::new(Instant::now);
            START.elapsed().as_micros() as u64
        },
    };
    let mut out = String::new();
    let ticks = firmware::live(board, &mut out).expect("it lives");
    println!("{out}\nsteps took {ticks} us");
    if out.ends_with("Mint tea, from the garden.") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
