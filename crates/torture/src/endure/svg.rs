//! The samples as an SVG: one panel for each series, over minutes.

use std::fmt::Write;

use super::sample::{SERIES, Sample};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 130.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
/// Height of a panel's curve.
const PLOT: f64 = 80.0;

pub(super) fn draw(samples: &[Sample], rounds: u64) -> String {
    let minutes = samples.last().map_or(1.0, |sample| sample.at.as_secs_f64() / 60.0).max(f64::MIN_POSITIVE);
    let height = TOP + PANEL * SERIES.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{rounds} rounds of publish, open and drop in {minutes:.0} \
         minutes</text>\n"
    );
    for (index, (name, unit)) in SERIES.into_iter().enumerate() {
        let values: Vec<f64> = samples.iter().map(|sample| sample.values[index]).collect();
        let title = if unit.is_empty() { name.to_owned() } else { format!("{name},{unit}") };
        panel(&mut svg, TOP + PANEL * index as f64, &title, samples, &values, minutes);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A panel from zero to a little above the highest value.
fn panel(svg: &mut String, top: f64, title: &str, samples: &[Sample], values: &[f64], minutes: f64) {
    let most = values.iter().copied().fold(1.0, f64::max) * 1.1;
    let (right, bottom) = (WIDTH - 20.0, top + 20.0 + PLOT);
    let x = |at: f64| LEFT + (right - LEFT) * at / minutes;
    let y = |value: f64| bottom - PLOT * value / most;
    let mut points = String::new();
    for (sample, value) in samples.iter().zip(values) {
        let _ = write!(points, "{:.1},{:.1} ", x(sample.at.as_secs_f64() / 60.0), y(*value));
    }
    let (last, highest) = (values.last().copied().unwrap_or(0.0), values.iter().copied().fold(0.0, f64::max));
    let lines = [
        format!(
            "<text x=\"{LEFT}\" y=\"{:.1}\">{title}: at most {highest:.1}, at the end {last:.1}</text>",
            top + 12.0
        ),
        format!("<path d=\"M{LEFT},{:.1} V{bottom:.1} H{right:.1}\" fill=\"none\" stroke=\"#888\"/>", top + 20.0),
        format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most:.0}</text>", LEFT - 6.0, top + 30.0),
        format!("<text x=\"{:.1}\" y=\"{bottom:.1}\" text-anchor=\"end\">0</text>", LEFT - 6.0),
        format!("<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{minutes:.0} min</text>", bottom + 15.0),
        format!("<polyline points=\"{}\" fill=\"none\" stroke=\"#0b62a4\" stroke-width=\"1.5\"/>", points.trim_end()),
    ];
    for line in lines {
        svg.push_str(&line);
        svg.push('\n');
    }
}
