//! Draws a ladder: three parties, and who said what to whom, on one clock.

use std::fmt::Write as _;

use crate::trace::Direction;
use crate::trace::Entry;
use crate::trace::Event;
use crate::trace::head::Head;

/// Width of the space between two parties, in characters.
const WIDTH: usize = 34;

/// A party, by its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The trunk's side.
    Left,
    /// The gateway.
    Middle,
    /// The agent's side.
    Right,
}

/// One message or event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// When, in microseconds since any moment.
    pub at_us: u64,
    /// Who.
    pub from: Column,
    /// To whom; the same as `from` for an event of one party.
    pub to: Column,
    /// What.
    pub text: String,
}

/// Draws rungs as text, times in milliseconds since the first.
pub fn draw([left, middle, right]: [&str; 3], rungs: &[Rung]) -> String {
    let mut out = format!("{:>9}  {left:<WIDTH$} {middle:<WIDTH$} {right}\n", "ms");
    let Some(first) = rungs.first() else { return out };
    for rung in rungs {
        let us = rung.at_us.saturating_sub(first.at_us);
        // Writing into a string does not fail.
        let _written = writeln!(out, "{:>7}.{}  {}", us / 1_000, us % 1_000 / 100, line(rung));
    }
    out
}

/// One line: an arrow in the right gap, or a star below the party whose event it is.
fn line(rung: &Rung) -> String {
    let rail = format!("|{:WIDTH$}", "");
    // What the wire says must not draw lines of its own.
    let text: String = rung.text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if rung.from == rung.to {
        let star = format!("* {text}");
        return match rung.from {
            Column::Left => format!("{star:<pad$}{rail}|", pad = WIDTH + 1),
            Column::Middle => format!("{rail}{star:<pad$}|", pad = WIDTH + 1),
            Column::Right => format!("{rail}{rail}{star}"),
        };
    }
    let rightwards = rung.from < rung.to;
    let left = rung.from.min(rung.to);
    let room = WIDTH.saturating_sub(2);
    let text: String = text.chars().take(room.saturating_sub(4)).collect();
    let body = format!(" {text} ");
    let arrow = if rightwards { format!("-{body:-<room$}>") } else { format!("<{body:-<room$}-") };
    match left {
        Column::Left => format!("|{arrow}{rail}|"),
        Column::Middle | Column::Right => format!("{rail}|{arrow}|"),
    }
}

/// An entry of a trace, as it is drawn.
pub fn rung(entry: &Entry) -> Rung {
    let with =
        |name: &str, detail: Option<&str>| detail.map_or_else(|| name.to_owned(), |detail| format!("{name}: {detail}"));
    let (from, to, text) = match &entry.event {
        Event::Sip { path, start_line, method, .. } => {
            let (from, to) = ends(path.direction, Column::Left);
            (from, to, Head::summary(start_line, method))
        }
        Event::Signaling { direction, name, .. } => {
            let (from, to) = ends(*direction, Column::Right);
            (from, to, name.clone())
        }
        Event::Media { name, detail } => (Column::Middle, Column::Middle, with(name, detail.as_deref())),
        Event::State { name, detail } => {
            (Column::Middle, Column::Middle, with(&format!("[{name}]"), detail.as_deref()))
        }
        Event::Quirk { name, detail } => (Column::Middle, Column::Middle, with(&format!("quirk {name}"), Some(detail))),
    };
    Rung { at_us: entry.at_us, from, to, text }
}

const fn ends(direction: Direction, peer: Column) -> (Column, Column) {
    match direction {
        Direction::In => (peer, Column::Middle),
        Direction::Out => (Column::Middle, peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_drawn_in_the_order_given() {
        let rung = |at_us, from, to, text: &str| Rung { at_us, from, to, text: text.into() };
        let rungs = [
            rung(5_000_000, Column::Left, Column::Middle, "INVITE 1001"),
            rung(5_010_049, Column::Middle, Column::Right, "call.incoming"),
            rung(5_020_000, Column::Middle, Column::Left, "180 Ringing (INVITE)"),
            rung(6_000_000, Column::Right, Column::Right, "audio"),
        ];
        let text = draw(["PBX", "gateway", "agent"], &rungs);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[1].starts_with("      0.0  |- INVITE 1001 ---"), "{text}");
        assert!(lines[1].contains(">|"), "{text}");
        assert!(lines[2].contains("10.0") && lines[2].contains("|- call.incoming -"), "{text}");
        assert!(lines[3].contains("|< 180 Ringing (INVITE) ---"), "{text}");
        assert!(lines[4].starts_with("   1000.0") && lines[4].ends_with("* audio"), "{text}");
    }

    #[test]
    fn the_wire_draws_no_lines_of_its_own() {
        let event = Rung { at_us: 0, from: Column::Middle, to: Column::Middle, text: "a\r\n\u{1b}[2Jb".into() };
        let text = draw(["PBX", "gateway", "agent"], &[event]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("* a???[2Jb"), "{text}");
    }
}
