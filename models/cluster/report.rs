//! Many runs, and what they come to.

use std::fmt::Write as _;
use std::ops::Range;

use quorate::udp::configuration::Protocol;

use super::{Plan, SIMULATED, Sabotage, Tally, Violation, run};

/// What came of a protocol's runs.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many runs there were.
    pub runs: u64,
    /// Those that broke something: the seed, and what.
    pub broken: Vec<(u64, Violation)>,
    /// What happened in all of them, counted.
    pub tally: Tally,
}

/// Runs a protocol once for each seed.
pub fn storms(protocol: Protocol, seeds: Range<u64>, sabotage: Option<Sabotage>) -> Report {
    let mut report = Report {
        runs: 0,
        broken: Vec::new(),
        tally: Tally::default(),
    };
    for seed in seeds {
        let outcome = run(Plan {
            protocol,
            seed,
            sabotage,
            log: false,
        });
        report.runs += 1;
        report.tally.add(&outcome.tally);
        report
            .broken
            .extend(outcome.violation.map(|violation| (seed, violation)));
    }
    report
}

/// How many of so many seeds catch each sabotage, by protocol, as a table in Markdown.
pub fn sabotages(seeds: &Range<u64>) -> String {
    let mut text = format!(
        "Of {} seeds, so many catch it:\n\n| the adapter | |",
        seeds.end.saturating_sub(seeds.start)
    );
    for protocol in SIMULATED {
        let _ = write!(text, " {} |", protocol.name());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---:|".repeat(SIMULATED.len()));
    text.push('\n');
    for sabotage in Sabotage::ALL {
        let _ = write!(text, "| `{}` | {} |", sabotage.name(), sabotage.summary());
        for protocol in SIMULATED {
            let report = storms(protocol, seeds.clone(), Some(sabotage));
            let _ = write!(text, " {} |", report.broken.len());
        }
        text.push('\n');
    }
    text
}
