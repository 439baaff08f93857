//! What is claimed of [`quorate::detector`]: its worlds, its promises, and the flaws that refute them.

use std::fmt;

use quorate::data::{Map, NodeSet};
use quorate::detector::{Detector, Event};
use quorate::machine::NodeId;

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

mod flaws;
mod together;

use flaws::{Flaw, Flawed};
use together::{Together, Told};

/// Who crashed is suspected by every other one, within the time that it takes, and for ever.
pub const COMPLETENESS: &str = "strong completeness";
/// Nobody suspects a node that is alive more often than it takes to be patient enough.
pub const BOUNDED: &str = "mistakes are bounded";
/// In the calm, everyone who is alive is trusted by everyone.
pub const REVOKED: &str = "mistakes are revoked";

/// What was told: who crashed how long ago, who suspects whom, and how often by mistake.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    setting: Setting,
    /// Ticks since each crashed, as far as it matters.
    crashed: Map<NodeId, u64>,
    suspects: Map<NodeId, NodeSet>,
    /// How often somebody suspected one that was alive.
    mistakes: Map<(NodeId, NodeId), u32>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticks since crashes {:?}", self.crashed)?;
        write!(f, "; suspects {:?}", self.suspects)?;
        write!(
            f,
            "; mistakes {:?}, of which {} are allowed each",
            self.mistakes,
            self.setting.mistakes_max()
        )
    }
}

impl<M: Twin<Detector>> Ghost<Together<M>> for Ledger {
    fn ticket((): &()) -> Option<u64> {
        None
    }

    fn finished(_: &Told<Event>) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, told: &Told<Event>) {
        match told {
            Told::Ticked => {
                let enough = self.setting.detection_ticks() + 1;
                self.crashed = (self.crashed.iter())
                    .map(|(node, ticks)| (*node, enough.min(ticks + 1)))
                    .collect();
            }
            Told::Crashed(node) => {
                self.crashed.insert(*node, 0);
                self.suspects.remove(node);
                self.mistakes
                    .retain(|(one, other), _| one != node && other != node);
            }
            Told::Event(node, Event::Suspected { peer }) => {
                let suspects = self.suspects.entry_or_insert_with(*node, NodeSet::default);
                suspects.insert(*peer);
                if !self.crashed.contains_key(peer) {
                    let too_many = self.setting.mistakes_max() + 1;
                    let mistakes = self.mistakes.entry_or_insert_with((*node, *peer), || 0);
                    *mistakes = too_many.min(*mistakes + 1);
                }
            }
            Told::Event(node, Event::Trusted { peer }) => {
                let suspects = self.suspects.entry_or_insert_with(*node, NodeSet::default);
                suspects.remove(*peer);
            }
            Told::Event(_, Event::Suspects { .. }) => {}
        }
    }
}

impl Ledger {
    fn new(setting: Setting) -> Self {
        Self {
            setting,
            crashed: Map::new(),
            suspects: Map::new(),
            mistakes: Map::new(),
        }
    }

    fn survivors(&self) -> NodeSet {
        let gone: NodeSet = self.crashed.keys().copied().collect();
        self.setting.members().difference(gone)
    }

    fn suspects(&self, node: NodeId) -> NodeSet {
        self.suspects.get(&node).copied().unwrap_or_default()
    }

    /// True if everyone who crashed long enough ago is suspected by all that are alive.
    fn is_complete(&self) -> bool {
        let enough = self.setting.detection_ticks();
        let long_ago = self.crashed.iter().filter(|(_, ticks)| enough < **ticks);
        let long_ago: NodeSet = long_ago.map(|(node, _)| *node).collect();
        (self.survivors().iter()).all(|node| long_ago.is_subset(self.suspects(node)))
    }

    fn is_bounded(&self) -> bool {
        let most = self.setting.mistakes_max();
        self.mistakes.values().all(|mistakes| *mistakes <= most)
    }

    fn is_accurate(&self) -> bool {
        let alive = self.survivors();
        let mut all = alive.iter();
        all.all(|node| self.suspects(node).is_disjoint(alive))
    }
}

/// The numbers of a world, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Setting {
    nodes: usize,
    crashes: u32,
    heartbeat: u32,
    timeout: u32,
    step: u32,
    steps_max: u32,
    /// Within how many ticks a message arrives, which no node knows.
    delay_max: u32,
}

/// One of three may crash.
const THREE: Setting = Setting {
    nodes: 3,
    crashes: 1,
    heartbeat: 2,
    timeout: 3,
    step: 1,
    steps_max: 1,
    delay_max: 2,
};
/// Two nodes, and heartbeats that may come later than anyone would think.
const TWO: Setting = Setting {
    nodes: 2,
    timeout: 2,
    steps_max: 4,
    delay_max: 4,
    ..THREE
};
/// The first timeout is long enough.
const PATIENT: Setting = Setting {
    timeout: 4,
    ..THREE
};

/// Chandra and Toueg's model as it is among the TLA+ examples (`detector_chan96`): N = 3, T = 1, d0 = 2,
/// a heartbeat every second tick, Δ = Φ = 1. Its page says that TLC takes more than two hours. There a
/// process looks at its timeouts every third tick; here when they are over.
const PUBLISHED: Setting = Setting {
    timeout: 2,
    delay_max: 1,
    ..THREE
};

impl Setting {
    /// From n1 on: n0 is where they all are.
    fn members(self) -> NodeSet {
        (1..=self.nodes as u64).map(NodeId).collect()
    }

    /// After how many mistakes the timeout is longer than two heartbeats can be apart: one that leaves as
    /// soon as it may and arrives a tick later, and the next that arrives as late as it may.
    fn mistakes_max(self) -> u32 {
        let apart = self.heartbeat + self.delay_max - 1;
        (apart + 1).saturating_sub(self.timeout).div_ceil(self.step)
    }

    /// After how many ticks a crash is noticed: the last heartbeat arrives, and the timeout passes.
    fn detection_ticks(self) -> u64 {
        u64::from(self.delay_max + self.timeout + self.step * self.steps_max)
    }
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Together<M>, Ledger>;

/// How many may happen in a calm until the next heartbeat of each was heard.
const ROUNDS: u32 = 60;

/// A world in which all is promised that a failure detector promises.
fn world<M: Twin<Detector>>(
    name: &str,
    setting: Setting,
    make: impl Fn(Detector) -> M,
) -> Model<M> {
    let members = setting.members();
    let machine = |me| {
        make(Detector {
            me,
            members,
            heartbeat_ms: setting.heartbeat,
            timeout_ms: setting.timeout,
            step_ms: setting.step,
            steps_max: setting.steps_max,
        })
    };
    let together = Together {
        machines: members.iter().map(machine).collect(),
        delay_max: u64::from(setting.delay_max),
        crashes: setting.crashes,
    };
    let world = World::new(name, vec![together], Ledger::new(setting))
        .always_told(COMPLETENESS, |told| told.ghost.is_complete())
        .always_told(BOUNDED, |told| told.ghost.is_bounded())
        .recovers(REVOKED, ROUNDS, |snapshot: &Snapshot<_, Ledger>| {
            snapshot.ghost.is_accurate()
        });
    let world = if setting.mistakes_max() > 0 {
        world.sometimes_told("a node makes every mistake that it may", move |told| {
            let mut mistakes = told.ghost.mistakes.values();
            mistakes.any(|mistakes| *mistakes == setting.mistakes_max())
        })
    } else {
        world
    };
    if setting.crashes == 0 {
        return world;
    }
    world.sometimes_told("a crash was long enough ago", move |told| {
        let mut crashed = told.ghost.crashed.values();
        crashed.any(|ticks| setting.detection_ticks() < *ticks)
    })
}

fn right(name: &str, setting: Setting) -> Model<Detector> {
    world(name, setting, |right| right)
}

fn flawed(flaw: Flaw, name: &str, setting: Setting) -> Model<Flawed> {
    world(name, setting, move |right| Flawed { right, flaw })
}

/// Failure detectors, their worlds and their flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "detector",
        summary: "failure detectors: heartbeats, and timeouts that learn",
        worlds: worlds(),
        flaws: flaws(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(570_876, 1_536_377, || {
            // Calms are left to two nodes, for no pair depends on any other.
            right("three", THREE).except(REVOKED).says(
                "three nodes of which one may crash: a heartbeat in two ticks, messages that take \
                 one or two, and a first timeout of three",
            )
        }),
        Claimed::holds(0, 0, || {
            right("published", PUBLISHED).says(
                "the numbers at which TLC is said to take more than two hours: three nodes of which \
                 one may crash, a heartbeat in two ticks that arrives within one, a first timeout of \
                 two",
            )
        }),
        Claimed::holds(11_990, 33_862, || {
            right("two", TWO)
                .says("two nodes of which one may crash, and messages that take up to four ticks")
        }),
        Claimed::holds(15_709, 32_335, || {
            right("patient", PATIENT)
                .says("three nodes of which one may crash, and a first timeout that is long enough")
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    let calm = Setting { crashes: 0, ..TWO };
    // The timeout is shorter than the time between two heartbeats.
    let hasty = Setting {
        timeout: 1,
        steps_max: 2,
        delay_max: 1,
        ..calm
    };
    let patient = Setting {
        nodes: 2,
        crashes: 0,
        ..PATIENT
    };
    let crash = Setting {
        nodes: 2,
        ..PATIENT
    };
    vec![
        Claimed::falls(COMPLETENESS, 13, move || {
            flawed(Flaw::StampsEverybody, "stamps-everybody", crash)
                .says("a monitor stamps everybody itself whenever it beats, as in the textbook")
        }),
        Claimed::falls(BOUNDED, 30, move || {
            let fixed = Setting {
                nodes: 2,
                crashes: 0,
                steps_max: 0,
                ..THREE
            };
            right("fixed-timeout", fixed).says("the timeout does not grow, as in the textbook")
        }),
        Claimed::falls(BOUNDED, 0, move || {
            flawed(Flaw::NeverHeardOf, "never-heard-of", patient)
                .says("who was not heard of yet has been silent for ever, as in the textbook")
        }),
        Claimed::falls(REVOKED, 5, move || {
            flawed(Flaw::DeathIsFinal, "death-is-final", calm)
                .says("a heartbeat that comes late kills for good, as in the textbook")
        }),
        Claimed::falls(REVOKED, 10, move || {
            flawed(Flaw::TrustedAlone, "trusted-alone", hasty).says(
                "who is suspected gets no more heartbeats, as in the textbook: two who suspect each \
                 other never hear from each other again",
            )
        }),
    ]
}
