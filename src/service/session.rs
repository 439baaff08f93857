//! Sessions: what was done for whom, so that it is done once.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::Map;

/// How many results are kept for one client. One more is refused, and was not done.
pub const RECORDS_MAX: usize = 1024;

/// A client's name for one of its requests: the same whenever it is sent again, through whomever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session {
    /// The client.
    pub client: u64,
    /// A count of its requests.
    pub serial: u64,
}

/// As in a sentence, for states and stories are read by people.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} of client {}", self.serial, self.client)
    }
}

/// What was done for whom (RIFL's completion records: Lee et al., *Implementing Linearizability at Large
/// Scale and Low Latency*, SOSP 2015, §3; Ongaro's thesis, §6.3).
///
/// They belong to the same durable value as the effects that they tell of, so that no crash parts them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sessions<O: Clone + Ord, R: Clone + Ord> {
    clients: Map<u64, Records<O, R>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Records<O: Clone + Ord, R: Clone + Ord> {
    /// The results of all requests before this one are no longer kept.
    collected: u64,
    done: Map<u64, (O, R)>,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen<R> {
    /// Nothing: it is to be done.
    Fresh,
    /// It was done, with this result.
    Done(R),
    /// Another request had this name. It is not to be done.
    Conflict,
    /// Its client has said that it needs no results of that time. Whether it was done is no longer known,
    /// so that it is not to be done.
    Collected,
    /// Too many results of this client are kept. It is not to be done, now.
    Full,
}

impl<O: Clone + Ord, R: Clone + Ord> Default for Sessions<O, R> {
    fn default() -> Self {
        Self {
            clients: Map::default(),
        }
    }
}

impl<O: Clone + Ord, R: Clone + Ord> Sessions<O, R> {
    /// What is known of this request.
    pub fn look(&self, session: Session, operation: &O) -> Seen<R> {
        let Some(records) = self.clients.get(&session.client) else {
            return Seen::Fresh;
        };
        match records.done.get(&session.serial) {
            Some((done, result)) if done == operation => Seen::Done(result.clone()),
            Some(_) => Seen::Conflict,
            None if session.serial < records.collected => Seen::Collected,
            None if records.done.len() >= RECORDS_MAX => Seen::Full,
            None => Seen::Fresh,
        }
    }

    /// It was done.
    pub fn record(&mut self, session: Session, operation: O, result: R) {
        let records = self.records(session.client);
        records.done.insert(session.serial, (operation, result));
    }

    /// The client needs no result of a request before this one. True if that was news.
    pub fn collect(&mut self, client: u64, before: u64) -> bool {
        let known = self
            .clients
            .get(&client)
            .map_or(0, |records| records.collected);
        if before <= known {
            return false;
        }
        let records = self.records(client);
        records.collected = before;
        records.done.retain(|serial, _| *serial >= before);
        true
    }

    /// What was done under this name, and the result.
    pub fn recorded(&self, session: Session) -> Option<&(O, R)> {
        self.clients.get(&session.client)?.done.get(&session.serial)
    }

    /// True if there is nothing more to be done for this request.
    pub fn knows(&self, session: Session) -> bool {
        self.clients.get(&session.client).is_some_and(|records| {
            session.serial < records.collected || records.done.contains_key(&session.serial)
        })
    }

    fn records(&mut self, client: u64) -> &mut Records<O, R> {
        self.clients.entry_or_insert_with(client, || Records {
            collected: 0,
            done: Map::default(),
        })
    }
}
