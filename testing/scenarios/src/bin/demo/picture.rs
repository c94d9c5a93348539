//! Picture of a rotation as an SVG document, made from a recording.

use std::{fmt::Write as _, time::Duration};

use rotation::Phase;

use crate::{
    consumers::BEHAVIORS,
    recording::{LoginSample, StateSample},
};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 20.0;
const PHASE_Y: f64 = 34.0;
const SECRET_Y: f64 = 78.0;
const CONSUMER_Y: f64 = 168.0;
const CONSUMER_HEIGHT: f64 = 26.0;
const ROW: f64 = 26.0;
/// Time that is shown before the rotation starts and after it ends.
const MARGIN: Duration = Duration::from_millis(1_500);

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.dim{fill:#57606a}\
.old{fill:#8c959f}.new{fill:#1f883d}.phase{fill:#ddf4ff;stroke:#54aeff}.fail{fill:#cf222e}\
.value{fill:#fff}.axis{stroke:#d0d7de}";

/// Part of the recording that shows one rotation.
struct Frame {
    number: u64,
    start: Duration,
    end: Duration,
}

impl Frame {
    /// Returns the frame of the first rotation that was recorded to its end.
    fn of_first_rotation(states: &[StateSample]) -> Option<Self> {
        let first = states.iter().find(|state| state.rotation.is_some())?;
        let (number, _) = first.rotation?;
        let is_over = |state: &&StateSample| state.at > first.at && state.rotation.is_none();
        let over = states.iter().find(is_over)?;
        Some(Self { number, start: first.at.saturating_sub(MARGIN), end: over.at + MARGIN })
    }

    fn x(&self, at: Duration) -> f64 {
        let at = at.clamp(self.start, self.end) - self.start;
        let share = at.as_secs_f64() / (self.end - self.start).as_secs_f64();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    /// Returns the CSS class of a value.
    fn class(&self, number: u64) -> &'static str {
        if number == self.number { "new" } else { "old" }
    }
}

/// Returns the picture of the first rotation, or `None` if none was recorded to its end.
pub(crate) fn draw(states: &[StateSample], logins: &[LoginSample]) -> Option<String> {
    let frame = Frame::of_first_rotation(states)?;
    let height = (2.0f64).mul_add(ROW, CONSUMER_HEIGHT.mul_add(3.0, CONSUMER_Y));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>A Staged rotation, recorded by make demo</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (y, text) in
        [(PHASE_Y, "phase"), (SECRET_Y, "Secret: first value"), (SECRET_Y + ROW, "fallback")]
    {
        label(&mut svg, y + 17.0, text);
    }
    draw_states(&mut svg, &frame, states);
    draw_logins(&mut svg, &frame, logins);
    draw_axis(&mut svg, &frame, height - ROW);
    svg.push_str("</svg>\n");
    Some(svg)
}

fn label(svg: &mut String, y: f64, text: &str) {
    let _ = writeln!(svg, "<text class=\"dim\" x=\"10\" y=\"{y:.0}\">{text}</text>");
}

/// Draws the phases, and the values of the Secret, each from its change to the next one.
fn draw_states(svg: &mut String, frame: &Frame, states: &[StateSample]) {
    let mut phases: Vec<Bar> = Vec::new();
    let mut firsts: Vec<Bar> = Vec::new();
    let mut fallbacks: Vec<Bar> = Vec::new();
    for (index, state) in states.iter().enumerate() {
        let until = states.get(index + 1).map_or(frame.end, |next| next.at);
        if until <= frame.start || state.at >= frame.end {
            continue;
        }
        let (x, end) = (frame.x(state.at), frame.x(until));
        if let Some((number, phase)) = state.rotation
            && number == frame.number
            && let Some(text) = phase_text(phase)
        {
            extend(&mut phases, Bar { x, end, class: "phase", text: text.to_owned() });
        }
        for (bars, number) in [&mut firsts, &mut fallbacks].into_iter().zip(&state.published) {
            let class = frame.class(*number);
            extend(bars, Bar { x, end, class, text: format!("number {number}") });
        }
    }
    for (y, bars) in [(PHASE_Y, phases), (SECRET_Y, firsts), (SECRET_Y + ROW, fallbacks)] {
        for bar in bars {
            bar.draw(svg, y);
        }
    }
}

/// Returns the name of a phase that lasts long enough to be seen.
fn phase_text(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Staging => Some("Staging: consumers read the pair"),
        Phase::Confirming => Some("Confirming"),
        Phase::Grace => Some("Grace: the old value stays"),
        Phase::Started | Phase::Activating | Phase::Withdrawing => None,
    }
}

struct Bar {
    x: f64,
    end: f64,
    class: &'static str,
    text: String,
}

impl Bar {
    fn draw(&self, svg: &mut String, y: f64) {
        let Self { x, end, class, text } = self;
        let (width, height) = (end - x - 1.0, ROW - 3.0);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{height}\" rx=\"3\"/>"
        );
        // About seven pixels for each character.
        if width > 7.0 * f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) {
            let class = if *class == "phase" { "" } else { "value" };
            let (x, y) = (x + 8.0, y + 16.0);
            let _ =
                writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.0}\">{text}</text>");
        }
    }
}

/// Appends a bar, or extends the last one if it shows the same.
fn extend(bars: &mut Vec<Bar>, bar: Bar) {
    match bars.last_mut() {
        Some(last) if last.text == bar.text => last.end = bar.end,
        _ => bars.push(bar),
    }
}

fn draw_logins(svg: &mut String, frame: &Frame, logins: &[LoginSample]) {
    for (index, behavior) in BEHAVIORS.iter().enumerate() {
        let y = CONSUMER_Y + CONSUMER_HEIGHT * index_as_f64(index);
        label(svg, y + 4.0, &format!("logins: {}", behavior.name));
    }
    for login in logins.iter().filter(|login| (frame.start..frame.end).contains(&login.at)) {
        let class = login.accepted.map_or("fail", |number| frame.class(number));
        let (x, y) =
            (frame.x(login.at), CONSUMER_Y + CONSUMER_HEIGHT * index_as_f64(login.consumer));
        let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4\"/>");
    }
}

fn index_as_f64(index: usize) -> f64 {
    f64::from(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Draws a line with a mark for every other second, and the legend.
fn draw_axis(svg: &mut String, frame: &Frame, y: f64) {
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{:.0}\" y2=\"{:.0}\"/>",
        WIDTH - RIGHT,
        y - 14.0,
        y - 14.0
    );
    let started = frame.start + MARGIN;
    for second in (0..=(frame.end - started).as_secs()).step_by(2) {
        let x = frame.x(started + Duration::from_secs(second));
        let _ = writeln!(
            svg,
            "<text class=\"dim\" x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"middle\">{second} s</text>"
        );
    }
    for (x, class, text) in [
        (LEFT, "old", "the old value is accepted"),
        (LEFT + 220.0, "new", "the new value is accepted"),
        (LEFT + 440.0, "fail", "a login fails"),
    ] {
        let _ =
            writeln!(svg, "<circle class=\"{class}\" cx=\"{:.0}\" cy=\"14\" r=\"5\"/>", x + 5.0);
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"18\">{text}</text>", x + 16.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seconds: u64, phase: Option<Phase>, published: &[u64]) -> StateSample {
        StateSample {
            at: Duration::from_secs(seconds),
            rotation: phase.map(|phase| (2, phase)),
            published: published.to_vec(),
        }
    }

    #[test]
    fn draws_the_first_completed_rotation() {
        let states = [
            state(1, None, &[1]),
            state(5, Some(Phase::Staging), &[1, 2]),
            state(11, Some(Phase::Confirming), &[2, 1]),
            state(13, Some(Phase::Grace), &[2, 1]),
            state(20, None, &[2]),
        ];
        let login =
            |at, accepted| LoginSample { at: Duration::from_secs(at), consumer: 1, accepted };
        let svg = draw(&states, &[login(6, Some(1)), login(14, Some(2)), login(15, None)]).unwrap();
        for text in
            ["Staging", "Grace", "class=\"old\" cx", "class=\"new\" cx", "class=\"fail\" cx"]
        {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        assert_eq!(draw(&states[..3], &[]), None, "the rotation has not ended");
    }
}
