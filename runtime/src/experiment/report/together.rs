//! The section of the counted streams together: a table and a drawing.

use super::super::stats;
use super::draw::{self, Bar};
use super::load::{At, Loaded};
use super::page::{Block, Table};
use super::verdict::{self, effect, percent};

/// The counted streams together: each arm against one baseline.
pub fn section(loaded: &Loaded, at: At) -> Vec<Block> {
    let Some(base) = verdict::common_baseline(loaded, at) else { return Vec::new() };
    let over = format!("gain over {base}, 95%");
    let mut table = Table::new(&["policy", "streams", "ROUGE-1", "annotations", &over, "shown"]);
    table.numbers_from = 1;
    let mut bars = Vec::new();
    for (i, (arm, _)) in loaded.arms.iter().enumerate() {
        let [value, _] = verdict::means(loaded, arm, at);
        if value.is_finite() {
            let all: Vec<f64> =
                verdict::counted(loaded, at).filter_map(|s| s.rouge1(arm, at)).collect();
            let spread = stats::deviation(&all).map(|sd| (value - sd, value + sd));
            bars.push(Bar { name: arm.clone(), colour: i, value, spread });
        }
    }
    for (arm, _) in loaded.arms.iter().filter(|(arm, _)| arm != "none" && arm != base) {
        let Some((gain, streams)) = verdict::together(loaded, arm, base, at) else { continue };
        if gain.low > 0.0 && loaded.candidates().contains(&arm.as_str()) {
            table.strong.push(table.rows.len());
        }
        let [rouge1, asked] = verdict::means(loaded, arm, at);
        table.rows.push(vec![
            arm.clone(),
            streams.to_string(),
            format!("{rouge1:.4}"),
            format!("{asked:.0}"),
            percent(&gain),
            effect(&gain).into(),
        ]);
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    let [rouge1, asked] = verdict::means(loaded, base, at);
    let mut blocks = vec![
        Block::Heading("The counted streams together".into()),
        Block::Text(format!(
            "Over all counted streams, each with the same weight, against the baseline of the highest \
             mean, `{base}` ({rouge1:.4}, {asked:.0} annotations). The interval is Student's over \
             streams: what a stream more would show."
        )),
        Block::Table(table),
    ];
    let svg = draw::bars(&bars, "ROUGE-1 after the last round");
    blocks.extend(svg.map(|svg| Block::Figure {
        file: "bars-together.svg".into(),
        svg,
        caption: "the counted streams: mean and standard deviation over streams".into(),
    }));
    blocks
}
