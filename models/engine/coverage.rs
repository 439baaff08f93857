//! What fired: how often each kind of thing happened and changed something.
//!
//! That something *may* happen is no sign that it does: a fault that is offered and changes nothing
//! is inert, and the promises kept under it are kept under nothing. So what is counted is what
//! happened and changed the state.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::contents::Life;
use super::space::{Space, What};

/// A kind of thing that can happen, and how often it did and changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// What: `deliver Query`, `ring Retry`, `call Put`, `crash`, `restart`, `restart, writes lost`,
    /// `cut`, `heal`, `lie`.
    pub what: String,
    /// In how many transitions. Zero if it never did.
    pub times: u64,
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.times)
    }
}

/// What fired for two engines together.
pub(super) fn join(one: Vec<Fired>, other: Vec<Fired>) -> Vec<Fired> {
    let mut times = BTreeMap::new();
    for Fired { what, times: more } in one.into_iter().chain(other) {
        *times.entry(what).or_insert(0) += more;
    }
    let fired = times.into_iter().map(|(what, times)| Fired { what, times });
    fired.collect()
}

/// The name of a variant, and of the one inside it if there is one: of `Vote(Granted { .. })` it is
/// `Vote Granted`.
pub fn variant(value: &dyn fmt::Debug) -> String {
    let text = format!("{value:?}");
    let mut words = Vec::new();
    for part in text.split('(') {
        let end = part.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let word = &part[..end.unwrap_or(part.len())];
        if !word.starts_with(char::is_uppercase) {
            break;
        }
        words.push(word);
        if end.is_some() {
            break;
        }
    }
    if words.is_empty() {
        text
    } else {
        words.join(" ")
    }
}

impl Space<'_> {
    /// Everything that was sent, armed or announced, by kind.
    pub(super) fn coverage(&self) -> Vec<Fired> {
        let mut times = BTreeMap::new();
        let [crashes, cuts, heals, lies] = self.faults;
        let rules = &self.rules;
        if rules.crashes > 0 && !rules.mortal.is_empty() {
            times.insert("crash".to_owned(), crashes);
            times.insert("restart".to_owned(), 0);
            if rules.disk_lies {
                times.insert("restart, writes lost".to_owned(), 0);
            }
        }
        if rules.cut_budget > 0 && !rules.cuts.is_empty() {
            times.insert("cut".to_owned(), cuts);
            times.insert("heal".to_owned(), heals);
        }
        if !rules.traitors.is_empty() {
            times.insert("lie".to_owned(), lies);
        }
        let contents = self.contents();
        for call in contents.calls() {
            times.insert(call, 0);
        }
        for letter in 0..self.letters.len() {
            times.insert(contents.name(0, What::Letter(number(letter))), 0);
        }
        for node in (0..self.nodes.len()).map(number) {
            if let Life::Up(alarms) = &self.nodes.get(node).life {
                for (at, _) in (0..).zip(alarms).filter(|(_, alarm)| alarm.rings) {
                    times.insert(contents.name(node, What::Timer(at)), 0);
                }
            }
        }
        for (detail, fired) in self.details.iter().zip(&self.fired) {
            if *fired > 0 {
                let name = contents.name(detail.before, detail.what);
                *times.entry(name).or_insert(0) += *fired;
            }
        }
        let fired = times.into_iter().map(|(what, times)| Fired { what, times });
        fired.collect()
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 of anything")
}
