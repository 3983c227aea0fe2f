//! A report of an experiment: `report.md`, `report.html` in one file, and its drawings as SVG.
//!
//! ```text
//! folders ─ load ─> runs by stream, arm, bins, synth, seed
//!         ─ verdict ─> gate, gains, words          (stats: the bootstrap; paper: what it reports)
//!         ─ sections, stream ─> blocks ─ page ─> Markdown, HTML     (draw: SVG)
//! ```

mod draw;
mod load;
mod page;
mod paper;
mod sections;
mod stream;
mod together;
mod verdict;

use std::path::{Path, PathBuf};

use super::Error;
use crate::durable;
use load::Loaded;
use page::Block;

/// Replies shown of each stream.
const REPLIES: usize = 3;

/// What to leave out of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Leaves out dialogues and replies, which may be nobody else's to read.
    pub without_replies: bool,
}

/// Writes the report of the results in `folders` to the folder `out`, and gives its Markdown file.
///
/// # Errors
/// If results cannot be read or do not belong together, or a file cannot be written.
pub fn write(folders: &[PathBuf], out: &Path, options: Options) -> Result<PathBuf, Error> {
    let blocks = blocks(&Loaded::open(folders)?, options);
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let put = |name: &str, text: &str| durable::write(&out.join(name), text.as_bytes());
    for block in &blocks {
        if let Block::Figure { file, svg, .. } = block {
            put(file, svg)?;
        }
    }
    put("report.html", &page::html(&blocks))?;
    put("report.md", &page::markdown(&blocks))?;
    Ok(out.join("report.md"))
}

fn blocks(loaded: &Loaded, options: Options) -> Vec<Block> {
    let temperatures = loaded.temperatures();
    let first = temperatures.first().copied().unwrap_or(0.0);
    let at = loaded.main(first);
    let mut blocks = vec![Block::Title("Does selection help? An experiment with Homespun".into())];
    blocks.extend(sections::answer(loaded, at));
    blocks.extend(together::section(loaded, at));
    for stream in &loaded.streams {
        blocks.extend(stream::section(loaded, stream, &temperatures));
    }
    blocks.extend(sections::controls(loaded, at));
    blocks.extend(sections::metrics(loaded, at));
    blocks.extend(sections::over(loaded, first, true));
    blocks.extend(sections::over(loaded, first, false));
    blocks.extend(sections::beside_the_paper(loaded, at));
    if !options.without_replies {
        blocks.extend(sections::replies(loaded, at, REPLIES));
    }
    blocks.extend(sections::setup(loaded));
    blocks
}
