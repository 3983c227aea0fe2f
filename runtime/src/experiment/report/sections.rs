//! The sections of a report that speak of all streams, each from what was loaded.

use super::super::setup::Setup;
use super::super::stats;
use super::load::{At, Loaded, METRICS, Run};
use super::page::{Block, Table};
use super::paper;
use super::stream::spread;
use super::verdict::{self, Gate, effect, percent};

/// What is asked and what came out, in words and one table.
pub fn answer(loaded: &Loaded, at: At) -> Vec<Block> {
    let mut blocks = vec![Block::Text(
        "Does a policy that selects what to learn from beat taking dialogues at random, the newest, \
         or those that cover the stream, at the same size of buffer? Every arm sees the same stream, \
         asks for an annotation of what it buffered, writes the same number of questions more, trains \
         in the same way (as the last section says), and replies within the same limits."
            .into(),
    )];
    let done = loaded.done();
    if done < loaded.cells {
        blocks.push(Block::Text(format!(
            "**Not finished:** {done} of {} cells are done; what is missing is left out below.",
            loaded.cells
        )));
    }
    let said = loaded.candidates().into_iter().map(|arm| verdict::summary(loaded, arm, at));
    blocks.push(Block::List(said.collect()));
    let mut table =
        Table::new(&["stream", "gate", "best baseline", "policy", "gain over it, 95%", "shown"]);
    table.numbers_from = 4;
    for stream in &loaded.streams {
        let Some(base) = stream.best_baseline(at) else { continue };
        for arm in loaded.candidates() {
            let Some(gain) = stream.gain((arm, at), (base, at)) else { continue };
            if gain.low > 0.0 {
                table.strong.push(table.rows.len());
            }
            let gate = verdict::gate(stream, at);
            table.rows.push(vec![
                stream.setup.name.clone(),
                gate.word().into(),
                base.into(),
                arm.into(),
                percent(&gain),
                effect(&gain).into(),
            ]);
        }
    }
    if !table.rows.is_empty() {
        blocks.push(Block::Table(table));
    }
    blocks.push(Block::Text(format!(
        "Gains are relative, of mean ROUGE-1 F1 on held-out dialogues after the last round, over the \
         baseline of the highest mean (chosen with these same figures, which favours the baseline). \
         Intervals are a paired bootstrap: {} times, seeds and held-out dialogues are drawn with \
         replacement, the same for both arms; the ends are the 2.5% and 97.5% quantiles of the gain. \
         With few seeds the spread over seeds is known but roughly.",
        stats::RESAMPLES
    )));
    blocks
}

/// What gains do not come from.
pub fn controls(loaded: &Loaded, at: At) -> Vec<Block> {
    let pairs = [("all", "none"), ("quality", "shuffled"), ("quality", "length")];
    let mut table = Table::new(&["stream", "compared", "gain, 95%", "shown"]);
    table.numbers_from = 2;
    for stream in &loaded.streams {
        for (ours, theirs) in pairs {
            if let Some(gain) = stream.gain((ours, at), (theirs, at)) {
                let compared = format!("{ours} over {theirs}");
                let name = stream.setup.name.clone();
                table.rows.push(vec![name, compared, percent(&gain), effect(&gain).into()]);
            }
        }
    }
    // Synthesis, where it was left out as well.
    for stream in &loaded.streams {
        for arm in loaded.candidates().into_iter().filter(|_| at.synth > 0) {
            if let Some(gain) = stream.gain((arm, at), (arm, At { synth: 0, ..at })) {
                let compared = format!("{arm}, {} synthesised over 0", at.synth);
                let name = stream.setup.name.clone();
                table.rows.push(vec![name, compared, percent(&gain), effect(&gain).into()]);
            }
        }
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    let text = "A gain over no tuning that `shuffled` has as well is one of style or length, not of \
                what the person prefers; one that `length` has needs no model.";
    vec![Block::Heading("Controls".into()), Block::Text(text.into()), Block::Table(table)]
}

/// How a figure depends on the bins, or on the synthesised questions.
pub fn over(loaded: &Loaded, temperature: f64, bins: bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    let main = loaded.main(temperature);
    for stream in &loaded.streams {
        let values = stream.values(|run| if bins { run.bins } else { run.synth });
        if values.len() < 2 {
            continue;
        }
        let at = |value: usize| match bins {
            true => At { bins: value, ..main },
            false => At { synth: value, ..main },
        };
        let mut head = vec![if bins { "arm, bins" } else { "arm, synthesised" }.to_owned()];
        head.extend(values.iter().map(usize::to_string));
        let table = || Table { head: head.clone(), numbers_from: 1, ..Table::default() };
        let (mut scores, mut gains) = (table(), table());
        for (arm, _) in &loaded.arms {
            let row: Vec<String> = values
                .iter()
                .map(|&value| spread(&stream.figures(arm, at(value), |row| row.rouge1), 4))
                .collect();
            if arm != "none" && row.iter().any(|cell| !cell.is_empty()) {
                scores.rows.push([vec![arm.clone()], row].concat());
            }
            let gain = |value: usize| {
                let base = stream.best_baseline(at(value)).filter(|base| base != arm)?;
                stream.gain((arm, at(value)), (base, at(value)))
            };
            let row: Vec<String> = values
                .iter()
                .map(|&value| gain(value).map_or(String::new(), |gain| percent(&gain)))
                .collect();
            let shown = loaded.candidates().contains(&arm.as_str());
            if shown && row.iter().any(|cell| !cell.is_empty()) {
                gains.rows.push([vec![arm.clone()], row].concat());
            }
        }
        blocks.push(Block::Part(format!("Stream `{}`", stream.setup.name)));
        blocks.push(Block::Table(scores));
        if !gains.rows.is_empty() {
            blocks.push(Block::Text("Gain over the best baseline of the same column:".into()));
            blocks.push(Block::Table(gains));
        }
    }
    if !blocks.is_empty() {
        let name = if bins { "Bins of the buffer" } else { "Synthesised questions" };
        blocks.insert(0, Block::Heading(name.into()));
        if !bins {
            blocks.push(paper_synthesised());
        }
    }
    blocks
}

fn paper_synthesised() -> Block {
    let first = paper::SYNTHESISED[0];
    let gains = paper::SYNTHESISED
        .iter()
        .enumerate()
        .map(|(i, rouge1)| format!("{} sets {:+.0}%", i + 1, 100.0 * (rouge1 / first - 1.0)));
    let gains = gains.skip(1).collect::<Vec<_>>().join(", ");
    Block::Text(format!("The paper's Figure 3, over one set (MedDialog, read off): {gains}."))
}

/// Each metric alone beside all three.
pub fn metrics(loaded: &Loaded, at: At) -> Vec<Block> {
    let mut table = Table::new(&["", "entropy", "domain", "dissimilarity", "all three"]);
    for stream in &loaded.streams {
        let Some(all) = stream.rouge1("quality", at) else { continue };
        let alone = METRICS.map(|arm| stream.rouge1(arm, at));
        if alone.iter().all(Option::is_none) {
            continue;
        }
        let mut row = vec![stream.setup.name.clone()];
        row.extend(alone.iter().map(|one| {
            one.map_or(String::new(), |one| {
                format!("{one:.4} ({:+.0}%)", 100.0 * (one / all - 1.0))
            })
        }));
        row.push(format!("{all:.4}"));
        table.rows.push(row);
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    for m in &paper::METRICS {
        let mut row = vec![format!("paper: {}", m.name)];
        row.extend(
            [m.entropy, m.domain, m.dissimilarity]
                .map(|one| format!("{one:.4} ({:+.0}%)", 100.0 * (one / m.quality - 1.0))),
        );
        row.push(format!("{:.4}", m.quality));
        table.rows.push(row);
    }
    let text = "ROUGE-1 of each metric alone, and how far it is from the rule of all three. Only the \
                percentages compare with the paper's, whose model is another.";
    vec![Block::Heading("Each metric alone".into()), Block::Text(text.into()), Block::Table(table)]
}

/// The paper's gains beside ours.
pub fn beside_the_paper(loaded: &Loaded, at: At) -> Vec<Block> {
    let mut table =
        Table::new(&["data", "policy", "over the best baseline", "random", "fifo", "k-center"]);
    table.numbers_from = 2;
    for stream in &loaded.streams {
        let Some(base) = stream.best_baseline(at) else { continue };
        for arm in loaded.candidates() {
            let Some(ours) = stream.rouge1(arm, at) else { continue };
            let over = |theirs: &str| {
                let theirs = stream.rouge1(theirs, at);
                theirs.map_or(String::new(), |one| format!("{:+.1}%", 100.0 * (ours / one - 1.0)))
            };
            let name = match verdict::gate(stream, at) {
                Gate::Counted(_) => stream.setup.name.clone(),
                Gate::NotCounted(_) | Gate::Unknown => {
                    format!("{} (not counted)", stream.setup.name)
                }
            };
            let mut row = vec![name, arm.to_owned()];
            row.extend([base, "random", "fifo", "k-center"].map(over));
            table.rows.push(row);
        }
    }
    for (name, values) in paper::BASELINES {
        let [random, fifo, k_center, ours] = values;
        let mut row = vec![format!("paper: {name}"), "theirs".to_owned()];
        row.push(format!("{:+.0}%", 100.0 * paper::gain(values)));
        row.extend(
            [random, fifo, k_center].map(|one| format!("{:+.0}%", 100.0 * (ours / one - 1.0))),
        );
        table.rows.push(row);
    }
    let text = "Relative gains in ROUGE-1. The paper's are read off its Figure 2 (OpenLLaMA-3B, 128 \
                bins, 4,600 dialogues) and its Table 4.";
    vec![Block::Heading("Beside the paper".into()), Block::Text(text.into()), Block::Table(table)]
}

/// Replies before and after, the first held-out ones as they come.
pub fn replies(loaded: &Loaded, at: At, most: usize) -> Vec<Block> {
    let Some(arm) = verdict::best_candidate(loaded, at) else { return Vec::new() };
    let mut blocks = vec![
        Block::Heading("Replies before and after".into()),
        Block::Text(format!(
            "The first {most} held-out dialogues of each stream, the untuned base beside `{arm}` of \
             its first seed; not chosen by how they came out."
        )),
    ];
    for stream in &loaded.streams {
        let (before, after) = (stream.of("none", at), stream.of(arm, at));
        let (Some(before), Some(after)) = (before.first(), after.first()) else { continue };
        let of = |run: &Run, i: usize| {
            let mut own = run.replies.iter().filter(|row| row.temperature == at.temperature);
            own.nth(i)
                .map_or(String::new(), |row| format!("{} ({:.2})", short(&row.reply), row.rouge1))
        };
        let mut table = Table::new(&["", ""]);
        table.numbers_from = 2;
        for (i, held) in stream.held_out.iter().take(most).enumerate() {
            for (who, text) in [
                ("user", short(&held.question)),
                ("before", of(before, i)),
                ("after", of(after, i)),
                ("wanted", short(&held.reference)),
            ] {
                table.rows.push(vec![who.into(), text]);
            }
        }
        blocks.push(Block::Part(format!("Stream `{}`", stream.setup.name)));
        blocks.push(Block::Table(table));
    }
    blocks
}

/// At most 300 characters.
fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// What it was made with.
pub fn setup(loaded: &Loaded) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("What it was made with".into())];
    let mut streams = Table::new(&[
        "stream",
        "judged by",
        "dialogues",
        "held out",
        "stream SHA-256",
        "held-out SHA-256",
    ]);
    streams.numbers_from = 2;
    let hash = |text: &str| text.chars().take(16).collect::<String>();
    for stream in &loaded.streams {
        let setup = &stream.setup;
        streams.rows.push(vec![
            setup.name.clone(),
            format!("{} part", setup.part.replace('_', "-")),
            setup.dialogues.to_string(),
            setup.held_out.to_string(),
            hash(&setup.hashes.stream),
            hash(&setup.hashes.held_out),
        ]);
    }
    blocks.push(Block::Table(streams));
    let mut arms = Table::new(&["arm", "what it does"]);
    arms.numbers_from = 2;
    arms.rows = loaded.arms.iter().map(|(arm, about)| vec![arm.clone(), about.clone()]).collect();
    blocks.push(Block::Table(arms));
    let mut items = Vec::new();
    if let Some(first) = loaded.setups.first() {
        let main = loaded.main(0.0);
        items.push(format!(
            "Model `{}`, {:.1} MB of weights: weights `{}`, tokenizer `{}`, template `{}`.",
            first.model_name,
            first.weight_bytes as f64 / 1e6,
            hash(&first.model.weights),
            hash(&first.model.tokenizer),
            hash(&first.model.template)
        ));
        items.push(format!(
            "Main comparison: {} bins, {} synthesised questions tried for each annotated dialogue.",
            main.bins, main.synth
        ));
    }
    for setup in &loaded.setups {
        let Setup { rounds, training, command, version, .. } = setup;
        let seeds = setup.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let general = match setup.general.as_str() {
            "" => "no general dialogues".to_owned(),
            text => format!("general dialogues `{}`", hash(text)),
        };
        items.push(format!(
            "`{command}` (Homespun {version}): {rounds} rounds a stream, seeds {seeds}; {training}; \
             {general}."
        ));
    }
    let runs = loaded.streams.iter().flat_map(|stream| &stream.runs);
    let mut machines: Vec<String> = runs
        .map(|run| {
            let m = &run.machine;
            format!(
                "{}, kernels {}, {} cells at once with {} threads each, Homespun {}",
                m.cpu, m.isa, m.jobs, m.threads, m.version
            )
        })
        .collect();
    machines.sort();
    machines.dedup();
    items.extend(machines.into_iter().map(|text| format!("Machine: {text}.")));
    items.push(
        "Seconds are of a cell with the others beside it; the peak is the anonymous memory of the \
         whole process, all cells at once."
            .into(),
    );
    blocks.push(Block::List(items));
    blocks
}
