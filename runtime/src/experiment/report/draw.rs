//! Drawings as SVG, by plotters: learning curves and bars. Their background is that of the page and
//! their text a grey that is read on light and on dark.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Grey of text and axes.
const GREY: RGBColor = RGBColor(125, 131, 139);
/// Grey of a mesh.
const FAINT: RGBAColor = RGBAColor(125, 131, 139, 0.22);
/// Colours that are told apart on both backgrounds, also by most who see fewer (Okabe and Ito 2008).
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(150, 140, 40),
    RGBColor(128, 100, 200),
    RGBColor(140, 86, 75),
    RGBColor(125, 131, 139),
];
/// Size of text.
const TEXT: u32 = 14;

/// The colour of the arm at `index` in a report's order.
const fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A line: its name, its colour's index, and its points.
pub struct Line {
    /// Its name.
    pub name: String,
    /// Which colour.
    pub colour: usize,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether it is drawn in dashes, as a reference that does not move.
    pub dashed: bool,
}

/// Lines over the same two axes. `None` where there is nothing to draw.
pub fn lines(lines: &[Line], across: &str, up: &str) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = range(points().map(|point| point.0), 0.0)?;
    let y = range(points().map(|point| point.1), 0.08)?;
    let (width, height) = (860, 400);
    let mut svg = String::new();
    let drawn = (|| -> Result<(), Box<dyn core::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let (plot, legend) = root.split_horizontally(width - 170);
        let mut chart = ChartBuilder::on(&plot)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let text = ("sans-serif", TEXT).into_font().color(&GREY);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(GREY)
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_desc(across)
            .y_desc(up)
            .x_labels(8)
            .y_labels(7)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.3}"))
            .draw()?;
        for (i, line) in lines.iter().enumerate() {
            let stroke = colour(line.colour).stroke_width(2);
            let points = line.points.iter().copied();
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(points, 6, 5, stroke))?;
            } else {
                chart.draw_series(LineSeries::new(points, stroke))?;
                let dot = |&at: &(f64, f64)| Circle::new(at, 3, colour(line.colour).filled());
                chart.draw_series(line.points.iter().map(dot))?;
            }
            let at = 24 + 22 * i as i32;
            let style = ("sans-serif", TEXT).into_font().color(&GREY);
            legend.draw(&PathElement::new([(0, at), (22, at)], stroke))?;
            let pos = style.pos(Pos::new(HPos::Left, VPos::Center));
            legend.draw(&Text::new(line.name.clone(), (30, at), pos))?;
        }
        root.present()?;
        Ok(())
    })();
    drawn.is_ok().then_some(svg)
}

/// A bar: its name, its colour's index, its length and the spread about its end.
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Which colour.
    pub colour: usize,
    /// Its length.
    pub value: f64,
    /// From and to.
    pub spread: Option<(f64, f64)>,
}

/// Bars under one another. `None` where there is nothing to draw.
pub fn bars(bars: &[Bar], across: &str) -> Option<String> {
    let ends = bars.iter().flat_map(|bar| {
        let (low, high) = bar.spread.unwrap_or((bar.value, bar.value));
        [low, high, bar.value, 0.0]
    });
    let x = range(ends, 0.04)?;
    let (width, height) = (860u32, 76 + 30 * bars.len() as u32);
    let mut svg = String::new();
    let drawn = (|| -> Result<(), Box<dyn core::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let rows = bars.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_right(80)
            .x_label_area_size(44)
            .y_label_area_size(150)
            .build_cartesian_2d(x.0..x.1, rows..0.0)?;
        let text = ("sans-serif", TEXT).into_font().color(&GREY);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(GREY)
            .label_style(text.clone())
            .axis_desc_style(text.clone())
            .x_desc(across)
            .x_labels(8)
            .x_label_formatter(&|x| format!("{x:.2}"))
            .draw()?;
        for (i, bar) in bars.iter().enumerate() {
            let (top, middle, bottom) = (i as f64 + 0.2, i as f64 + 0.5, i as f64 + 0.8);
            let corners = [(0.0, top), (bar.value, bottom)];
            chart.draw_series([Rectangle::new(corners, colour(bar.colour).mix(0.8).filled())])?;
            let mut end = bar.value.max(0.0);
            if let Some((low, high)) = bar.spread {
                let stroke = GREY.stroke_width(2);
                chart.draw_series([PathElement::new([(low, middle), (high, middle)], stroke)])?;
                end = end.max(high);
            }
            let style = text.clone().pos(Pos::new(HPos::Left, VPos::Center));
            let figure = EmptyElement::at((end, middle))
                + Text::new(format!("{:.3}", bar.value), (8, 0), style);
            chart.draw_series([figure])?;
            let style = text.clone().pos(Pos::new(HPos::Right, VPos::Center));
            let name =
                EmptyElement::at((x.0, middle)) + Text::new(bar.name.clone(), (-8, 0), style);
            chart.draw_series([name])?;
        }
        root.present()?;
        Ok(())
    })();
    drawn.is_ok().then_some(svg)
}

/// From the least to the greatest of `values` that are finite, and a share more on both sides.
fn range(values: impl Iterator<Item = f64>, more: f64) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let width = if high > low { high - low } else { 1e-3 };
    (low <= high).then_some((low - more * width, high + more * width + 1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_svg_with_every_name_and_nothing_draws_nothing() {
        let line = |name: &str, colour| Line {
            name: name.into(),
            colour,
            points: vec![(0.0, 0.1), (10.0, 0.2)],
            dashed: colour == 1,
        };
        let svg = lines(&[line("quality", 0), line("no & tuning", 1)], "dialogues", "ROUGE-1");
        let svg = svg.expect("a drawing");
        for part in ["<svg", "</svg>", "quality", "no &amp; tuning", "dialogues", "ROUGE-1"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        let bar = |value| Bar { name: "fifo".into(), colour: 2, value, spread: Some((0.1, 0.3)) };
        let svg = bars(&[bar(0.2), bar(-0.1)], "ROUGE-1").expect("a drawing");
        assert!(svg.contains("fifo") && svg.contains("0.200") && svg.contains("-0.100"));
        assert!(lines(&[], "x", "y").is_none() && bars(&[], "x").is_none());
        assert!(bars(&[bar(f64::NAN)], "x").is_some());
    }
}
