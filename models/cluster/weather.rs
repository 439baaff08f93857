//! What befalls a cluster, drawn from the seed.
//!
//! Runs that are all alike miss what needs one kind of fault to be rare and another frequent, so each
//! has a weather of its own: swarm testing (Groce, Zhang, Eide, Chen and Regehr, ISSTA 2012).

use std::time::Duration;

use fastrand::Rng;

/// The rates of a run. Chances are out of 1,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// A datagram is lost.
    pub loss: u32,
    /// It arrives twice.
    pub repetition: u32,
    /// A bit of it is flipped.
    pub corruption: u32,
    /// It arrives at another node.
    pub misrouting: u32,
    /// How long it is under way, mostly at most; one in eight takes up to ten times as long.
    pub delay: Duration,
    /// How long a flush of the disk takes, at most; one in sixteen takes up to twenty times as long.
    pub flush: Duration,
    /// The power fails in the middle of a flush, of one node or of all.
    pub flush_cut: u32,
    /// How long it is from one fault to the next, on average.
    pub calm: Duration,
    /// How long a node that crashed stays down, at most.
    pub down: Duration,
    /// How often each kind of fault comes, relative to the others.
    pub kinds: [u32; Fault::ALL.len()],
    /// Beyond so many bytes a journal is compacted.
    pub growth: u64,
}

/// What may befall a node or the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One node loses power, and comes back.
    PowerCut,
    /// All of them do, at once.
    PowerCutOfAll,
    /// One process is killed: what it wrote, the operating system still has.
    Kill,
    /// One stands still for a while, and then goes on as if nothing had been.
    Pause,
    /// Links are cut: one node alone, one direction alone, or the halves.
    Cut,
    /// They are mended.
    Heal,
    /// The next write to a disk fails.
    DiskFailure,
    /// A bit of an old record flips; at most once in a run, and seen at the next start.
    Rot,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PowerCut,
        Self::PowerCutOfAll,
        Self::Kill,
        Self::Pause,
        Self::Cut,
        Self::Heal,
        Self::DiskFailure,
        Self::Rot,
    ];
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

impl Weather {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        let ms = Duration::from_millis;
        Self {
            loss: pick(rng, &[0, 10, 50, 150, 300]),
            repetition: pick(rng, &[0, 0, 20, 200]),
            corruption: pick(rng, &[0, 0, 10, 30]),
            misrouting: pick(rng, &[0, 0, 20, 100]),
            delay: pick(rng, &[ms(1), ms(1), ms(5), ms(20)]),
            flush: pick(rng, &[ms(1), ms(1), ms(4), ms(15)]),
            flush_cut: pick(rng, &[0, 20, 100]),
            calm: pick(rng, &[ms(60), ms(150), ms(400)]),
            down: pick(rng, &[ms(20), ms(200), ms(600)]),
            kinds: Fault::ALL.map(|fault| match fault {
                Fault::PowerCut | Fault::Kill | Fault::Cut => pick(rng, &[0, 2, 8]),
                Fault::Heal => 4,
                Fault::PowerCutOfAll | Fault::Pause => pick(rng, &[0, 1, 3]),
                Fault::DiskFailure => pick(rng, &[0, 0, 4]),
                Fault::Rot => pick(rng, &[0, 0, 2]),
            }),
            growth: pick(rng, &[500, 2_000, 100_000]),
        }
    }

    /// The next fault.
    pub fn fault(&self, rng: &mut Rng) -> Fault {
        let total: u32 = self.kinds.iter().sum();
        let mut ticket = rng.u32(..total.max(1));
        for (fault, weight) in Fault::ALL.into_iter().zip(self.kinds) {
            if ticket < weight {
                return fault;
            }
            ticket -= weight;
        }
        Fault::Heal
    }

    /// How long a datagram is under way.
    pub fn under_way(&self, rng: &mut Rng) -> Duration {
        let most = if rng.u32(..8) == 0 {
            self.delay * 10
        } else {
            self.delay
        };
        within(rng, most)
    }

    /// How long a flush takes.
    pub fn flushes(&self, rng: &mut Rng) -> Duration {
        let most = if rng.u32(..16) == 0 {
            self.flush * 20
        } else {
            self.flush
        };
        within(rng, most)
    }
}

/// Less than that, and more than nothing.
pub fn within(rng: &mut Rng, most: Duration) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.u64(1_000..most.max(1_001)))
}

/// True with such a chance out of 1,000.
pub fn chance(rng: &mut Rng, of_a_thousand: u32) -> bool {
    rng.u32(..1000) < of_a_thousand
}
