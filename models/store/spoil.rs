//! What flaws do to messages and memories.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each spoils one thing and leaves the rest alone"
)]

use quorate::machine::{NodeId, Outbox, State};
use quorate::store::{Message, Phase, Purpose, Record, Role, Standing, Store, Term, Volatile};

use crate::flaw::Twin;

pub(super) fn is_preparing(_: &Store, phase: &Phase) -> bool {
    matches!(phase, Phase::Preparing { .. })
}

pub(super) fn is_inquiring(_: &Store, phase: &Phase) -> bool {
    matches!(phase, Phase::Inquiring { .. })
}

/// What a member answers that has nothing, or does what it is told.
pub(super) fn answer(term: Term, key: &str, number: u64, phase: &Phase) -> Message {
    let key = key.to_owned();
    match phase {
        Phase::Inquiring { .. } => Message::Report {
            term,
            number,
            key,
            record: None,
        },
        Phase::Preparing { .. } => Message::Prepared { term, number, key },
    }
}

pub(super) fn forget_prepared(record: &mut Option<Record>) {
    if (record.as_ref()).is_some_and(|record| record.standing == Standing::Prepared) {
        *record = None;
    }
}

pub(super) fn presume_committed(record: &mut Option<Record>) {
    *record = record.take().map(Record::committed);
}

/// Spoils what each inquiry has found so far.
pub(super) fn each_newest(volatile: &mut Volatile, spoil: impl Fn(&mut Option<Record>)) {
    let Role::Leader(leader) = &mut volatile.role else {
        return;
    };
    let keys: Vec<String> = leader.work.keys().cloned().collect();
    for key in keys {
        if let Some(work) = leader.work.get_mut(&key)
            && let Phase::Inquiring { newest, .. } = &mut work.phase
        {
            spoil(newest);
        }
    }
}

/// What a leader prepares for a request is of the version that the clock says, which stands still.
pub(super) fn count_by_clock(state: &mut State<Store>) {
    let Role::Leader(leader) = &state.volatile.role else {
        return;
    };
    for (key, work) in &leader.work {
        if is_preparing_its_own(&work.phase)
            && let Some(mut record) = state.durable.records.remove(key)
        {
            record.version = 1;
            state.durable.records.insert(key.clone(), record);
        }
    }
}

pub(super) fn is_preparing_its_own(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Preparing {
            purpose: Purpose::Request,
            ..
        }
    )
}

pub(super) fn timed(message: Message) -> Message {
    match message {
        Message::Prepare {
            term,
            number,
            key,
            value,
            ..
        } => Message::Prepare {
            term,
            number,
            key,
            version: 1,
            value,
        },
        other => other,
    }
}

/// An abort by key, which the right machine does not have: a prepare of no version.
pub(super) fn is_abort(message: &Message) -> bool {
    matches!(message, Message::Prepare { version: 0, .. })
}

/// Whatever is prepared of the key goes.
pub(super) fn abort<M: Twin<Store>>(state: &mut State<M>, message: &Message) {
    if let Message::Prepare { term, key, .. } = message
        && *term == state.durable.term
    {
        let records = &mut state.durable.records;
        if (records.get(key)).is_some_and(|record| record.standing == Standing::Prepared) {
            records.remove(key);
        }
    }
}

/// Does what a leader of a term asks that is over here.
pub(super) fn hear_the_deposed<M: Twin<Store>>(
    now: Term,
    state: &mut State<M>,
    from: NodeId,
    said: &Message,
    out: &mut Outbox<M>,
) {
    match said.clone() {
        Message::Inquire { term, number, key } if term < now => {
            let record = state.durable.records.get(&key).cloned();
            let report = Message::Report {
                term,
                number,
                key,
                record,
            };
            out.send(from, report);
        }
        Message::Prepare {
            term,
            number,
            key,
            version,
            value,
        } if term < now => {
            let record = Record::prepared(term, version, value);
            if state.durable.records.get(&key) < Some(&record) {
                state.durable.records.insert(key.clone(), record);
            }
            out.send(from, Message::Prepared { term, number, key });
        }
        _ => {}
    }
}
