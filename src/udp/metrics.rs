//! What a node counts, as Prometheus reads it.
//!
//! | metric | type | labels | what |
//! |---|---|---|---|
//! | `quorate_info` | gauge | `protocol`, `version`, `node` | 1 |
//! | `quorate_messages_received_total` | counter | `type` | messages handed to the machine |
//! | `quorate_messages_sent_total` | counter | `type` | messages handed to the operating system |
//! | `quorate_messages_lost_total` | counter | `why` | messages that did not leave, or were cut off on purpose |
//! | `quorate_datagrams_received_total` | counter | | datagrams, whatever they were |
//! | `quorate_datagrams_dropped_total` | counter | `reason` | datagrams that were no message for this node |
//! | `quorate_turns_total` | counter | | turns in which something happened |
//! | `quorate_commits_total` | counter | | turns that changed what is durable |
//! | `quorate_turn_seconds` | histogram | | how long a turn took, the disk not counted |
//! | `quorate_alarm_lateness_seconds` | histogram | | how long after its moment an alarm rang |
//! | `quorate_flush_seconds` | histogram | | how long a group of turns took to write and flush |
//! | `quorate_flushed_turns` | histogram | | how many turns were flushed together |
//! | `quorate_turns_in_flight` | gauge | | turns that wait for the disk |
//! | `quorate_journal_commits`, `quorate_journal_bytes` | gauge | | commits in the node's life, and the journal's length |
//! | `quorate_calls_waiting` | gauge | | calls of clients that are not answered yet |
//! | `quorate_state` | gauge | `what` | what the protocol says of itself in numbers, such as `term` |
//! | `quorate_state_info` | gauge | `what`, `value` | what it says in words, such as `role`; 1 |
//!
//! The format is Prometheus's text format, version 0.0.4.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Debug, Write as _};
use core::time::Duration;

/// The upper bounds of a histogram's buckets. What is larger than all is in one more.
const BUCKETS: [u64; 12] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000,
];

/// How often a value was in which range. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS.len() + 1],
    sum: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn time(&mut self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a value.
    pub fn count(&mut self, value: u64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Messages by their type, which is the name of their variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<String, u64>);

impl Types {
    /// Counts a message.
    pub fn count(&mut self, message: &impl Debug) {
        let mut name = Name::default();
        // It stops where the name ends, which is no failure.
        let _ = write!(name, "{message:?}");
        let name = name.text();
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(name.into(), 1)),
        }
    }

    /// How many there were of this type.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// The first word of what is written to it.
#[derive(Default)]
struct Name {
    bytes: [u8; 32],
    length: usize,
}

impl Name {
    fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if !byte.is_ascii_alphanumeric() || self.length == self.bytes.len() {
                return Err(fmt::Error);
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// A page of metrics, as it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A value of a metric, with its labels. All values of one metric are to be written one after the
    /// other.
    pub fn value(
        &mut self,
        name: &str,
        kind: &str,
        labels: &[(&str, &str)],
        value: impl fmt::Display,
    ) {
        let declares = format!("# TYPE {name} {kind}\n");
        if !self.0.contains(&declares) {
            self.0.push_str(&declares);
        }
        self.line(name, labels, value);
    }

    /// Messages by type.
    pub fn types(&mut self, name: &str, types: &Types) {
        for (of, count) in &types.0 {
            self.value(name, "counter", &[("type", of)], count);
        }
    }

    /// A histogram of times, in seconds.
    pub fn times(&mut self, name: &str, histogram: &Histogram) {
        self.histogram(name, histogram, |micros| {
            format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
        });
    }

    /// A histogram of plain numbers.
    pub fn numbers(&mut self, name: &str, histogram: &Histogram) {
        self.histogram(name, histogram, |number| format!("{number}"));
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram, shown: impl Fn(u64) -> String) {
        let _ = writeln!(self.0, "# TYPE {name} histogram");
        let mut below = 0;
        let bounds: Vec<String> = BUCKETS.iter().map(|bound| shown(*bound)).collect();
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        let bucket = format!("{name}_bucket");
        for (bound, count) in bounds.zip(histogram.counts) {
            below += count;
            self.line(&bucket, &[("le", bound)], below);
        }
        self.line(&format!("{name}_sum"), &[], shown(histogram.sum));
        self.line(&format!("{name}_count"), &[], below);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let opens = if number == 0 { '{' } else { ',' };
            // As the format wants it within quotes.
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{opens}{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}
