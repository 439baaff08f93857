//! The table as a picture.

use std::fmt::Write as _;

use quorate::cap::Level;

use super::{Cell, FAULTS, Fault, LEVELS, Matrix, PROPERTIES, Property, Verdict, level};

/// The side of a mark, with the gap to the next.
const MARK: usize = 17;
const CELL_WIDTH: usize = 5 * MARK + 9;
const CELL_HEIGHT: usize = MARK + 13;
const PANEL_WIDTH: usize = 3 * CELL_WIDTH;
const PANEL_GAP: usize = 26;
const LEFT: usize = 104;
const TOP: usize = 98;
const WIDTH: usize = LEFT + 3 * PANEL_WIDTH + 2 * PANEL_GAP + 20;
const HEIGHT: usize = TOP + 3 * CELL_HEIGHT + 64;

const STYLE: &str = "\
<style>\
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600;font-size:14px}\
.small{fill:#57606a}\
.mark{font-size:10px;font-weight:600;text-anchor:middle}\
.kept{fill:#0f5a47}\
.kept+text{fill:#fff}\
.falls{fill:#fff;stroke:#c9ced4}\
.falls+text{fill:#8c959f}\
.cell{fill:#f6f8fa;stroke:#d0d7de}\
.both{stroke:#0f5a47;stroke-width:2}\
</style>";

impl Matrix {
    /// The table as a picture, in SVG: the same in every run.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
             <title>The CAP matrix: what is kept, by how many nodes gets and puts hear</title>\n\
             {STYLE}\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#fff\"/>\n"
        );
        text(
            &mut svg,
            20,
            28,
            "title",
            "What a store of three nodes keeps, computed in every reachable state",
        );
        for (place, fault) in FAULTS.into_iter().enumerate() {
            self.panel(&mut svg, LEFT + place * (PANEL_WIDTH + PANEL_GAP), fault);
        }
        text(&mut svg, 20, TOP - 10, "small", "a put hears");
        for (row, writes) in LEVELS.into_iter().enumerate() {
            let y = TOP + row * CELL_HEIGHT + CELL_HEIGHT / 2 + 4;
            text(&mut svg, 20, y, "", hears(writes));
        }
        legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn panel(&self, svg: &mut String, left: usize, fault: Fault) {
        let says = match fault {
            Fault::None => "nothing else goes wrong",
            Fault::Crash => "one node may crash",
            Fault::Cut => "one node may be cut off",
        };
        text(svg, left, 56, "title", says);
        for (column, reads) in LEVELS.into_iter().enumerate() {
            let x = left + column * CELL_WIDTH;
            let says = match column {
                0 => format!("a get hears {}", hears(reads)),
                _ => hears(reads).to_owned(),
            };
            // Two lines, for the first is too long for its column.
            match says.strip_prefix("a get hears ") {
                Some(rest) => {
                    text(svg, x, TOP - 24, "small", "a get hears");
                    text(svg, x, TOP - 8, "", rest);
                }
                None => text(svg, x, TOP - 8, "", &says),
            }
            for (row, writes) in LEVELS.into_iter().enumerate() {
                if let Some(cell) = self.cell(reads, writes, fault) {
                    draw(svg, x, TOP + row * CELL_HEIGHT, cell);
                }
            }
        }
    }
}

fn hears(one: Level) -> &'static str {
    match one {
        Level::Local => "itself",
        Level::Quorum => "a majority",
        Level::All => "all",
    }
}

fn text(svg: &mut String, x: usize, y: usize, class: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{words}</text>"
    );
}

/// A cell: a mark for each property, filled if it is kept.
fn draw(svg: &mut String, x: usize, y: usize, cell: &Cell) {
    let both = cell.keeps(Property::Linearizable) && cell.keeps(Property::Available);
    let class = if both { "cell both" } else { "cell" };
    let (width, height) = (CELL_WIDTH - 4, CELL_HEIGHT - 4);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\" class=\"{class}\">\
         <title>gets {}, puts {}, {}: {} states</title></rect>",
        level(cell.reads),
        level(cell.writes),
        cell.fault.name(),
        cell.states
    );
    for (place, verdict) in cell.verdicts.iter().enumerate() {
        mark(svg, x + 5 + place * MARK, y + 6, verdict);
    }
}

fn mark(svg: &mut String, x: usize, y: usize, verdict: &Verdict) {
    let Verdict { property, refuted } = verdict;
    let (class, says) = match refuted {
        None => ("kept", "kept".to_owned()),
        Some(refuted) => ("falls", format!("refuted in {} steps", refuted.steps)),
    };
    let side = MARK - 3;
    let _ = writeln!(
        svg,
        "<g><title>{}: {says}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" rx=\"2\" class=\"{class}\"/>\
         <text x=\"{}\" y=\"{}\" class=\"mark\">{}</text></g>",
        property.name(),
        x + side / 2,
        y + side - 3,
        property.letter()
    );
}

fn legend(svg: &mut String) {
    let y = HEIGHT - 40;
    let mut x = 20;
    for property in PROPERTIES {
        let verdict = Verdict {
            property,
            refuted: None,
        };
        mark(svg, x, y - 11, &verdict);
        text(svg, x + MARK + 3, y, "", property.name());
        x += MARK + 26 + property.name().len() * 7;
    }
    let says = "Hollow: refuted, with a shortest story. Framed: linearizable and available at once, \
                which during a cut no cell is.";
    text(svg, 20, HEIGHT - 16, "small", says);
}
