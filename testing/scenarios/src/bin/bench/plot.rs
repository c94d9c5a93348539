//! Plots against the number of objects, as SVG.

use std::fmt::Write as _;

use crate::{
    figures::{self as f, Figure},
    results::{Results, Series, Spread},
    subject::Subject,
};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;
/// Colors that people with color blindness can tell apart (Okabe and Ito), on light and dark pages.
const COLORS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];
const GRAY: &str = "#808080";

/// Line of a plot.
struct Line {
    label: String,
    points: Vec<Point>,
}

struct Point {
    x: f64,
    y: Spread,
}

struct Plot {
    title: &'static str,
    y_title: &'static str,
    /// Times of controllers differ by orders of magnitude.
    is_logarithmic: bool,
    lines: Vec<Line>,
}

/// Returns the file names and contents of all plots.
pub(crate) fn all(results: &Results) -> [(&'static str, String); 3] {
    let memory = [("resident", &f::RESIDENT), ("anonymous", &f::ANONYMOUS)];
    let time = [("created → Ready", &f::READY), ("two bare writes", &f::BARE)];
    let requests = [("first sync", &f::REQUESTS), ("rotation", &f::ROTATION_REQUESTS)];
    let plot = |title, y_title, figures: &[(&str, &Figure)]| Plot {
        title,
        y_title,
        is_logarithmic: false,
        lines: lines(results, figures),
    };
    let time = plot("Time until all objects are Ready", "seconds", &time);
    [
        ("memory.svg", plot("Memory after the first sync", "MiB", &memory).svg()),
        ("time-to-ready.svg", Plot { is_logarithmic: true, ..time }.svg()),
        ("requests.svg", plot("API requests per object", "requests", &requests).svg()),
    ]
}

/// Returns a line for each subject and figure that was measured.
fn lines(results: &Results, figures: &[(&str, &Figure)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for subject in results.subjects() {
        for (name, figure) in figures {
            // Bytes that others allocate don't matter here, and the plot stays readable.
            if subject != Subject::Rotator && figure.key == f::ANONYMOUS.key {
                continue;
            }
            let point = |objects: usize| {
                let y = results.spread(Series { subject, objects }, figure)?;
                Some(Point { x: objects as f64, y })
            };
            let points: Vec<_> = results.objects(subject).into_iter().filter_map(point).collect();
            if !points.is_empty() {
                lines.push(Line { label: format!("{}: {name}", subject.title()), points });
            }
        }
    }
    lines
}

/// Scale from values to pixels, with round numbers as ticks.
struct Scale {
    ticks: Vec<f64>,
    is_logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// Returns a scale from 0 whose ticks are 1, 2 or 5 times a power of ten apart.
    fn linear(max: f64, from: f64, to: f64) -> Self {
        let rough = max.max(1e-9) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let factor = factors.into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
        let step = factor * power;
        let count = (max / step).ceil().max(1.0) as u32;
        let ticks = (0..=count).map(|tick| f64::from(tick) * step).collect();
        Self { ticks, is_logarithmic: false, from, to }
    }

    /// Returns a scale whose ticks are powers of ten.
    fn logarithmic(min: f64, max: f64, from: f64, to: f64) -> Self {
        let lowest = min.max(1e-3).log10().floor() as i32;
        let highest = (max.max(1e-3).log10().ceil() as i32).max(lowest + 1);
        let ticks = (lowest..=highest).map(|power| 10_f64.powi(power)).collect();
        Self { ticks, is_logarithmic: true, from, to }
    }

    fn position(&self, value: f64) -> f64 {
        let (min, max) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        let share = if self.is_logarithmic {
            (value.max(min) / min).log10() / (max / min).log10()
        } else {
            value / max
        };
        self.from + (self.to - self.from) * share
    }
}

impl Plot {
    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x_max = points().map(|point| point.x).fold(1.0, f64::max);
        let y_max = points().map(|point| point.y.max).fold(0.0, f64::max);
        let y_min = points().map(|point| point.y.min).fold(f64::INFINITY, f64::min).min(y_max);
        let top = TOP + 18.0 * self.lines.len() as f64;
        let x = Scale::linear(x_max, LEFT, WIDTH - RIGHT);
        let y = if self.is_logarithmic {
            Scale::logarithmic(y_min, y_max, HEIGHT - BOTTOM, top)
        } else {
            Scale::linear(y_max, HEIGHT - BOTTOM, top)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"{GRAY}\">\n\
             <title>{}</title>\n",
            self.title
        );
        text(&mut svg, WIDTH / 2.0, 24.0, "middle", &format!("{} ({})", self.title, self.y_title));
        self.axes(&mut svg, &x, &y);
        for (index, line) in self.lines.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            let y_legend = 48.0 + 18.0 * index as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{color}\"/>",
                y_legend - 6.0
            );
            text(&mut svg, LEFT + 20.0, y_legend, "start", &line.label);
            line.draw(&mut svg, &x, &y, color);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for &value in &y.ticks {
            let position = y.position(value);
            segment(svg, [x.from, position, x.to, position], GRAY, 0.3);
            text(svg, x.from - 8.0, position + 4.0, "end", &number(value));
        }
        for &value in &x.ticks {
            let position = x.position(value);
            segment(svg, [position, y.from, position, y.from + 5.0], GRAY, 1.0);
            text(svg, position, y.from + 20.0, "middle", &number(value));
        }
        text(svg, f64::midpoint(x.from, x.to), HEIGHT - 10.0, "middle", "objects");
    }
}

impl Line {
    /// Draws the medians, and the range from minimum to maximum as a bar.
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale, color: &str) {
        let position = |point: &Point| (x.position(point.x), y.position(point.y.median));
        let path: Vec<_> = self.points.iter().map(position).collect();
        let path = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.collect::<Vec<_>>().join(" ")
        );
        for point in &self.points {
            let (x, median) = position(point);
            segment(svg, [x, y.position(point.y.min), x, y.position(point.y.max)], color, 1.0);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{median:.1}\" r=\"3.5\" fill=\"{color}\"/>"
            );
        }
    }
}

fn segment(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], color: &str, opacity: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\" \
         stroke-opacity=\"{opacity}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// Formats the value of a tick without the error of floating-point numbers.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    #[test]
    fn ticks_are_round_numbers() {
        let scale = Scale::linear(47.0, 300.0, 100.0);
        assert_eq!(scale.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(scale.position(25.0), 200.0);
        let ticks: Vec<_> = Scale::linear(0.3, 0.0, 1.0).ticks.into_iter().map(number).collect();
        assert_eq!(ticks, ["0", "0.1", "0.2", "0.3"]);
        let scale = Scale::logarithmic(2.3, 202.0, 400.0, 100.0);
        assert_eq!(scale.ticks, [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!((scale.position(1.0), scale.position(100.0).round()), (400.0, 200.0));
    }

    #[test]
    fn plot_has_a_line_for_each_subject() {
        let mut results = Results::default();
        for subject in [Subject::Rotator, Subject::EsoTuned] {
            for objects in [500, 2_000] {
                let mut sample = Sample::new(subject, objects, 1);
                sample.set(&f::READY, objects as f64 / 200.0);
                results.samples.push(sample);
            }
        }
        let [_, (name, svg), _] = all(&results);
        assert_eq!((name, svg.matches("<polyline").count()), ("time-to-ready.svg", 2));
        assert!(svg.contains("External Secrets Operator, tuned: created → Ready"));
    }

    #[test]
    fn plot_without_results_is_empty() {
        assert!(all(&Results::default()).iter().all(|(_, svg)| !svg.contains("NaN")));
    }
}
