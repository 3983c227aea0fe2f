//! The section of one stream: what each arm reached, what it cost, how it came there.

use super::super::results::Row;
use super::super::stats;
use super::draw::{self, Bar, Line};
use super::load::{At, Loaded, Run, StreamRuns};
use super::page::{Block, Table};
use super::verdict::{self, percent};

/// One stream: its table, its curves, its bars.
pub fn section(loaded: &Loaded, stream: &StreamRuns, temperatures: &[f64]) -> Vec<Block> {
    let name = &stream.setup.name;
    let mut blocks = vec![Block::Heading(format!("Stream `{name}`"))];
    for (i, &temperature) in temperatures.iter().enumerate() {
        let at = loaded.main(temperature);
        if temperatures.len() > 1 {
            blocks.push(Block::Part(at_temperature(temperature)));
        }
        blocks.push(Block::Text(verdict::gate(stream, at).said(name)));
        blocks.push(Block::Table(figures(loaded, stream, at)));
        if i == 0 {
            blocks.push(Block::Table(costs(loaded, stream, at)));
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
pub(super) fn spread(figures: &[f64], digits: usize) -> String {
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
        let mean = |figure: fn(&Row) -> f64| stats::mean(&stream.figures(arm, at, figure));
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
            let of = |row: &&Row| row.temperature == at.temperature && row.installed;
            run.rows.iter().filter(of).count() as f64
        });
        let peak = runs.iter().map(|run| run.machine.peak_anonymous_bytes).max().unwrap_or(0);
        let first = |run: &&Run| {
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
