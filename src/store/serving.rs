//! What a leader does with what it is asked: one request of a key after the other.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::record::too_long;
use super::{
    Action, Event, KEYS_MAX, Leader, Message, Phase, Purpose, REQUESTS_MAX, Record, Refusal,
    Request, Role, Standing, Store, Term, Timer, Work,
};
use crate::data::{NodeSet, Seq};
use crate::machine::{NodeId, Outbox, State};

impl Store {
    /// The application asks something of a key.
    pub(super) fn on_request(
        &self,
        state: &mut State<Self>,
        key: String,
        request: Request,
        out: &mut Outbox<Self>,
    ) {
        let refused = |ticket, refusal| Event::Refused { ticket, refusal };
        let ticket = request.ticket;
        if request.action.is_too_long(&key) {
            return out.tell(refused(ticket, Refusal::TooLong));
        }
        let leader = match &mut state.volatile.role {
            Role::Leader(leader) => leader,
            Role::Follower { leader } => {
                let leader = *leader;
                return out.tell(refused(ticket, Refusal::NotLeader { leader }));
            }
            Role::Candidate { .. } => {
                return out.tell(refused(ticket, Refusal::NotLeader { leader: None }));
            }
        };
        let keys = leader.work.len();
        match leader.work.get_mut(&key) {
            Some(work) if work.requests.len() < REQUESTS_MAX => work.requests.push(request),
            None if keys < KEYS_MAX => {
                self.begin(state, key, Seq::from_iter([request]), out);
            }
            Some(_) | None => out.tell(refused(ticket, Refusal::Busy)),
        }
    }

    /// Begins the first of these requests. A write of a key that this term has already written needs no
    /// inquiry: nothing newer can be anywhere, and that a majority prepares it confirms the term.
    fn begin(
        &self,
        state: &mut State<Self>,
        key: String,
        requests: Seq<Request>,
        out: &mut Outbox<Self>,
    ) {
        let own = state.durable.records.get(&key);
        let settled = own.filter(|record| {
            (record.term, record.standing) == (state.durable.term, Standing::Committed)
        });
        let write = settled.and_then(|record| {
            let first = requests.first()?;
            let value = first.action.writes(Some(&record.value))?;
            Some((record.version.saturating_add(1), value.to_owned()))
        });
        match write {
            Some((version, value)) => {
                self.prepare(
                    state,
                    key,
                    requests,
                    (version, value),
                    Purpose::Request,
                    out,
                );
            }
            None => self.inquire(state, key, requests, out),
        }
    }

    /// Asks what the members have of the key, beginning with this one.
    fn inquire(
        &self,
        state: &mut State<Self>,
        key: String,
        requests: Seq<Request>,
        out: &mut Outbox<Self>,
    ) {
        let phase = Phase::Inquiring {
            answered: NodeSet::from_iter([self.me]),
            newest: state.durable.records.get(&key).cloned(),
        };
        self.take_up(state, &key, requests, phase, out);
        self.end_inquiry(state, &key, out);
    }

    /// The first phase of a write. The record is on the leader's own disk before anyone else hears of
    /// it: if it is decided, this is the leader's log of the decision.
    fn prepare(
        &self,
        state: &mut State<Self>,
        key: String,
        requests: Seq<Request>,
        (version, value): (u64, String),
        purpose: Purpose,
        out: &mut Outbox<Self>,
    ) {
        let record = Record::prepared(state.durable.term, version, value);
        state.durable.records.insert(key.clone(), record);
        let phase = Phase::Preparing {
            prepared: NodeSet::from_iter([self.me]),
            purpose,
        };
        self.take_up(state, &key, requests, phase, out);
        self.end_prepare(state, &key, out);
    }

    /// A phase begins under a new number, so that answers to an older question are told apart.
    fn take_up(
        &self,
        state: &mut State<Self>,
        key: &str,
        requests: Seq<Request>,
        phase: Phase,
        out: &mut Outbox<Self>,
    ) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let number = leader.next;
        leader.next = number.saturating_add(1);
        let work = Work {
            requests,
            number,
            phase,
        };
        leader.work.insert(key.to_owned(), work);
        self.ask(state, key, out);
    }

    /// A member reports what it has.
    pub(super) fn on_report(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        question: (Term, u64),
        key: &String,
        record: Option<Record>,
        out: &mut Outbox<Self>,
    ) {
        let term = state.durable.term;
        let Some(work) = asked(state, question, key) else {
            return; // The question was settled long ago.
        };
        let Phase::Inquiring { answered, newest } = &mut work.phase else {
            return; // Nothing was inquired under this number: no honest member says this.
        };
        let forged = |record: &Record| term < record.term || too_long(key, &record.value);
        if record.as_ref().is_some_and(forged) {
            return; // No member has this.
        }
        answered.insert(from);
        if *newest < record {
            *newest = record;
        }
        self.end_inquiry(state, key, out);
    }

    /// With the reports of a majority, the newest record of them holds: condition B3 of *The Part-Time
    /// Parliament*, §2.1. For a get they are also the heartbeats of Ongaro's thesis, §6.4.
    fn end_inquiry(&self, state: &mut State<Self>, key: &String, out: &mut Outbox<Self>) {
        let Some(work) = leader(state).and_then(|leader| leader.work.get(key)) else {
            return;
        };
        let Phase::Inquiring { answered, newest } = &work.phase else {
            return;
        };
        if !self.is_majority(*answered) {
            return;
        }
        match newest.clone() {
            Some(Record {
                version,
                standing: Standing::Prepared,
                value,
                ..
            }) => {
                // It may have been decided: then it must be, and in this term it can be.
                let requests = work.requests.clone();
                let write = (version, value);
                self.prepare(state, key.clone(), requests, write, Purpose::Finish, out);
            }
            Some(committed) => {
                state.durable.keep(key.clone(), committed);
                self.answer(state, key, out);
            }
            None => self.answer(state, key, out),
        }
    }

    /// A member's disk has the record.
    pub(super) fn on_prepared(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        question: (Term, u64),
        key: &String,
        out: &mut Outbox<Self>,
    ) {
        let Some(work) = asked(state, question, key) else {
            return; // The question was settled long ago.
        };
        let Phase::Preparing { prepared, .. } = &mut work.phase else {
            return; // Nothing was prepared under this number: no honest member says this.
        };
        prepared.insert(from);
        self.end_prepare(state, key, out);
    }

    /// With a majority of the membership, the write is decided. That is logged, and then said: this is
    /// the second phase.
    fn end_prepare(&self, state: &mut State<Self>, key: &String, out: &mut Outbox<Self>) {
        let Some(work) = leader(state).and_then(|leader| leader.work.get(key)) else {
            return;
        };
        let Phase::Preparing { prepared, purpose } = work.phase else {
            return;
        };
        let (Some(record), true) = (
            state.durable.records.get(key).cloned(),
            self.is_majority(prepared),
        ) else {
            return;
        };
        let Record {
            term,
            version,
            value,
            ..
        } = record.clone();
        state.durable.keep(key.clone(), record.committed());
        let commit = Message::Commit {
            term,
            key: key.clone(),
            version,
            value: value.clone(),
        };
        out.broadcast(self.others(), &commit);
        out.tell(Event::Decided {
            term,
            key: key.clone(),
            version,
            value,
        });
        match purpose {
            Purpose::Finish => self.answer(state, key, out),
            Purpose::Request => self.finish(state, key, out, |ticket| Event::Done { ticket }),
        }
    }

    /// The key's record is decided, and a majority has confirmed the term since the first request came:
    /// it takes effect here, or its write begins.
    fn answer(&self, state: &mut State<Self>, key: &String, out: &mut Outbox<Self>) {
        let Some(work) = leader(state).and_then(|leader| leader.work.get(key)) else {
            return;
        };
        let Some(Request { action, .. }) = work.requests.first() else {
            return;
        };
        let current = state.durable.records.get(key);
        let value = current.map(|record| record.value.clone());
        if let Some(new) = action.writes(value.as_deref()) {
            let version = current.map_or(0, |record| record.version);
            let write = (version.saturating_add(1), new.to_owned());
            let requests = work.requests.clone();
            return self.prepare(state, key.clone(), requests, write, Purpose::Request, out);
        }
        match action {
            Action::Get => self.finish(state, key, out, |ticket| Event::Got { ticket, value }),
            Action::Put(_) | Action::CompareAndSwap { .. } => {
                self.finish(state, key, out, |ticket| Event::Mismatched { ticket });
            }
        }
    }

    /// The first request returns, and the next one begins.
    fn finish(
        &self,
        state: &mut State<Self>,
        key: &String,
        out: &mut Outbox<Self>,
        reply: impl FnOnce(u64) -> Event,
    ) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let Some(mut work) = leader.work.remove(key) else {
            return;
        };
        if let Some(request) = work.requests.pop_front() {
            out.tell(reply(request.ticket));
        }
        if !work.requests.is_empty() {
            self.begin(state, key.clone(), work.requests, out);
        }
    }

    /// A leader says again that it leads, and asks again what was not answered.
    pub(super) fn on_heartbeat(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Some(leader) = leader(state) else {
            return; // Only a leader has this alarm.
        };
        out.arm(Timer::Heartbeat);
        let term = state.durable.term;
        out.broadcast(self.others(), &Message::Lead { term });
        for key in leader.work.keys() {
            self.ask(state, key, out);
        }
    }

    /// Puts the question of the present phase to everyone who has not answered it, the first time and
    /// again.
    fn ask(&self, state: &State<Self>, key: &str, out: &mut Outbox<Self>) {
        let Some(work) = leader(state).and_then(|leader| leader.work.get(key)) else {
            return;
        };
        let (term, number) = (state.durable.term, work.number);
        let key = key.to_owned();
        let (answered, question) = match &work.phase {
            Phase::Inquiring { answered, .. } => {
                (*answered, Message::Inquire { term, number, key })
            }
            Phase::Preparing { prepared, .. } => {
                let Some(record) = state.durable.records.get(&key) else {
                    return;
                };
                let question = Message::Prepare {
                    term,
                    number,
                    key,
                    version: record.version,
                    value: record.value.clone(),
                };
                (*prepared, question)
            }
        };
        out.broadcast(self.others().difference(answered), &question);
    }
}

fn leader(state: &State<Store>) -> Option<&Leader> {
    match &state.volatile.role {
        Role::Leader(leader) => Some(leader),
        Role::Follower { .. } | Role::Candidate { .. } => None,
    }
}

/// The work that waits for answers to this question.
fn asked<'a>(
    state: &'a mut State<Store>,
    (term, number): (Term, u64),
    key: &String,
) -> Option<&'a mut Work> {
    let now = state.durable.term;
    let Role::Leader(leader) = &mut state.volatile.role else {
        return None;
    };
    let work = leader.work.get_mut(key)?;
    (term == now && work.number == number).then_some(work)
}
