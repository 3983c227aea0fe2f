//! The sections of a report, each from what was loaded.

use super::super::stats;
use super::super::sweep::Setup;
use super::draw::{self, Bar, Line};
use super::load::{At, Loaded, METRICS, StreamRuns};
use super::page::{Block, Table};
use super::paper;
use super::verdict::{self, Gate, effect, percent};

/// What is asked and what came out, in words and one table.
pub fn answer(loaded: &Loaded, at: At) -> Vec<Block> {
    let mut blocks = vec![Block::Text(
        "Does a policy that selects what to learn from beat taking dialogues at random, the newest, \
         or those that cover the stream, at the same size of buffer? Every arm sees the same stream, \
         asks for an annotation of what it buffered, writes the same number of questions more, trains \
         in the same way to early stopping on a tenth of its own buffer, and replies within the same \
         limits."
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

/// One stream: its table, its curves, its bars.
pub fn stream(loaded: &Loaded, stream: &StreamRuns, temperatures: &[f64]) -> Vec<Block> {
    let name = &stream.setup.name;
    let mut blocks = vec![Block::Heading(format!("Stream `{name}`"))];
    for (i, &temperature) in temperatures.iter().enumerate() {
        let at = loaded.main(temperature);
        if temperatures.len() > 1 {
            blocks.push(Block::Part(at_temperature(temperature)));
        }
        blocks.push(Block::Text(verdict::gate(stream, at).said(name)));
        blocks.push(Block::Table(figures(loaded, stream, at)));
        blocks.push(Block::Table(costs(loaded, stream, at)));
        if i == 0 {
            blocks.extend(drawings(loaded, stream, at));
            blocks.push(Block::Table(curve(loaded, stream, at)));
        }
    }
    blocks
}

fn at_temperature(temperature: f64) -> String {
    match temperature {
        0.0 => "Greedy replies".into(),
        t => format!("Replies at temperature {t}"),
    }
}

/// `.1787 ± .0031` of some seeds.
fn spread(figures: &[f64], digits: usize) -> String {
    match (figures, stats::deviation(figures)) {
        ([], _) => String::new(),
        (_, None) => format!("{:.digits$}", stats::mean(figures)),
        (_, Some(sd)) => format!("{:.digits$} ± {sd:.digits$}", stats::mean(figures)),
    }
}

/// How good replies are, and how they are made.
fn figures(loaded: &Loaded, stream: &StreamRuns, at: At) -> Table {
    let base = stream.best_baseline(at);
    let over = format!("gain over {}", base.unwrap_or("the best baseline"));
    let mut table = Table::new(&[
        "arm",
        "seeds",
        "ROUGE-1",
        &over,
        "gain over none",
        "loss",
        "words a reply",
        "distinct-2",
        "most frequent",
    ]);
    let best =
        loaded.candidates().into_iter().filter_map(|arm| Some((arm, stream.rouge1(arm, at)?)));
    let best = best.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(arm, _)| arm);
    for (arm, _) in &loaded.arms {
        let rouge1 = stream.figures(arm, at, |row| row.rouge1);
        if rouge1.is_empty() {
            continue;
        }
        let gain = |theirs: Option<&str>| {
            let theirs = theirs.filter(|theirs| theirs != arm);
            let gain = theirs.and_then(|theirs| stream.gain((arm, at), (theirs, at)));
            gain.map_or(String::new(), |gain| percent(&gain))
        };
        if best == Some(arm.as_str()) {
            table.strong.push(table.rows.len());
        }
        let mean = |figure: fn(&super::super::results::Row) -> f64| {
            stats::mean(&stream.figures(arm, at, figure))
        };
        table.rows.push(vec![
            arm.clone(),
            rouge1.len().to_string(),
            spread(&rouge1, 4),
            gain(base),
            gain(Some("none")),
            format!("{:.3}", mean(|row| row.loss)),
            format!("{:.1}", mean(|row| row.reply_words)),
            format!("{:.3}", mean(|row| row.distinct2)),
            format!("{:.1}%", 100.0 * mean(|row| row.most_frequent_reply)),
        ]);
    }
    table
}

/// What it costs and what is forgotten.
fn costs(loaded: &Loaded, stream: &StreamRuns, at: At) -> Table {
    let mut table = Table::new(&[
        "arm",
        "annotations",
        "rounds that installed",
        "seconds",
        "peak MB",
        "general loss before",
        "after",
    ]);
    let before = stream.figures("none", at, |row| row.general_loss.unwrap_or(f64::NAN));
    let loss = |figures: &[f64]| match stats::mean(figures) {
        mean if mean.is_finite() => format!("{mean:.3}"),
        _ => "not measured".into(),
    };
    for (arm, _) in &loaded.arms {
        let runs = stream.of(arm, at);
        if runs.is_empty() {
            continue;
        }
        let mean = |values: Vec<f64>| stats::mean(&values);
        let installed = runs.iter().map(|run| {
            let of = |row: &&super::super::results::Row| {
                row.temperature == at.temperature && row.installed
            };
            run.rows.iter().filter(of).count() as f64
        });
        let peak = runs.iter().map(|run| run.machine.peak_anonymous_bytes).max().unwrap_or(0);
        let first = |run: &&super::load::Run| {
            let row = run.rows.iter().find(|row| row.temperature == at.temperature);
            row.and_then(|row| row.general_loss).unwrap_or(f64::NAN)
        };
        let own: Vec<f64> = runs.iter().map(first).collect();
        table.rows.push(vec![
            arm.clone(),
            format!("{:.0}", stats::mean(&stream.figures(arm, at, |row| row.annotations as f64))),
            format!("{:.1}", mean(installed.collect())),
            format!("{:.0}", mean(runs.iter().map(|run| run.machine.seconds).collect())),
            format!("{:.0}", peak as f64 / 1e6),
            loss(if before.is_empty() { &own } else { &before }),
            loss(&stream.figures(arm, at, |row| row.general_loss.unwrap_or(f64::NAN))),
        ]);
    }
    table
}

/// Mean ROUGE-1 of `arm` after each round: dialogues seen, and the mean.
fn rounds(stream: &StreamRuns, arm: &str, at: At) -> Vec<(u64, f64)> {
    let runs = stream.of(arm, at);
    let rows = || runs.iter().flat_map(|run| &run.rows).filter(|r| r.temperature == at.temperature);
    let most = rows().map(|row| row.round).max().unwrap_or(0);
    (0..=most)
        .filter_map(|round| {
            let of: Vec<_> = rows().filter(|row| row.round == round).collect();
            let mean = stats::mean(&of.iter().map(|row| row.rouge1).collect::<Vec<_>>());
            Some((of.first()?.seen, mean))
        })
        .collect()
}

fn drawings(loaded: &Loaded, stream: &StreamRuns, at: At) -> Vec<Block> {
    let name = &stream.setup.name;
    let end = stream.setup.dialogues as f64;
    let (mut lines, mut bars) = (Vec::new(), Vec::new());
    for (i, (arm, _)) in loaded.arms.iter().enumerate() {
        let points = rounds(stream, arm, at);
        let figures = stream.figures(arm, at, |row| row.rouge1);
        let (Some(&(_, first)), false) = (points.first(), figures.is_empty()) else { continue };
        let dashed = arm == "none";
        let points = match dashed {
            true => vec![(0.0, first), (end, first)],
            false => points.into_iter().map(|(seen, y)| (seen as f64, y)).collect(),
        };
        lines.push(Line { name: arm.clone(), colour: i, points, dashed });
        let value = stats::mean(&figures);
        let spread = stats::deviation(&figures).map(|sd| (value - sd, value + sd));
        bars.push(Bar { name: arm.clone(), colour: i, value, spread });
    }
    let figure = |what: &str, svg: Option<String>, caption: String| {
        svg.map(|svg| Block::Figure { file: format!("{what}-{name}.svg"), svg, caption })
    };
    let curves = figure(
        "curves",
        draw::lines(&lines, "dialogues seen", "ROUGE-1"),
        format!("{name}: ROUGE-1 after each round, mean over seeds"),
    );
    let bars = figure(
        "bars",
        draw::bars(&bars, "ROUGE-1 after the last round"),
        format!("{name}: ROUGE-1 after the last round, mean and standard deviation over seeds"),
    );
    curves.into_iter().chain(bars).collect()
}

/// The learning curve in figures.
fn curve(loaded: &Loaded, stream: &StreamRuns, at: At) -> Table {
    let curves: Vec<(&String, Vec<(u64, f64)>)> =
        loaded.arms.iter().map(|(arm, _)| (arm, rounds(stream, arm, at))).collect();
    let most = curves.iter().map(|(_, points)| points.len()).max().unwrap_or(0);
    let longest = curves.iter().find(|(_, points)| points.len() == most);
    let seen = longest.map_or(Vec::new(), |(_, points)| points.iter().map(|p| p.0).collect());
    let mut head = vec!["ROUGE-1 after dialogues".to_owned()];
    head.extend(seen.iter().map(u64::to_string));
    let mut table = Table { head, numbers_from: 1, ..Table::default() };
    for (arm, points) in curves.iter().filter(|(_, points)| !points.is_empty()) {
        let mut row = vec![(*arm).clone()];
        row.extend(points.iter().map(|(_, y)| format!("{y:.4}")));
        row.resize(most + 1, String::new());
        table.rows.push(row);
    }
    table
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
        let of = |run: &super::load::Run, i: usize| {
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
