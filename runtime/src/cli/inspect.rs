//! `homespun buffer inspect` and `verify`: what an image holds and whether it is whole, with or without
//! its key.

use std::path::Path;

use serde_json::{Value, json};

use super::Outcome;
use super::options::{KeyArgs, print_json, say};
use crate::lexicon::Table;
use crate::samples::file::{self, FileSamples, OpenError};
use crate::samples::{Error, Flags, RECORD_BYTES, Seal, Wear};
use crate::seal::ring::Ring;
use crate::seal::system_random;
use crate::state::vault::Keys;

/// Opens an image without a change to it; with the key of the key file, if it has the right one.
fn open(image: &Path, key: &KeyArgs) -> Result<FileSamples, Box<dyn core::error::Error>> {
    let blind = file::open_blind(image)?;
    let sealed_with = blind.entries().map(|(_, info)| info.header().key).next();
    let (true, Some(name), Keys::File(path)) = (blind.is_sealed(), sealed_with, key.get()?) else {
        return Ok(blind);
    };
    let Some(key) = Ring::open(&path)?.key(name).cloned() else { return Ok(blind) };
    let seal = Seal { key, previous: None, random: system_random };
    match file::open(image, Some(&seal)) {
        // Some records have another key, as while a forgetting is under way.
        Err(OpenError::Samples { error: Error::Key { .. }, .. }) => Ok(blind),
        opened => Ok(opened?),
    }
}

/// What is in an image.
pub(crate) fn inspect(image: &Path, key: &KeyArgs, book: &Table, as_json: bool) -> Outcome {
    let samples = open(image, key)?;
    let (wear, used) = (samples.wear(), samples.entries().count());
    let readable = !samples.is_blind();
    let newest = samples.entries().map(|(_, info)| info.header().arrival).max().unwrap_or(0);
    let lexicons = book.lexicons();
    let bins: Vec<Value> = samples
        .entries()
        .map(|(bin, info)| {
            let header = info.header();
            let mut row = json!({
                "bin": bin,
                "generation": header.generation,
                "bytes": header.payload_bytes(),
            });
            if let (true, Some(row)) = (readable, row.as_object_mut()) {
                let scores = header.scores;
                row.extend([
                    ("arrival".into(), json!(header.arrival)),
                    ("age".into(), json!(newest - header.arrival)),
                    ("domain".into(), json!(lexicons.name(scores.domain))),
                    ("entropy".into(), json!(scores.entropy)),
                    ("domain_score".into(), json!(scores.domain_score)),
                    ("dissimilarity".into(), json!(scores.dissimilarity)),
                    ("annotated".into(), json!(header.flags.contains(Flags::ANNOTATED))),
                ]);
            }
            row
        })
        .collect();
    if as_json {
        return Ok(print_json(&json!({
            "bins": samples.bins(),
            "used": used,
            "free": samples.bins() - used,
            "sealed": samples.is_sealed(),
            "readable": readable,
            "slots": wear.slots,
            "spare": wear.slots - samples.bins(),
            "damaged_slots": samples.damaged(),
            "least_erases": wear.least,
            "most_erases": wear.most,
            "erases": wear.total,
            "entries": bins,
        }))?);
    }
    let (sealed, damaged) = (samples.is_sealed(), samples.damaged());
    let how = match (sealed, readable) {
        (false, _) => "plain",
        (true, true) => "sealed, and here is its key",
        (true, false) => "sealed, and its key is not here",
    };
    say(format_args!("bins     {}, of which {used} are in use", samples.bins()))?;
    say(format_args!("records  {how}"))?;
    let Wear { slots, least, most, total, .. } = wear;
    say(format_args!("slots    {slots}, erased {least} to {most} times, {total} in all"))?;
    if damaged > 0 {
        say(format_args!(
            "damaged  {damaged} slots hold no whole record: a put was cut, or one is lost"
        ))?;
    }
    let head =
        if readable { "  arrival   age  entropy  domain-score  dissimilarity  domain" } else { "" };
    say(format_args!("  bin  generation  bytes{head}"))?;
    for (bin, info) in samples.entries() {
        let header = info.header();
        let open = format!("{bin:>5} {:>11} {:>6}", header.generation, header.payload_bytes());
        if !readable {
            say(open)?;
            continue;
        }
        let scores = header.scores;
        say(format_args!(
            "{open} {:>8} {:>5} {:>8.4} {:>13.4} {:>14.4}  {}",
            header.arrival,
            newest - header.arrival,
            scores.entropy,
            scores.domain_score,
            scores.dissimilarity,
            lexicons.name(scores.domain),
        ))?;
    }
    Ok(())
}

/// Reads every record of an image; an error where one is not whole.
pub(crate) fn verify(image: &Path, key: &KeyArgs, as_json: bool) -> Outcome {
    let mut samples = open(image, key)?;
    let bins: Vec<usize> = samples.entries().map(|(bin, _)| bin).collect();
    let readable = !samples.is_blind();
    let (mut record, mut corrupt) = (vec![0; RECORD_BYTES], Vec::new());
    for &bin in &bins {
        // Without the key, only that the bytes are those that were written.
        let read = match readable {
            true => samples.read(bin, &mut record).map(drop),
            false => samples.verify(bin),
        };
        match read {
            Ok(()) => {}
            Err(Error::Corrupt { .. }) => corrupt.push(bin),
            Err(error) => return Err(format!("{}: {error}", image.display()).into()),
        }
    }
    let (checked, damaged) = (bins.len(), samples.damaged());
    if as_json {
        print_json(&json!({
            "checked": checked,
            "corrupt": corrupt,
            "damaged_slots": damaged,
            "opened": readable,
        }))?;
    } else {
        let how = if readable { "read and opened" } else { "checked without the key" };
        say(format_args!("{checked} records {how}, {damaged} damaged slots"))?;
    }
    if corrupt.is_empty() {
        return Ok(());
    }
    let list = corrupt.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    Err(format!("{}: the records in these bins are damaged: {list}", image.display()).into())
}
