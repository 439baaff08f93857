//! How engines tell each other of states.
//!
//! Each engine has numbers of its own for nodes, messages and outers. A state goes from one to another
//! as a row of the sender's numbers, and before a number is used for the first time the sender says
//! how its part came about: by which step, of which node, on which message. The receiver takes the
//! same step itself. A step is a pure function, so both get the same part; nothing that a machine
//! or a ghost is made of is ever sent, and nothing of it needs an encoding. That both are of one build
//! shows in the fingerprints, which go with each state and must agree.

use serde::{Deserialize, Serialize};

use super::space::{Born, KINDS, LETTER, NODE, NONE, OUTER, Row, Space, What, each_part};

/// How parts came about, in the sender's numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Definition {
    /// The initial state: nodes, the outer, messages in the order of their content.
    Initial(Vec<u32>),
    /// A step.
    Step {
        before: u32,
        what: What,
        after: u32,
        sent: Vec<u32>,
        tells: u32,
    },
    /// A crash.
    Crash { before: u32, after: u32 },
    /// A traitor heard this and says that.
    Lies {
        traitor: u32,
        heard: Vec<u32>,
        said: Vec<u32>,
    },
    /// An outer after something was told.
    Tell { outer: u32, tells: u32, after: u32 },
    /// An outer after a client asked.
    Ask {
        outer: u32,
        client: u32,
        place: u32,
        after: u32,
    },
    /// An outer after a node crashed.
    Bury { outer: u32, place: u32, after: u32 },
    /// An outer once the adversary has retired.
    Retired { outer: u32, after: u32 },
    /// The outers after each cut, or after healing.
    Cuts { outer: u32, after: Vec<u32> },
}

/// What one other engine was told of.
#[derive(Default)]
pub(super) struct Teller {
    parts: [Marks; KINDS],
    tellings: Marks,
    /// What it is to be told next.
    pub(super) definitions: Vec<Definition>,
}

/// A set of small numbers.
#[derive(Default)]
struct Marks(Vec<bool>);

impl Marks {
    fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize).copied().unwrap_or(false)
    }

    fn insert(&mut self, number: u32) {
        let place = number as usize;
        if self.0.len() <= place {
            self.0.resize((place + 1).next_power_of_two(), false);
        }
        self.0[place] = true;
    }
}

impl Teller {
    /// The initial state comes first.
    pub(super) fn new(space: &Space<'_>, initial: &Row) -> Self {
        let mut teller = Self::default();
        for (kind, part) in each_part(space.places, initial) {
            teller.parts[kind].insert(part);
        }
        teller
            .definitions
            .push(Definition::Initial(in_order(space, initial)));
        teller
    }

    /// Makes sure that the other engine knows every part of a row.
    pub(super) fn define(&mut self, space: &Space<'_>, row: &Row) {
        for (kind, part) in each_part(space.places, row) {
            self.part(space, kind, part);
        }
    }

    fn part(&mut self, space: &Space<'_>, kind: usize, part: u32) {
        if self.parts[kind].contains(part) {
            return;
        }
        match space.born(kind, part) {
            Born::Initial => unreachable!("what is initial was told at once"),
            Born::Step(step) => self.step(space, step),
            Born::Crash(before) => {
                self.part(space, NODE, before);
                self.say(
                    NODE,
                    part,
                    Definition::Crash {
                        before,
                        after: part,
                    },
                );
            }
            Born::Lie(lies) => {
                let lies = space.lies.get(lies);
                for letter in &lies.heard {
                    self.part(space, LETTER, *letter);
                }
                let said: Vec<u32> = lies.said.iter().map(|(_, letter)| *letter).collect();
                for letter in &said {
                    self.parts[LETTER].insert(*letter);
                }
                self.definitions.push(Definition::Lies {
                    traitor: short(lies.traitor),
                    heard: lies.heard.to_vec(),
                    said,
                });
            }
            Born::Tell(outer, step) => {
                self.part(space, OUTER, outer);
                let tells = space.stepped(step).tells;
                if !self.tellings.contains(tells) {
                    self.step(space, step);
                }
                let after = part;
                self.say(
                    OUTER,
                    part,
                    Definition::Tell {
                        outer,
                        tells,
                        after,
                    },
                );
            }
            Born::Ask(outer, client, place) => {
                self.part(space, OUTER, outer);
                let after = part;
                self.say(
                    OUTER,
                    part,
                    Definition::Ask {
                        outer,
                        client,
                        place,
                        after,
                    },
                );
            }
            Born::Bury(outer, place) => {
                self.part(space, OUTER, outer);
                let after = part;
                self.say(
                    OUTER,
                    part,
                    Definition::Bury {
                        outer,
                        place,
                        after,
                    },
                );
            }
            Born::Retired(outer) => {
                self.part(space, OUTER, outer);
                let after = part;
                self.say(OUTER, part, Definition::Retired { outer, after });
            }
            Born::Cut(outer) => {
                self.part(space, OUTER, outer);
                let after = space.outers.get(outer).cuts.clone().unwrap_or_default();
                for next in &after {
                    self.parts[OUTER].insert(*next);
                }
                let after = after.into_vec();
                self.definitions.push(Definition::Cuts { outer, after });
            }
        }
    }

    fn say(&mut self, kind: usize, part: u32, definition: Definition) {
        self.parts[kind].insert(part);
        self.definitions.push(definition);
    }

    fn step(&mut self, space: &Space<'_>, step: u32) {
        let detail = &space.details[step as usize];
        let (before, what) = (detail.before, detail.what);
        self.part(space, NODE, before);
        if let What::Letter(letter) = what {
            self.part(space, LETTER, letter);
        }
        let stepped = space.stepped(step);
        let sent: Vec<u32> = space.sent(step).collect();
        self.parts[NODE].insert(stepped.after);
        for letter in &sent {
            self.parts[LETTER].insert(*letter);
        }
        if stepped.tells != NONE {
            self.tellings.insert(stepped.tells);
        }
        self.definitions.push(Definition::Step {
            before,
            what,
            after: stepped.after,
            sent,
            tells: stepped.tells,
        });
    }
}

/// Our numbers for those of one other engine.
#[derive(Default)]
pub(super) struct Listener {
    parts: [Vec<u32>; KINDS],
    tellings: Vec<u32>,
}

/// Two engines do not agree on what the world does.
#[derive(Debug)]
pub(super) struct Stranger;

impl Listener {
    /// Makes a part for ourselves.
    pub(super) fn learn(
        &mut self,
        space: &mut Space<'_>,
        definition: &Definition,
    ) -> Result<(), Stranger> {
        match definition {
            Definition::Initial(theirs) => {
                let (row, _) = space.initial();
                let ours = in_order(space, &row);
                if ours.len() != theirs.len() {
                    return Err(Stranger);
                }
                for ((kind, theirs), ours) in each_part(space.places, theirs).zip(ours) {
                    put(&mut self.parts[kind], theirs, ours);
                }
            }
            Definition::Step {
                before,
                what,
                after,
                sent,
                tells,
            } => {
                let what = match what {
                    What::Letter(letter) => What::Letter(self.ours(LETTER, *letter)?),
                    What::Call(_) | What::Timer(_) | What::Boot(_) => *what,
                };
                let before = self.ours(NODE, *before)?;
                let step = space.step(before, what).ok_or(Stranger)?;
                let stepped = space.stepped(step);
                put(&mut self.parts[NODE], *after, stepped.after);
                let ours: Vec<u32> = space.sent(step).collect();
                self.put_all(LETTER, sent, &ours)?;
                if (*tells == NONE) != (stepped.tells == NONE) {
                    return Err(Stranger);
                }
                if *tells != NONE {
                    put(&mut self.tellings, *tells, stepped.tells);
                }
            }
            Definition::Crash { before, after } => {
                let before = self.ours(NODE, *before)?;
                let crashed = space.crashed(before).ok_or(Stranger)?;
                put(&mut self.parts[NODE], *after, crashed);
            }
            Definition::Lies {
                traitor,
                heard,
                said,
            } => {
                let heard = heard.iter().map(|letter| self.ours(LETTER, *letter));
                let mut heard: Vec<u32> = heard.collect::<Result<_, _>>()?;
                heard.sort_unstable();
                let lies = space.lies(*traitor as usize, heard);
                let ours = space.lies.get(lies).said.iter();
                let ours: Vec<u32> = ours.map(|(_, letter)| *letter).collect();
                self.put_all(LETTER, said, &ours)?;
            }
            Definition::Tell {
                outer,
                tells,
                after,
            } => {
                let tells = self.tellings.get(*tells as usize).copied();
                let outer = self.ours(OUTER, *outer)?;
                let ours = space.tell(outer, tells.ok_or(Stranger)?);
                put(&mut self.parts[OUTER], *after, ours);
            }
            Definition::Ask {
                outer,
                client,
                place,
                after,
            } => {
                let ours = space.ask(self.ours(OUTER, *outer)?, *client, *place as usize);
                put(&mut self.parts[OUTER], *after, ours);
            }
            Definition::Bury {
                outer,
                place,
                after,
            } => {
                let buried = space.bury(self.ours(OUTER, *outer)?, *place as usize);
                put(&mut self.parts[OUTER], *after, buried.ok_or(Stranger)?);
            }
            Definition::Retired { outer, after } => {
                let ours = space.retired(self.ours(OUTER, *outer)?);
                put(&mut self.parts[OUTER], *after, ours);
            }
            Definition::Cuts { outer, after } => {
                let ours = space.cuts(self.ours(OUTER, *outer)?);
                self.put_all(OUTER, after, &ours)?;
            }
        }
        Ok(())
    }

    fn put_all(&mut self, kind: usize, theirs: &[u32], ours: &[u32]) -> Result<(), Stranger> {
        if theirs.len() != ours.len() {
            return Err(Stranger);
        }
        for (theirs, ours) in theirs.iter().zip(ours) {
            put(&mut self.parts[kind], *theirs, *ours);
        }
        Ok(())
    }

    fn ours(&self, kind: usize, theirs: u32) -> Result<u32, Stranger> {
        let known = self.parts[kind].get(theirs as usize).copied();
        known.filter(|ours| *ours != NONE).ok_or(Stranger)
    }

    /// Puts our row for theirs at the end of `into`.
    pub(super) fn translate(
        &self,
        places: usize,
        theirs: &Row,
        into: &mut Vec<u32>,
    ) -> Result<(), Stranger> {
        if theirs.len() <= places {
            return Err(Stranger);
        }
        let start = into.len();
        for node in &theirs[..places] {
            into.push(self.ours(NODE, *node)?);
        }
        into.push(self.ours(OUTER, theirs[places])?);
        for letter in &theirs[places + 1..] {
            into.push(self.ours(LETTER, *letter)?);
        }
        into[start + places + 1..].sort_unstable();
        Ok(())
    }
}

fn put(numbers: &mut Vec<u32>, theirs: u32, ours: u32) {
    let place = theirs as usize;
    if numbers.len() <= place {
        numbers.resize((place + 1).next_power_of_two(), NONE);
    }
    numbers[place] = ours;
}

/// The parts of the initial state, in an order that does not depend on numbers.
fn in_order(space: &Space<'_>, row: &Row) -> Vec<u32> {
    let (nodes, outer, letters) = space.parts(row);
    let letters = space.by_content(letters);
    nodes
        .iter()
        .copied()
        .chain([outer])
        .chain(letters)
        .collect()
}

fn short(place: usize) -> u32 {
    u32::try_from(place).expect("a world has at most 64 nodes")
}
