//! `ledgerflow bench plot`: latency against offered load, drawn from the lines that `bench pipeline --rate` printed.
//!
//! x: events offered a second, linear from 0. y: milliseconds, logarithmic. A pair of lines for each log: p50 dashed, p99
//! full. Everything is counted in whole units: a drawing is the same on every machine.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What is read of a measurement's line.
#[derive(Debug, Deserialize)]
struct Line {
    log: String,
    rate: Option<u64>,
    partitions: [u32; 2],
    latency_ms: Latency,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: Option<Box<RawValue>>,
    p99: Option<Box<RawValue>>,
}

/// p50 and p99 at an offered rate, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    rate: u64,
    p50: u64,
    p99: u64,
}

/// Points by log and internal partitions, ascending by rate.
type Series = BTreeMap<(String, u32), Vec<Point>>;

const WIDTH: u64 = 760;
const HEIGHT: u64 = 420;
const LEFT: u64 = 64;
const RIGHT: u64 = 32;
const TOP: u64 = 48;
const BOTTOM: u64 = 52;
const COLOURS: [&str; 4] = ["#1f6feb", "#d9480f", "#2b8a3e", "#862e9c"];

/// The drawing of the measurements in files.
///
/// # Errors
/// A file that cannot be read, and those of [`latency`].
pub fn files(paths: &[PathBuf]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for path in paths {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        lines.push_str(&text);
        lines.push('\n');
    }
    latency(&lines)
}

/// The drawing of the measurements in `lines`, each of one or more JSON lines.
///
/// # Errors
/// A line that is no measurement at a rate, with its number; no line at all.
pub fn latency(lines: &str) -> anyhow::Result<String> {
    let series = read(lines)?;
    let points = || series.values().flatten();
    let Some(most) = points().map(|point| point.rate).max() else { bail!("no measurement with a rate") };
    let axes = Axes {
        rates: round_up(most),
        low: points().map(|point| point.p50).min().unwrap_or(1).max(1),
        high: points().map(|point| point.p99).max().unwrap_or(1).max(1),
    };
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Latency against offered load: due time of an event to its durable balance; p99 full, p50 dashed</text>\n"
    )?;
    axes.draw(&mut svg)?;
    for (((log, partitions), points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        axes.line(&mut svg, points, |point| point.p50, colour, " stroke-dasharray=\"5 4\"")?;
        axes.line(&mut svg, points, |point| point.p99, colour, "")?;
        let name = format!("{log}, {partitions} partitions");
        legend(&mut svg, series.keys().position(|key| key.0 == *log && key.1 == *partitions), &name, colour)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn read(lines: &str) -> anyhow::Result<Series> {
    let mut series = Series::new();
    for (number, line) in (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let found: Line = serde_json::from_str(line)
            .with_context(|| format!("line {number} is not what `bench pipeline --rate` prints"))?;
        let (Some(rate), Some(p50), Some(p99)) = (found.rate, found.latency_ms.p50, found.latency_ms.p99)
        else {
            bail!("line {number} was not measured at a rate");
        };
        let of = |ms: &RawValue| micros(ms.get()).with_context(|| format!("line {number}: latency {ms}"));
        let point = Point { rate, p50: of(&p50)?, p99: of(&p99)? };
        series.entry((found.log, found.partitions[1])).or_default().push(point);
    }
    series.values_mut().for_each(|points| points.sort_by_key(|point| point.rate));
    Ok(series)
}

/// Microseconds of milliseconds with up to three decimals.
fn micros(ms: &str) -> Option<u64> {
    let (whole, rest) = ms.split_once('.').unwrap_or((ms, ""));
    let thousandths: u64 = format!("{rest:0<3}").get(..3)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)
}

/// The next 10,000.
const fn round_up(rate: u64) -> u64 {
    rate.div_ceil(10_000) * 10_000
}

/// 1,024 times the logarithm to base 2, cut.
fn log2(value: u64) -> u64 {
    let value = u128::from(value.max(1));
    let mut result = u64::from(value.ilog2()) << 10;
    // The mantissa between 1 and 2 in 32 bits; squaring it doubles its logarithm, and gives one bit of it.
    let mut mantissa = (value << 32) >> value.ilog2();
    for bit in (0..10).rev() {
        mantissa = (mantissa * mantissa) >> 32;
        if mantissa >= 2 << 32 {
            mantissa >>= 1;
            result |= 1 << bit;
        }
    }
    result
}

struct Axes {
    /// End of the x axis.
    rates: u64,
    /// Ends of the y axis, microseconds.
    low: u64,
    high: u64,
}

impl Axes {
    const fn x(&self, rate: u64) -> u64 {
        LEFT + rate * (WIDTH - LEFT - RIGHT) / self.rates
    }

    fn y(&self, micros: u64) -> u64 {
        let (low, high) = (log2(self.low * 4 / 5), log2(self.high * 5 / 4).max(1));
        let part = log2(micros).clamp(low, high) - low;
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM) / (high - low).max(1)
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for ms in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000] {
            let micros = ms * 1_000;
            if micros * 5 / 4 < self.low || micros > self.high * 5 / 4 {
                continue;
            }
            let y = self.y(micros);
            writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\" stroke=\"#e0e0e0\"/>")?;
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{ms} ms</text>", LEFT - 6, y + 4)?;
        }
        let step = round_up(self.rates.div_ceil(8));
        for rate in (0..=self.rates).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let x = self.x(rate);
            writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"{bottom}\" x2=\"{x}\" y2=\"{}\" stroke=\"#606060\"/>",
                bottom + 4
            )?;
            let label = if rate == 0 { "0".to_owned() } else { format!("{},000", rate / 1_000) };
            writeln!(svg, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", bottom + 18)?;
        }
        writeln!(
            svg,
            "<polyline points=\"{LEFT},{TOP} {LEFT},{bottom} {right},{bottom}\" fill=\"none\" stroke=\"#606060\"/>"
        )?;
        let middle = LEFT.midpoint(right);
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">events offered a second</text>",
            HEIGHT - 14
        )
    }

    fn line(
        &self,
        svg: &mut String,
        points: &[Point],
        of: impl Fn(&Point) -> u64,
        colour: &str,
        dashes: &str,
    ) -> std::fmt::Result {
        let places: Vec<(u64, u64)> =
            points.iter().map(|point| (self.x(point.rate), self.y(of(point)))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
        let path = path.join(" ");
        writeln!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"
        )?;
        for ((x, y), point) in places.iter().zip(points) {
            let (rate, ms) = (point.rate, of(point) / 1_000);
            writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"><title>{rate}/s: {ms} ms</title></circle>"
            )?;
        }
        Ok(())
    }
}

/// One entry of the legend: the p99 and p50 lines of a log.
fn legend(svg: &mut String, place: Option<usize>, name: &str, colour: &str) -> std::fmt::Result {
    let x = LEFT + u64::try_from(place.unwrap_or(0)).unwrap_or(0) * 240;
    let (p50, text) = (x + 30, x + 64);
    writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"34\" x2=\"{}\" y2=\"34\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        x + 24
    )?;
    writeln!(
        svg,
        "<line x1=\"{p50}\" y1=\"34\" x2=\"{}\" y2=\"34\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"5 4\"/>",
        p50 + 24
    )?;
    writeln!(svg, "<text x=\"{text}\" y=\"38\">{name}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(log: &str, rate: u64, p50: &str, p99: &str) -> String {
        format!(
            r#"{{"log":"{log}","rate":{rate},"partitions":[2,8],"latency_ms":{{"p50":{p50},"p99":{p99},"max":1,"measured":2}}}}"#
        )
    }

    #[test]
    fn logarithms_are_those_of_base_two() {
        for (value, want) in [(1, 0), (2, 1_024), (1_024, 10_240), (3, 1_623), (1_000_000, 20_409)] {
            assert_eq!(log2(value), want, "{value}");
        }
    }

    #[test]
    fn a_pair_of_lines_is_drawn_for_each_log() {
        let lines = [
            line("kafka", 20_000, "139.5", "262.2"),
            line("embedded", 50_000, "40.125", "80"),
            line("embedded", 20_000, "38.2", "58.3"),
        ];
        let svg = latency(&lines.join("\n")).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 1 + 4, "the axes, and p50 and p99 of each log");
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains("embedded, 8 partitions") && svg.contains("kafka, 8 partitions"));
        // More load lies to the right, longer lies higher.
        let axes = Axes { rates: 50_000, low: 38_200, high: 262_200 };
        assert!(axes.x(50_000) > axes.x(20_000) && axes.y(262_200) < axes.y(38_200));
        assert_eq!((axes.x(0), axes.x(50_000)), (LEFT, WIDTH - RIGHT));
    }

    #[test]
    fn what_is_no_measurement_at_a_rate_is_named() {
        let no_rate = line("embedded", 1, "1", "2").replace("\"rate\":1", "\"rate\":null");
        for (lines, told) in [
            ("{}".to_owned(), "line 1 is not what"),
            (format!("\n{no_rate}"), "line 2 was not measured at a rate"),
            (line("embedded", 1, "\"x\"", "2"), "line 1: latency"),
            (String::new(), "no measurement"),
        ] {
            let error = latency(&lines).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
