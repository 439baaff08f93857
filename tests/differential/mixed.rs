//! Members of both kinds in one cluster agree on what is committed.

use quorate_differential::{Counts, Fall, Plan, Promise, Sabotage, run};

const SEEDS: u64 = 3_000;

#[test]
fn probe() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let plan = Plan::of(seed, None);
        match run(&plan) {
            Ok(one) => counts.add(&one),
            Err(fall) => panic!("{fall}, by {plan:?}"),
        }
    }
    println!("{counts:#?}");
}
#[test]
fn probe_sab() {
    use std::collections::BTreeMap;
    for wrong in [Sabotage::VotesTwice, Sabotage::VotesForAnyLog, Sabotage::AppendsBlindly, Sabotage::AcknowledgesUnread, Sabotage::CommitsItsTail, Sabotage::AnswersNoLeader, Sabotage::Forgets] {
        let mut falls: BTreeMap<Promise, (u64, u64, Fall)> = BTreeMap::new();
        let mut none = 0;
        for seed in 0..300 {
            match run(&Plan::of(seed, Some(wrong))) {
                Ok(_) => none += 1,
                Err(fall) => { falls.entry(fall.promise).or_insert((seed, 0, fall)).1 += 1; }
            }
        }
        println!("{wrong:?} none {none}");
        for (k, v) in falls { println!("   {k:?} first {} count {} {}", v.0, v.1, v.2); }
    }
}
