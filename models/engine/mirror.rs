//! One name for all mirror images of a state.
//!
//! The fingerprint of a mirror image is the sum of those of the images of its parts, and there are
//! few parts. So no image of a state is ever made: it is enough to know which renaming to look at.
//! Nodes that are alike are put in the order of what the state looks like to each of them
//! ([`Look`]), and the renaming that gives them their places in that order leads to the same image
//! from every mirror image, unless the state looks alike to several. Then either swapping
//! neighbours among those leads back to the very same state, and any order of them will do, or all
//! orders are tried, and the image with the least fingerprint stands for all.
//!
//! What the looks miss costs time, never a state: what is compared in the end are images.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use super::space::{KINDS, Row, Space, each_part};
use crate::symmetry::{Look, Renaming};

/// Mirror images, as far as they were asked for.
pub(super) struct Mirrors {
    /// The nodes that are alike, kind by kind.
    alike: Vec<NodeSet>,
    /// All of them, kind by kind: their places.
    members: Vec<usize>,
    /// Where each kind ends in `members`.
    ends: Vec<usize>,
    /// How many nodes there are.
    count: usize,
    /// What each part looks like to each member, part by part.
    looks: [Vec<u64>; KINDS],
    /// Renamings, by the new place of each member.
    numbers: HashMap<Box<[u8]>, usize, FixedState>,
    renamings: Vec<Images>,
    /// The numbers of images, for those who ask for whole rows.
    rows: HashMap<(usize, usize, u32), u32, FixedState>,
    // Scratch.
    tally: Vec<u64>,
    order: Vec<usize>,
    places: Vec<u8>,
}

/// A renaming, and the fingerprints of what it makes of parts: zero if that was not asked for.
struct Images {
    renaming: Renaming,
    is_identity: bool,
    prints: [Vec<u64>; KINDS],
}

impl Mirrors {
    /// Nothing if no nodes of the world are alike.
    pub(super) fn new(count: usize, alike: &[NodeSet]) -> Option<Self> {
        if alike.iter().all(|kind| kind.len() < 2) {
            return None;
        }
        let place = |id: NodeId| usize::try_from(id.0).expect("a node of this world");
        let (mut members, mut ends) = (Vec::new(), Vec::new());
        for kind in alike {
            members.extend(kind.iter().map(place));
            ends.push(members.len());
        }
        Some(Self {
            alike: alike.to_vec(),
            tally: vec![0; members.len()],
            order: Vec::new(),
            places: Vec::new(),
            members,
            ends,
            count,
            looks: Default::default(),
            numbers: HashMap::default(),
            renamings: Vec::new(),
            rows: HashMap::default(),
        })
    }

    /// The fingerprint that stands for all mirror images of `row`, whose own is `print`.
    pub(super) fn canonical(&mut self, space: &Space<'_>, row: &Row, print: u64) -> u64 {
        let mut least = None;
        self.each_candidate(space, row, print, |mirrors, renaming| {
            let image = mirrors.image(space, renaming, row, print);
            least = Some(least.map_or(image, |least: u64| least.min(image)));
        });
        least.unwrap_or(print)
    }

    /// The mirror image that stands for all, and its fingerprint.
    pub(super) fn canonical_row(
        &mut self,
        space: &mut Space<'_>,
        row: &Row,
        print: u64,
    ) -> (u64, Vec<u32>) {
        let mut candidates = Vec::new();
        self.each_candidate(space, row, print, |mirrors, renaming| {
            candidates.push((mirrors.image(space, renaming, row, print), renaming));
        });
        let least = candidates.iter().map(|(image, _)| *image).min();
        let least = least.unwrap_or(print);
        let images = candidates.into_iter().filter(|(image, _)| *image == least);
        let rows = images.map(|(_, renaming)| self.image_row(space, renaming, row));
        (least, rows.min().unwrap_or_else(|| row.to_vec()))
    }

    /// Calls `visit` with renamings of which one leads to the image that stands for all.
    fn each_candidate(
        &mut self,
        space: &Space<'_>,
        row: &Row,
        print: u64,
        mut visit: impl FnMut(&mut Self, usize),
    ) {
        self.sum_up(space, row);
        // In each kind, by looks.
        self.order.clear();
        self.order.extend(0..self.members.len());
        let mut start = 0;
        for end in &self.ends {
            self.order[start..*end].sort_by_key(|member| self.tally[*member]);
            start = *end;
        }
        let open = self.ties(space, row, print);
        self.permute(&open, 0, &mut visit);
    }

    /// What the state looks like to each member.
    fn sum_up(&mut self, space: &Space<'_>, row: &Row) {
        self.learn(space);
        self.tally.fill(0);
        let width = self.members.len();
        for (kind, part) in each_part(space.places, row) {
            let start = part as usize * width;
            let looks = &self.looks[kind][start..start + width];
            for (sum, look) in self.tally.iter_mut().zip(looks) {
                *sum = sum.wrapping_add(*look);
            }
        }
    }

    /// Looks at the parts that are new.
    fn learn(&mut self, space: &Space<'_>) {
        let width = self.members.len();
        for kind in 0..KINDS {
            for part in self.looks[kind].len() / width..space.count(kind) {
                let part = u32::try_from(part).expect("fewer than 2^32 parts");
                for member in &self.members {
                    let look = Look {
                        kinds: &self.alike,
                        me: NodeId(*member as u64),
                    };
                    self.looks[kind].push(space.contents().look(kind, part, &look));
                }
            }
        }
    }

    /// Runs of members in `order` to whom the state looks alike, less those whom it makes no
    /// difference to swap.
    fn ties(&mut self, space: &Space<'_>, row: &Row, print: u64) -> Vec<(usize, usize)> {
        let mut open = Vec::new();
        let mut start = 0;
        while start < self.order.len() {
            let look = self.tally[self.order[start]];
            let kind_end = *self.ends.iter().find(|end| start < **end).expect("a kind");
            let mut end = start + 1;
            while end < kind_end && self.tally[self.order[end]] == look {
                end += 1;
            }
            let all_the_same = (start + 1..end).all(|at| {
                let (one, other) = (self.order[at - 1], self.order[at]);
                self.places.clear();
                let places = self.members.iter().map(|place| short(*place));
                self.places.extend(places);
                self.places.swap(one, other);
                let swap = self.number();
                self.image(space, swap, row, print) == print
            });
            if start + 1 < end && !all_the_same {
                open.push((start, end));
            }
            start = end;
        }
        open
    }

    /// Tries all orders of what is open, from the place `at` of the first run on.
    fn permute(
        &mut self,
        open: &[(usize, usize)],
        at: usize,
        visit: &mut impl FnMut(&mut Self, usize),
    ) {
        let Some((start, end)) = open.first().copied() else {
            // The member that comes at some place of the order gets the name of the one at that
            // place of the kind.
            self.places.clear();
            self.places.resize(self.members.len(), 0);
            for (place, member) in self.order.iter().enumerate() {
                self.places[*member] = short(self.members[place]);
            }
            let renaming = self.number();
            return visit(self, renaming);
        };
        if start + at + 1 == end {
            return self.permute(&open[1..], 0, visit);
        }
        for other in start + at..end {
            self.order.swap(start + at, other);
            self.permute(open, at + 1, visit);
            self.order.swap(start + at, other);
        }
    }

    /// The number of the renaming in `places`.
    fn number(&mut self) -> usize {
        if let Some(known) = self.numbers.get(&*self.places) {
            return *known;
        }
        let mut names: Vec<NodeId> = NodeSet::first(self.count).iter().collect();
        for (member, place) in self.members.iter().zip(&self.places) {
            names[*member] = NodeId(u64::from(*place));
        }
        let same = self.members.iter().zip(&self.places);
        let is_identity = same.clone().all(|(member, place)| short(*member) == *place);
        self.renamings.push(Images {
            renaming: Renaming::new(names),
            is_identity,
            prints: Default::default(),
        });
        let number = self.renamings.len() - 1;
        self.numbers.insert(self.places.clone().into(), number);
        number
    }

    /// The fingerprint of an image of `row`.
    fn image(&mut self, space: &Space<'_>, renaming: usize, row: &Row, print: u64) -> u64 {
        let images = &mut self.renamings[renaming];
        if images.is_identity {
            return print;
        }
        let mut sum = 0_u64;
        for (kind, part) in each_part(space.places, row) {
            let prints = &mut images.prints[kind];
            let place = part as usize;
            if prints.len() <= place {
                prints.resize(space.count(kind), 0);
            }
            if prints[place] == 0 {
                prints[place] = (space.contents()).image_print(kind, part, &images.renaming);
            }
            sum = sum.wrapping_add(prints[place]);
        }
        sum
    }

    fn image_row(&mut self, space: &mut Space<'_>, renaming: usize, row: &Row) -> Vec<u32> {
        let images = &self.renamings[renaming];
        let places = space.places;
        let mut image = vec![0; row.len()];
        for (at, (kind, part)) in each_part(places, row).enumerate() {
            let number = (self.rows)
                .entry((renaming, kind, part))
                .or_insert_with(|| space.image(kind, part, &images.renaming));
            let to = if at < places {
                let id = images.renaming.node(NodeId(at as u64));
                usize::try_from(id.0).expect("a node of this world")
            } else {
                at
            };
            image[to] = *number;
        }
        image[places + 1..].sort_unstable();
        image
    }
}

fn short(place: usize) -> u8 {
    u8::try_from(place).expect("a world has at most 64 nodes")
}
