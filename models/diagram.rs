//! Sequence diagrams: a path as SVG, time downwards, one lifeline per node.
//!
//! A message is drawn where it arrives; the number in brackets is the step in which it was sent. One
//! that never arrives is not drawn. The step in which a promise falls is marked.

use std::fmt::Write as _;

use quorate::machine::{Machine, NodeId};

use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::snapshot::{Node, Snapshot};
use crate::story;
use crate::world::World;

// All in pixels.
const LANE: usize = 380;
const LEFT: usize = 190;
// Words at the last lifeline may be as long as those at any other.
const RIGHT: usize = 132;
const TOP: usize = 64;
const LINE: usize = 17;
const PAD: usize = 13;
const LETTER: usize = 7;

const INK: &str = "#24292f";
const FAINT: &str = "#8c959f";
const GOOD: &str = "#1a7f37";
const BAD: &str = "#cf222e";
const CUT: &str = "#9a6700";

/// A path, as stateright has it: each state with the action that leaves it.
pub type Steps<M, G> = [(Snapshot<M, G>, Option<Action<M>>)];

struct Picture<'a, M: Machine, G: Ghost<M>> {
    world: &'a World<M, G>,
    steps: &'a Steps<M, G>,
    body: String,
    y: usize,
}

/// Draws the path.
pub fn svg<M: Machine, G: Ghost<M>>(world: &World<M, G>, steps: &Steps<M, G>) -> String {
    let mut picture = Picture {
        world,
        steps,
        body: String::new(),
        y: TOP,
    };
    let falls = first_fall(world, steps);
    if let Some((0, promise)) = falls {
        picture.fall(promise, TOP);
    }
    for step in 0..steps.len().saturating_sub(1) {
        let above = picture.y;
        picture.step(step);
        if let Some((at, promise)) = falls
            && at == step + 1
        {
            picture.fall(promise, above);
        }
    }
    if world.promises().iter().any(|p| p.kind == Kind::Eventually)
        && let Some(number) = story::again(steps)
    {
        picture.again(number);
    }
    let width = width(world);
    let height = picture.y + 24;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"ui-monospace, DejaVu Sans Mono, monospace\" \
         font-size=\"12\"><rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>{}{}</svg>",
        picture.lanes(),
        picture.body
    )
}

/// The first state on the path at which a promise is broken, and which.
fn first_fall<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    steps: &Steps<M, G>,
) -> Option<(usize, &'static str)> {
    steps.iter().enumerate().find_map(|(at, (state, _))| {
        let broken = world
            .promises()
            .iter()
            .find(|promise| falls_in_states(promise.kind) && !world.is_met(promise, state));
        broken.map(|promise| (at, promise.name))
    })
}

/// True if it is states that break such a promise.
fn falls_in_states(kind: Kind) -> bool {
    match kind {
        Kind::Always | Kind::Recovers { .. } => true,
        Kind::Sometimes | Kind::Eventually => false,
    }
}

fn width<M: Machine, G: Ghost<M>>(world: &World<M, G>) -> usize {
    LEFT + LANE * world.len() + RIGHT
}

fn x(node: NodeId) -> usize {
    LEFT + LANE / 2 - LANE / 8 + LANE * usize::try_from(node.0).unwrap_or(0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Text of at most so many pixels; whoever wants the rest points at it.
fn fit(text: &str, width: usize) -> String {
    let letters = width / LETTER;
    if text.chars().count() <= letters {
        return escape(text);
    }
    let start: String = text.chars().take(letters.saturating_sub(1)).collect();
    format!("{}…<title>{}</title>", escape(&start), escape(text))
}

impl<M: Machine, G: Ghost<M>> Picture<'_, M, G> {
    fn text(&mut self, x: usize, y: usize, anchor: &str, colour: &str, text: &str, width: usize) {
        let _ = write!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
            fit(text, width)
        );
    }

    fn line(&mut self, from: (usize, usize), to: (usize, usize), colour: &str) {
        let _ = write!(
            self.body,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// An arrow to the right or to the left, with its head at `to`.
    fn arrow(&mut self, from: usize, to: usize, colour: &str) {
        let y = self.y;
        self.line((from, y), (to, y), colour);
        let back = if from < to { to - 9 } else { to + 9 };
        let _ = write!(
            self.body,
            "<polygon points=\"{to},{y} {back},{} {back},{}\" fill=\"{colour}\"/>",
            y - 4,
            y + 4
        );
    }

    /// The lifelines, and whose they are.
    fn lanes(&self) -> String {
        let mut lanes = String::new();
        for id in (0..self.world.len() as u64).map(NodeId) {
            let x = x(id);
            let traitor = matches!(self.steps.first().and_then(|(s, _)| s.node(id)), Some(n) if matches!(**n, Node::Traitor));
            let (name, colour) = if traitor {
                (format!("{id} (traitor)"), BAD)
            } else {
                (id.to_string(), INK)
            };
            let _ = write!(
                lanes,
                "<line x1=\"{x}\" y1=\"36\" x2=\"{x}\" y2=\"{}\" stroke=\"#d0d7de\"/><rect x=\"{}\" \
                 y=\"12\" width=\"96\" height=\"24\" rx=\"5\" fill=\"#f6f8fa\" stroke=\"{colour}\"/><text \
                 x=\"{x}\" y=\"28\" text-anchor=\"middle\" fill=\"{colour}\">{name}</text>",
                self.y + 12,
                x - 48
            );
        }
        lanes
    }

    fn step(&mut self, step: usize) {
        let (world, steps) = (self.world, self.steps);
        let (last, action) = &steps[step];
        let Some(action) = action else {
            return;
        };
        let next = &steps[step + 1].0;
        self.y += LINE;
        let y = self.y;
        self.text(8, y + 4, "start", FAINT, &format!("{}", step + 1), 40);
        let words = story::sentence_in(world, last, action);
        match action {
            Action::Call { client, node } => {
                let call = last
                    .clients
                    .get(*client)
                    .and_then(|at| world.call(*client, *at));
                let call = call.map(|call| format!("{call:?}")).unwrap_or_default();
                self.text(34, y + 4, "start", INK, &format!("client {client}"), 80);
                self.arrow(100, x(*node), INK);
                self.text(x(*node) + 8, y + 4, "start", INK, &call, LANE - 20);
            }
            Action::Deliver(letter) => {
                let message = format!("{:?} [{}]", letter.message, self.sent_in(step));
                self.message(letter.from, letter.to, &message, INK);
            }
            Action::Lie(letter) => {
                let message = format!("a lie: {:?}", letter.message);
                self.message(letter.from, letter.to, &message, BAD);
            }
            Action::Ring { node, timer } => {
                let words = format!("alarm: {timer:?}");
                self.mark(*node, INK, &words);
            }
            Action::Crash(node) => {
                let at = x(*node);
                self.line((at - 7, y - 7), (at + 7, y + 7), BAD);
                self.line((at - 7, y + 7), (at + 7, y - 7), BAD);
                self.text(at + 12, y + 4, "start", BAD, "crashes", LANE);
            }
            Action::Restart { node, .. } => {
                let words = words.replacen(&format!("{node} "), "", 1);
                self.mark(*node, GOOD, &words);
            }
            Action::Cut(_) | Action::Heal => {
                let width = LANE * world.len();
                let _ = write!(
                    self.body,
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"20\" fill=\"#fff8c5\" stroke=\"{CUT}\"/>",
                    LEFT - 60,
                    y - 10,
                    width + 40
                );
                self.text(LEFT - 50, y + 4, "start", CUT, &words, width);
            }
        }
        for (node, event) in world.events(last, action) {
            self.y += LINE;
            let words = format!("tells {event:?}");
            self.text(x(node) + 8, self.y + 4, "start", GOOD, &words, LANE - 20);
        }
        if let Some(broken) = &next.broken {
            self.y += LINE;
            let words = format!("{:?}", broken.fault);
            self.text(
                x(broken.node) + 8,
                self.y + 4,
                "start",
                BAD,
                &words,
                LANE - 20,
            );
        }
        self.y += PAD;
    }

    /// A message arrives: an arrow with its words above it.
    fn message(&mut self, from: NodeId, to: NodeId, words: &str, colour: &str) {
        let (start, end) = (x(from), x(to));
        let width = start.abs_diff(end).max(LANE) - 16;
        let y = self.y;
        self.text(
            usize::midpoint(start, end),
            y,
            "middle",
            colour,
            words,
            width,
        );
        self.y += 6;
        if from == to {
            self.mark(to, colour, "to itself");
        } else {
            self.arrow(start, end, colour);
        }
    }

    fn mark(&mut self, node: NodeId, colour: &str, words: &str) {
        let (at, y) = (x(node), self.y);
        let _ = write!(
            self.body,
            "<circle cx=\"{at}\" cy=\"{y}\" r=\"5\" fill=\"#ffffff\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
        self.text(at + 12, y + 4, "start", colour, words, LANE - 24);
    }

    /// The step in which the message of this step was last new.
    fn sent_in(&self, step: usize) -> usize {
        let Some(Action::Deliver(letter)) = &self.steps[step].1 else {
            return 0;
        };
        let has = |state: &Snapshot<M, G>| state.network.binary_search(letter).is_ok();
        (0..=step)
            .rev()
            .find(|at| *at == 0 || !has(&self.steps[at - 1].0))
            .unwrap_or(0)
    }

    /// Marks the last step: the promise is broken from here on.
    fn again(&mut self, number: usize) {
        self.y += LINE;
        let words = format!("and from step {number} on again, for ever");
        self.text(34, self.y, "start", BAD, &words, width(self.world));
        self.y += PAD;
    }

    fn fall(&mut self, promise: &str, above: usize) {
        let width = width(self.world);
        self.y += LINE;
        let _ = write!(
            self.body,
            "<rect x=\"3\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{BAD}\" \
             stroke-width=\"2\"/>",
            above,
            width - 6,
            self.y + 8 - above
        );
        let words = format!("here \u{201c}{promise}\u{201d} falls");
        self.text(34, self.y, "start", BAD, &words, width);
        self.y += PAD;
    }
}
