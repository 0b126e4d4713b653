//! Numbers over time as SVG: a chart with its axes and legend, and a tile with one number.
//!
//! No plotting library: what is needed are lines, ticks and words, and the text stays small enough to keep in the repository.

use std::fmt::Write;

/// A line of a chart: its name, and its values by the second.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Seconds since 1970, and the value then; values that are no numbers are gaps.
    pub points: Vec<(f64, f64)>,
}

/// Where something is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// To the right.
    pub width: f64,
    /// Down.
    pub height: f64,
}

/// Colours that people with colour blindness tell apart (Okabe and Ito, 2008, yellow darkened for a white ground), and two greys.
const COLOURS: [&str; 9] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a0522d", "#555555", "#999999"];
/// The most names in a legend: more would be smaller than one can read.
const NAMES: usize = 9;
const NAMES_A_LINE: usize = 3;
const PADDING: f64 = 12.0;

/// The beginning of a drawing.
#[must_use]
pub fn begin(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n\
         <style>.t{{font-size:13px;font-weight:bold;fill:#24292f}}.u{{font-size:11px;fill:#6e7781}}.a{{font-size:10px;fill:#6e7781}}.l{{font-size:10px;fill:#24292f}}.n{{font-size:30px;fill:#0072b2}}.h{{font-size:16px;font-weight:bold;fill:#24292f}}.g{{stroke:#e5e8eb}}.p{{fill:none;stroke-width:1.6;stroke-linejoin:round}}.b{{fill:#fff;stroke:#d0d7de}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f6f8fa\"/>\n"
    )
}

/// Its end.
#[must_use]
pub fn end() -> &'static str {
    "</svg>\n"
}

/// A heading.
#[must_use]
pub fn heading(x: f64, y: f64, text: &str) -> String {
    words(x, y, "h", "start", text)
}

/// A tile with one number.
#[must_use]
pub fn tile(frame: Frame, title: &str, unit: &str, value: Option<f64>) -> String {
    let Frame { x, y, width, height } = frame;
    let number = value.filter(|v| v.is_finite()).map_or_else(|| "-".to_owned(), |v| written(v, unit));
    let mut out = boxed(frame);
    out.push_str(&words(x + PADDING, y + 22.0, "t", "start", title));
    out.push_str(&words(x + width / 2.0, y + height / 2.0 + 22.0, "n", "middle", &number));
    out
}

/// A chart of these lines from `span.0` to `span.1`.
#[must_use]
pub fn chart(frame: Frame, title: &str, unit: &str, span: (f64, f64), lines: &[Line]) -> String {
    let Frame { x, y, width, height } = frame;
    let mut out = boxed(frame);
    out.push_str(&words(x + PADDING, y + 22.0, "t", "start", title));
    let rows = lines.len().min(NAMES).div_ceil(NAMES_A_LINE).max(1);
    let plot = Frame {
        x: x + 54.0,
        y: y + 36.0,
        width: width - 54.0 - 2.0 * PADDING,
        height: height - 36.0 - 24.0 - 15.0 * rows as f64 - 8.0,
    };
    let values = || lines.iter().flat_map(|l| l.points.iter().map(|(_, v)| *v)).filter(|v| v.is_finite());
    let (low, high, step) = axis(values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let across = |time: f64| plot.x + (time - span.0) / (span.1 - span.0) * plot.width;
    let down = |value: f64| plot.y + plot.height - (value - low) / (high - low) * plot.height;
    let ticks = ((high - low) / step).round() as usize;
    for tick in 0..=ticks {
        let value = low + step * tick as f64;
        let at = down(value);
        let _ = writeln!(out, "<path class=\"g\" d=\"M{:.0} {at:.1}H{:.0}\"/>", plot.x, plot.x + plot.width);
        out.push_str(&words(plot.x - 6.0, at + 3.5, "a", "end", &written(value, unit)));
    }
    let mut time = span.0;
    while time <= span.1 + 0.5 {
        let seconds = (time - span.0).round() as u64;
        let label = format!("{}:{:02}", seconds / 60, seconds % 60);
        out.push_str(&words(across(time), plot.y + plot.height + 14.0, "a", "middle", &label));
        time += 30.0;
    }
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        let mut pen_is_down = false;
        for (time, value) in &line.points {
            if value.is_finite() {
                let pen = if pen_is_down { 'L' } else { 'M' };
                let _ = write!(path, "{pen}{:.1} {:.1}", across(*time), down(*value));
            }
            pen_is_down = value.is_finite();
        }
        let _ = writeln!(out, "<path class=\"p\" stroke=\"{colour}\" d=\"{path}\"/>");
    }
    let column = (width - 2.0 * PADDING) / NAMES_A_LINE as f64;
    for (n, (line, colour)) in lines.iter().zip(COLOURS).take(NAMES).enumerate() {
        let left = x + PADDING + column * (n % NAMES_A_LINE) as f64;
        let top = y + height - 15.0 * (rows - n / NAMES_A_LINE) as f64 + 2.0;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>"
        );
        let more = lines.len().saturating_sub(NAMES);
        let name = if n + 1 == NAMES && more > 0 {
            format!("and {} more", more + 1)
        } else {
            shortened(&line.name, column)
        };
        out.push_str(&words(left + 14.0, top + 5.0, "l", "start", &name));
    }
    out
}

/// The axis for values between these: its ends, and the distance of its ticks (1, 2 or 5 times a power of ten).
fn axis(low: f64, high: f64) -> (f64, f64, f64) {
    let span = if high - low > 0.0 { high - low } else { 1.0 };
    let rough = span / 4.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * magnitude)
        .into_iter()
        .find(|s| *s >= rough * 0.999)
        .unwrap_or(rough);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    (low, if high > low { high } else { low + step }, step)
}

/// A value with its unit, by Grafana's names of units.
fn written(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "percentunit" => (value * 100.0, "%"),
        "reqps" | "ops" => (value, "/s"),
        "Bps" if value.abs() >= 1_000.0 => (value / 1_000.0, " kB/s"),
        "Bps" => (value, " B/s"),
        "ms" => (value, " ms"),
        "µs" if value.abs() >= 1_000.0 => (value / 1_000.0, " ms"),
        "µs" => (value, " µs"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        v if v >= 100.0 || v == v.round() => 0,
        v if v >= 1.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// As much of a name as fits into a column of a legend.
fn shortened(name: &str, column: f64) -> String {
    let most = ((column - 20.0) / 6.2) as usize;
    if name.chars().count() <= most {
        name.to_owned()
    } else {
        name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}

fn boxed(frame: Frame) -> String {
    let Frame { x, y, width, height } = frame;
    format!(
        "<rect class=\"b\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"4\"/>\n"
    )
}

fn words(x: f64, y: f64, class: &str, anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_ticks_and_holds_all_values() {
        for (low, high, want) in [
            (0.0, 9.7, (0.0, 10.0, 5.0)),
            (0.0, 8.0, (0.0, 8.0, 2.0)),
            (-0.3, 0.9, (-0.5, 1.0, 0.5)),
            (0.0, 0.0, (0.0, 0.5, 0.5)),
        ] {
            assert_eq!(axis(low, high), want, "{low} to {high}");
        }
    }

    #[test]
    fn values_carry_their_unit() {
        for (value, unit, want) in [
            (0.125, "percentunit", "12.5%"),
            (1_500.0, "µs", "1.5 ms"),
            (20.0, "ms", "20 ms"),
            (0.25, "reqps", "0.25/s"),
            (2_000.0, "Bps", "2 kB/s"),
            (7.0, "none", "7"),
        ] {
            assert_eq!(written(value, unit), want);
        }
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line_and_names_are_escaped() {
        let frame = Frame { x: 0.0, y: 0.0, width: 300.0, height: 200.0 };
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)];
        let drawn = chart(frame, "a < b", "none", (0.0, 4.0), &[Line { name: "x&y".into(), points }]);
        let line = drawn.lines().find(|l| l.starts_with("<path class=\"p\"")).unwrap();
        assert_eq!(line.split(" d=").nth(1).unwrap().matches('M').count(), 2, "{line}");
        assert!(drawn.contains("a &lt; b") && drawn.contains("x&amp;y"));
    }
}
