//! A holder: it counts from before it asked, and stops in time.

use alloc::vec::Vec;

use super::{
    Deserialize, Ending, Epoch, Event, Lease, Message, Outbox, Request, Serialize, State, String,
    Timer, VALUE_BYTES_MAX, done,
};

/// What a holder knows. All of it is lost in a crash, and with it the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// How many requests it made since it booted.
    pub requests: u64,
    /// The call to acquire that is under way.
    pub acquiring: Option<Acquiring>,
    /// What it holds.
    pub holding: Option<Holding>,
}

/// A call to acquire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Acquiring {
    /// The caller's name for it.
    pub ticket: u64,
    /// How often it may still ask anew.
    pub attempts: u32,
    /// The request whose term it counts, by number; nothing, while it waits to ask again.
    pub number: Option<u64>,
}

/// A lease, while it is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The token.
    pub epoch: Epoch,
    /// The request whose term it counts, by number.
    pub number: u64,
    /// The call to renew that is under way.
    pub renewing: Option<Renewing>,
    /// How many writes it made.
    pub writes: u64,
    /// The write that is under way: the last.
    pub writing: Option<Writing>,
}

/// A call to renew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Renewing {
    /// The caller's name for it.
    pub ticket: u64,
    /// The request, by number.
    pub number: u64,
}

/// A call to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Writing {
    /// The caller's name for it.
    pub ticket: u64,
    /// What.
    pub value: String,
}

impl Holder {
    /// True if it could have come about.
    pub(super) fn holds(&self) -> bool {
        let is_made = |number: u64| (1..=self.requests).contains(&number);
        let acquiring = self.acquiring.as_ref();
        let holding = self.holding.as_ref();
        !(acquiring.is_some() && holding.is_some())
            && acquiring.is_none_or(|acquiring| acquiring.number.is_none_or(is_made))
            && holding.is_none_or(|holding| {
                let renewing = holding.renewing.as_ref();
                is_made(holding.number)
                    && renewing.is_none_or(|renewing| {
                        is_made(renewing.number) && renewing.number > holding.number
                    })
                    && (holding.writing.is_none() || holding.writes > 0)
            })
    }
}

impl Lease {
    /// The application wants the lease.
    pub(super) fn acquire(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        out: &mut Outbox<Self>,
    ) -> Result<(), Ending> {
        if state.volatile.acquiring.is_some() || state.volatile.holding.is_some() {
            return Err(Ending::Busy);
        }
        state.volatile.acquiring = Some(Acquiring {
            ticket,
            attempts: self.attempts.saturating_sub(1),
            number: None,
        });
        self.ask_anew(state, out);
        Ok(())
    }

    /// The call to acquire asks, by a name of its own for each time: an answer to an earlier one says
    /// nothing of a term that is counted from now.
    fn ask_anew(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let request = Self::count(state, out);
        let Some(acquiring) = &mut state.volatile.acquiring else {
            return;
        };
        acquiring.number = Some(request.number);
        let renews = None;
        out.arm(Timer::Retry);
        out.send(self.authority, Message::Ask { request, renews });
    }

    /// Begins to count a term, before anything is sent.
    fn count(state: &mut State<Self>, out: &mut Outbox<Self>) -> Request {
        state.volatile.requests = state.volatile.requests.saturating_add(1);
        let request = named(state, state.volatile.requests);
        out.arm(Timer::Stop(request.number));
        out.tell(Event::Asked { request });
        request
    }

    /// The application wants to hold for longer.
    pub(super) fn renew(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        out: &mut Outbox<Self>,
    ) -> Result<(), Ending> {
        match &state.volatile.holding {
            None => return Err(Ending::NotHolding),
            Some(holding) if holding.renewing.is_some() => return Err(Ending::Busy),
            Some(_) => {}
        }
        let request = Self::count(state, out);
        if let Some(holding) = &mut state.volatile.holding {
            let number = request.number;
            holding.renewing = Some(Renewing { ticket, number });
            let renews = Some(holding.epoch);
            out.arm(Timer::Retry);
            out.send(self.authority, Message::Ask { request, renews });
        }
        Ok(())
    }

    /// The application writes to the resource.
    pub(super) fn write(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        value: String,
        out: &mut Outbox<Self>,
    ) -> Result<(), Ending> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Ending::TooLong);
        }
        let Some(holding) = &mut state.volatile.holding else {
            return Err(Ending::NotHolding);
        };
        if holding.writing.is_some() {
            return Err(Ending::Busy);
        }
        holding.writes = holding.writes.saturating_add(1);
        let write = Message::Write {
            epoch: holding.epoch,
            number: holding.writes,
            value: value.clone(),
        };
        holding.writing = Some(Writing { ticket, value });
        out.arm(Timer::Retry);
        out.send(self.resource, write);
        Ok(())
    }
}

impl Lease {
    /// The authority has granted what was asked, if it is still counted.
    pub(super) fn on_granted(
        state: &mut State<Self>,
        request: Request,
        epoch: Epoch,
        out: &mut Outbox<Self>,
    ) {
        if request.incarnation != state.durable.incarnation {
            return; // To one that crashed.
        }
        let number = Some(request.number);
        let acquiring = state.volatile.acquiring.as_ref();
        if let Some(acquiring) = acquiring.filter(|acquiring| acquiring.number == number) {
            out.tell(Event::Held { request, epoch });
            out.tell(done(acquiring.ticket, Ending::Acquired(epoch)));
            state.volatile.acquiring = None;
            state.volatile.holding = Some(Holding {
                epoch,
                number: request.number,
                renewing: None,
                writes: 0,
                writing: None,
            });
            rest(state, out);
            return;
        }
        let Some(holding) = &mut state.volatile.holding else {
            return; // Counted no more: the term may be over.
        };
        if epoch != holding.epoch {
            return; // No authority of ours extends another lease.
        }
        let renewing = holding.renewing.take_if(|one| Some(one.number) == number);
        if let Some(Renewing { ticket, number }) = renewing {
            let before = core::mem::replace(&mut holding.number, number);
            out.tell(Event::Held { request, epoch });
            out.disarm(Timer::Stop(before));
            let request = named(state, before);
            out.tell(Event::Stopped { request });
            out.tell(done(ticket, Ending::Renewed));
            rest(state, out);
        }
    }

    /// Another node has the lease, or what was to be renewed is over.
    pub(super) fn on_denied(state: &mut State<Self>, request: Request, out: &mut Outbox<Self>) {
        if request.incarnation != state.durable.incarnation {
            return; // To one that crashed.
        }
        let is_awaited = (state.volatile.acquiring.as_ref())
            .is_some_and(|acquiring| acquiring.number == Some(request.number));
        if is_awaited {
            out.disarm(Timer::Stop(request.number));
            out.tell(Event::Stopped { request });
            Self::got_nothing(state, out);
        } else {
            give_up_renewing(state, request.number, out);
        }
    }

    /// What this request may have brought is over, here a little sooner than at the authority.
    pub(super) fn on_stop(state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let is_awaited = (state.volatile.acquiring.as_ref())
            .is_some_and(|acquiring| acquiring.number == Some(number));
        if is_awaited {
            let request = named(state, number);
            out.tell(Event::Stopped { request });
            Self::got_nothing(state, out);
            return;
        }
        // The alarm of a renewal is as good: what was counted from before that is over, too.
        let is_counted = |holding: &Holding| {
            let renewing = holding.renewing.as_ref();
            holding.number == number || renewing.is_some_and(|one| one.number == number)
        };
        if state.volatile.holding.as_ref().is_some_and(is_counted) {
            stop_holding(state, Ending::Unknown, out);
        }
    }

    /// One time of asking brought nothing.
    fn got_nothing(state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Some(acquiring) = &mut state.volatile.acquiring else {
            return;
        };
        out.disarm(Timer::Retry);
        acquiring.number = None;
        if let Some(left) = acquiring.attempts.checked_sub(1) {
            acquiring.attempts = left;
            out.arm(Timer::Again);
        } else {
            out.tell(done(acquiring.ticket, Ending::GaveUp));
            state.volatile.acquiring = None;
        }
    }

    pub(super) fn on_again(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let acquiring = state.volatile.acquiring.as_ref();
        if acquiring.is_some_and(|acquiring| acquiring.number.is_none()) {
            self.ask_anew(state, out);
        }
    }

    /// Says again what was not answered. It is the same request, whose term is counted from its first
    /// sending.
    pub(super) fn on_retry(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Holder {
            acquiring, holding, ..
        } = &state.volatile;
        let mut sendings = Vec::new();
        let ask = |number, renews| {
            let request = named(state, number);
            (self.authority, Message::Ask { request, renews })
        };
        let asked = acquiring.as_ref().and_then(|acquiring| acquiring.number);
        sendings.extend(asked.map(|number| ask(number, None)));
        if let Some(holding) = holding {
            let renewing = holding.renewing.as_ref();
            sendings.extend(renewing.map(|one| ask(one.number, Some(holding.epoch))));
            let writing = holding.writing.as_ref();
            sendings.extend(writing.map(|writing| {
                let write = Message::Write {
                    epoch: holding.epoch,
                    number: holding.writes,
                    value: writing.value.clone(),
                };
                (self.resource, write)
            }));
        }
        if !sendings.is_empty() {
            out.arm(Timer::Retry);
        }
        for (to, message) in sendings {
            out.send(to, message);
        }
    }

    /// The resource has the write.
    pub(super) fn on_written(
        state: &mut State<Self>,
        epoch: Epoch,
        number: u64,
        out: &mut Outbox<Self>,
    ) {
        let holding = state.volatile.holding.as_mut();
        let holding = holding.filter(|holding| (holding.epoch, holding.writes) == (epoch, number));
        let writing = holding.and_then(|holding| holding.writing.take());
        if let Some(Writing { ticket, .. }) = writing {
            out.tell(done(ticket, Ending::Written));
            rest(state, out);
        }
    }

    /// A later holder has written: this one's clock, or the authority's, is worse than was assumed.
    pub(super) fn on_fenced(state: &mut State<Self>, epoch: Epoch, out: &mut Outbox<Self>) {
        let holding = state.volatile.holding.as_ref();
        if holding.is_some_and(|holding| holding.epoch == epoch) {
            stop_holding(state, Ending::Fenced, out);
        }
    }
}

/// It holds no longer; of a write that is under way, this is what becomes.
fn stop_holding(state: &mut State<Lease>, ending: Ending, out: &mut Outbox<Lease>) {
    let renewing = (state.volatile.holding.as_ref()).and_then(|one| one.renewing.clone());
    if let Some(Renewing { number, .. }) = renewing {
        give_up_renewing(state, number, out);
    }
    let Some(holding) = state.volatile.holding.take() else {
        return;
    };
    out.disarm(Timer::Retry);
    out.disarm(Timer::Stop(holding.number));
    let request = named(state, holding.number);
    out.tell(Event::Stopped { request });
    if let Some(Writing { ticket, .. }) = holding.writing {
        out.tell(done(ticket, ending));
    }
}

/// It is not to hold for longer by this request, if that is one by which it would.
fn give_up_renewing(state: &mut State<Lease>, number: u64, out: &mut Outbox<Lease>) {
    let holding = state.volatile.holding.as_mut();
    let renewing = holding.and_then(|holding| holding.renewing.take_if(|one| one.number == number));
    if let Some(Renewing { ticket, .. }) = renewing {
        out.disarm(Timer::Stop(number));
        let request = named(state, number);
        out.tell(Event::Stopped { request });
        out.tell(done(ticket, Ending::GaveUp));
        rest(state, out);
    }
}

/// Nothing is said again once everything is answered.
fn rest(state: &State<Lease>, out: &mut Outbox<Lease>) {
    let holding = state.volatile.holding.as_ref();
    if holding.is_some_and(|holding| holding.renewing.is_none() && holding.writing.is_none()) {
        out.disarm(Timer::Retry);
    }
}

/// The full name of a request of this boot.
fn named(state: &State<Lease>, number: u64) -> Request {
    let incarnation = state.durable.incarnation;
    Request {
        incarnation,
        number,
    }
}
