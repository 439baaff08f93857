//! Adapters that get one thing wrong. A simulator that catches none of them proves nothing.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sabotage {
    /// Nothing is ever flushed: a power cut takes what the operating system still holds.
    NoFlush,
    /// What a turn says leaves when it is written, not when it is flushed.
    SendBeforeFlush,
    /// The same of replies to clients alone.
    ReplyBeforeFlush,
    /// There is no journal: whoever restarts is as new.
    NoJournal,
    /// What a boot changes is not written: the next one is given the same incarnation.
    BootForgotten,
    /// Damage is taken for a torn end, and cut.
    DamageCut,
    /// A failed write is taken for a good one.
    FailureIgnored,
    /// The journal is compacted to what the state was a turn ago.
    StaleSnapshot,
    /// A new journal is renamed into place before it is flushed.
    RenameBeforeFlush,
    /// Clients are given the names of others after a restart, so that their commands are taken for
    /// repetitions.
    NamesReused,
    /// An unknown outcome is told as a failure.
    UnknownToldAsFailure,
    /// A command of unknown outcome is sent again as a new one.
    BlindRetry,
    /// Whom a datagram is for is not looked at.
    ReceiverUnchecked,
    /// Nor is its checksum.
    ChecksumUnchecked,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoFlush,
        Self::SendBeforeFlush,
        Self::ReplyBeforeFlush,
        Self::NoJournal,
        Self::BootForgotten,
        Self::DamageCut,
        Self::FailureIgnored,
        Self::StaleSnapshot,
        Self::RenameBeforeFlush,
        Self::NamesReused,
        Self::UnknownToldAsFailure,
        Self::BlindRetry,
        Self::ReceiverUnchecked,
        Self::ChecksumUnchecked,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFlush => "no-flush",
            Self::SendBeforeFlush => "send-before-flush",
            Self::ReplyBeforeFlush => "reply-before-flush",
            Self::NoJournal => "no-journal",
            Self::BootForgotten => "boot-forgotten",
            Self::DamageCut => "damage-cut",
            Self::FailureIgnored => "failure-ignored",
            Self::StaleSnapshot => "stale-snapshot",
            Self::RenameBeforeFlush => "rename-before-flush",
            Self::NamesReused => "names-reused",
            Self::UnknownToldAsFailure => "unknown-told-as-failure",
            Self::BlindRetry => "blind-retry",
            Self::ReceiverUnchecked => "receiver-unchecked",
            Self::ChecksumUnchecked => "checksum-unchecked",
        }
    }

    /// What is wrong, in words.
    pub fn summary(self) -> &'static str {
        match self {
            Self::NoFlush => "nothing is ever flushed",
            Self::SendBeforeFlush => "what a turn says leaves before it is flushed",
            Self::ReplyBeforeFlush => "clients are told before it is flushed",
            Self::NoJournal => "there is no journal",
            Self::BootForgotten => {
                "what a boot changes is not written: an incarnation is used twice"
            }
            Self::DamageCut => "damage is taken for a torn end, and cut",
            Self::FailureIgnored => "a failed write is taken for a good one",
            Self::StaleSnapshot => "the journal is compacted to the state of a turn ago",
            Self::RenameBeforeFlush => "a new journal is renamed before it is flushed",
            Self::NamesReused => "clients are given the names of earlier ones after a restart",
            Self::UnknownToldAsFailure => "an unknown outcome is told as a failure",
            Self::BlindRetry => "a command of unknown outcome is sent again as a new one",
            Self::ReceiverUnchecked => "whom a datagram is for is not looked at",
            Self::ChecksumUnchecked => "the checksum of a datagram is not looked at",
        }
    }
}
