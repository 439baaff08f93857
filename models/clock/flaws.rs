//! The clocks with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use quorate::clock::{Dot, Hybrid, HybridTime, Lamport, Relation, Stamp, Vector, Version};
use quorate::machine::NodeId;

use super::paper::{RightSteps, Steps};
use super::replica::{Keep, Write};
use super::scribe::{HybridRule, LamportRule, Rule, VectorRule};

/// A rule, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed<R> {
    /// The right rule, which does all the rest.
    pub(super) right: R,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with the use of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Messages do not advance the clock. So it is with the textbook's versions.
    NoReceiveRule,
    /// A receipt counts from its own last event or has the time of the sending, whichever is later:
    /// the one that was added went to the wrong of the two.
    ReceiptNotLater,
    /// After a restart the clock begins anew.
    NotKept,
    /// Stamps do not say where.
    NoTieBreak,
    /// Equal vectors are taken for concurrent. So are the textbook's.
    EqualIsConcurrent,
    /// The counts of n2, which joined later, are dropped by those who did not know it at first. So
    /// does the textbook's.
    StrangersDropped,
    /// A receipt merges and does not count: it is no event.
    ReceiptIsNoEvent,
    /// A receipt takes the message's counts for its own, smaller ones too.
    TakenOver,
    /// The next time is one more than the last, or physical time if that is later: the paper's naive
    /// algorithm.
    Naive,
    /// The stamp is what the physical clock shows.
    WallClock,
    /// The counter goes on when physical time does.
    CounterNotReset,
}

impl Rule for Flawed<LamportRule> {
    type Clock = Lamport;
    type Stamp = Stamp;

    fn tick(&self, clock: &mut Lamport, me: NodeId, now: u64) -> Option<Stamp> {
        let stamp = self.right.tick(clock, me, now)?;
        Some(self.placed(stamp))
    }

    fn receive(&self, clock: &mut Lamport, me: NodeId, now: u64, sent: &Stamp) -> Option<Stamp> {
        let stamp = match self.flaw {
            Flaw::NoReceiveRule => self.right.tick(clock, me, now)?,
            Flaw::ReceiptNotLater => {
                let earlier = Stamp {
                    time: sent.time - 1,
                    ..*sent
                };
                self.right.receive(clock, me, now, &earlier)?
            }
            _ => self.right.receive(clock, me, now, sent)?,
        };
        Some(self.placed(stamp))
    }

    fn restart(&self, clock: &mut Lamport) {
        if self.flaw == Flaw::NotKept {
            *clock = Lamport::default();
        }
    }

    fn compare(&self, one: &Stamp, other: &Stamp) -> Relation {
        self.right.compare(one, other)
    }
}

impl Flawed<LamportRule> {
    fn placed(self, stamp: Stamp) -> Stamp {
        match self.flaw {
            Flaw::NoTieBreak => Stamp {
                node: NodeId(0),
                ..stamp
            },
            _ => stamp,
        }
    }
}

impl Rule for Flawed<VectorRule> {
    type Clock = Vector;
    type Stamp = Vector;

    fn tick(&self, clock: &mut Vector, me: NodeId, now: u64) -> Option<Vector> {
        self.right.tick(clock, me, now)
    }

    fn receive(&self, clock: &mut Vector, me: NodeId, now: u64, sent: &Vector) -> Option<Vector> {
        match self.flaw {
            Flaw::StrangersDropped => {
                let known = |node: NodeId| node.0 < 2 || node == me;
                let known: Vector = sent.iter().filter(|(node, _)| known(*node)).collect();
                self.right.receive(clock, me, now, &known)
            }
            Flaw::ReceiptIsNoEvent => {
                clock.merge(sent);
                Some(clock.clone())
            }
            Flaw::TakenOver => {
                let own = (me, clock.get(me));
                let others = sent.iter().filter(|(node, _)| *node != me);
                *clock = others.chain([own]).collect();
                self.right.tick(clock, me, now)
            }
            _ => self.right.receive(clock, me, now, sent),
        }
    }

    fn restart(&self, clock: &mut Vector) {
        if self.flaw == Flaw::NotKept {
            *clock = Vector::new();
        }
    }

    fn compare(&self, one: &Vector, other: &Vector) -> Relation {
        match (self.flaw, self.right.compare(one, other)) {
            (Flaw::EqualIsConcurrent, Relation::Equal) => Relation::Concurrent,
            (_, relation) => relation,
        }
    }
}

impl Rule for Flawed<HybridRule> {
    type Clock = Hybrid;
    type Stamp = HybridTime;

    fn tick(&self, clock: &mut Hybrid, me: NodeId, now: u64) -> Option<HybridTime> {
        let last = clock.latest();
        let time = match self.flaw {
            Flaw::Naive => HybridTime {
                physical: now.max(last.physical + 1),
                counter: 0,
            },
            Flaw::WallClock => HybridTime {
                physical: now,
                counter: 0,
            },
            Flaw::CounterNotReset => HybridTime {
                counter: last.counter + 1,
                ..self.right.tick(clock, me, now)?
            },
            _ => return self.right.tick(clock, me, now),
        };
        *clock = Hybrid::from(time);
        Some(time)
    }

    fn receive(
        &self,
        clock: &mut Hybrid,
        me: NodeId,
        now: u64,
        sent: &HybridTime,
    ) -> Option<HybridTime> {
        let last = clock.latest().max(*sent);
        let time = match self.flaw {
            Flaw::Naive | Flaw::CounterNotReset => {
                *clock = Hybrid::from(last);
                return self.tick(clock, me, now);
            }
            Flaw::WallClock => return self.tick(clock, me, now),
            _ => self.right.receive(clock, me, now, sent)?,
        };
        Some(time)
    }

    fn restart(&self, clock: &mut Hybrid) {
        if self.flaw == Flaw::NotKept {
            *clock = Hybrid::default();
        }
    }

    fn compare(&self, one: &HybridTime, other: &HybridTime) -> Relation {
        self.right.compare(one, other)
    }

    fn is_earned(stamp: &HybridTime, causes: &mut dyn Iterator<Item = &HybridTime>) -> bool {
        HybridRule::is_earned(stamp, causes)
    }
}

/// The receive rule as it was published with the paper's own specification for TLC: it compares with
/// `>` where the paper has "equal to the maximum", that is `>=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Published;

impl Steps for Published {
    fn send(&self, last: HybridTime, now: u64) -> HybridTime {
        RightSteps.send(last, now)
    }

    fn receive(&self, last: HybridTime, now: u64, sent: HybridTime) -> HybridTime {
        let ahead = last.physical > now;
        let counter = if ahead && last.physical == sent.physical {
            last.counter.max(sent.counter) + 1
        } else if ahead {
            last.counter + 1
        } else if last.physical < sent.physical {
            sent.counter + 1
        } else {
            0
        };
        HybridTime {
            physical: now.max(last.physical).max(sent.physical),
            counter,
        }
    }
}

/// What can be wrong with the keeping of siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlawedKeep {
    /// A version has no dot, and is told by its vector alone.
    NoDots,
    /// A write is numbered after those that its client had read, not after those that there are.
    NumberedByContext,
    /// A client is given the pasts of what it reads, without the dots.
    ContextWithoutDots,
    /// What arrives is kept beside what is there.
    NothingDropped,
    /// What arrives replaces what is there. So it does in the textbook's stores.
    ArrivalWins,
}

/// The vector of a version, its own write among the rest.
fn vector(version: &Version<Write>) -> Vector {
    let mut vector = version.past.clone();
    vector.merge(
        &[(version.dot.node, version.dot.counter)]
            .into_iter()
            .collect(),
    );
    vector
}

impl FlawedKeep {
    /// True if `new` is taken to overwrite `old`.
    fn overwrites(self, new: &Version<Write>, old: &Version<Write>) -> bool {
        match self {
            Self::NoDots => vector(old).compare(&vector(new)) == Relation::Before,
            Self::NothingDropped => false,
            _ => new.overwrites(old),
        }
    }
}

/// Versions are kept as they come: not all that is kept here could be siblings.
impl Keep for FlawedKeep {
    type Versions = Vec<Version<Write>>;

    fn write(&self, kept: &mut Self::Versions, me: NodeId, context: &Vector, write: Write) {
        let own = kept.iter().map(|version| vector(version).get(me)).max();
        let count = match self {
            Self::NumberedByContext => context.get(me),
            _ => context.get(me).max(own.unwrap_or(0)),
        };
        let version = Version {
            dot: Dot {
                node: me,
                counter: count + 1,
            },
            past: context.clone(),
            value: write,
        };
        kept.retain(|old| match self {
            Self::NothingDropped => !version.overwrites(old),
            _ => !self.overwrites(&version, old),
        });
        kept.push(version);
        kept.sort_unstable();
    }

    fn merge(&self, kept: &mut Self::Versions, other: &Self::Versions) {
        if *self == Self::ArrivalWins {
            kept.clone_from(other);
            return;
        }
        let mut all: Vec<Version<Write>> = kept.iter().chain(other).cloned().collect();
        all.sort_unstable();
        all.dedup_by(|one, other| one.dot == other.dot);
        let stays = |old: &&Version<Write>| !all.iter().any(|new| self.overwrites(new, old));
        *kept = all.iter().filter(stays).cloned().collect();
    }

    fn context(&self, kept: &Self::Versions) -> Vector {
        let mut context = Vector::new();
        for version in kept {
            context.merge(&match self {
                Self::ContextWithoutDots => version.past.clone(),
                _ => vector(version),
            });
        }
        context
    }

    fn values(kept: &Self::Versions) -> Vec<Write> {
        kept.iter().map(|version| version.value).collect()
    }
}
