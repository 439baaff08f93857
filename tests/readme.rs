//! The README says nothing of numbers that is not so.

use std::fmt::Write as _;
use std::path::Path;

use quorate_models::catalogue::{Claim, protocols};

const BEGIN: &str = "<!-- table: written by BLESS=1 cargo test --test readme -->\n";
const END: &str = "<!-- end of table -->";

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The tables, from the catalogue. What the catalogue claims is checked by each protocol's tests.
fn tables() -> String {
    let mut text = String::new();
    for protocol in protocols() {
        let name = protocol.name;
        let _ = writeln!(text, "\n**`{name}`**: {}\n", protocol.summary);
        let _ = writeln!(
            text,
            "| every promise holds in this world | | states |\n|---|---|---:|"
        );
        for world in &protocol.worlds {
            if let Claim::Holds { unique, .. } = world.claim() {
                let (world, says) = (world.name(), world.summary());
                let _ = writeln!(text, "| `{world}` | {says} | {} |", thousands(unique));
            }
        }
        let _ = writeln!(
            text,
            "\n| what breaks it | | falls | steps |\n|---|---|---|---:|"
        );
        for flaw in &protocol.flaws {
            if let Claim::Falls { promise, steps } = flaw.claim() {
                let (flaw, says) = (flaw.name(), flaw.summary());
                let story = format!("tests/stories/{name}-{flaw}.txt");
                let _ = writeln!(
                    text,
                    "| [`{flaw}`]({story}) | {says} | *{promise}* | {steps} |"
                );
            }
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_tables_are_those_of_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the table begins somewhere");
    let (kept, after) = rest.split_once(END).expect("the table ends somewhere");
    if std::env::var_os("BLESS").is_some() {
        let blessed = format!("{before}{BEGIN}{}{END}{after}", tables());
        std::fs::write(&path, blessed).expect("the README can be written");
        return;
    }
    assert_eq!(
        kept,
        tables(),
        "BLESS=1 cargo test --test readme writes the tables"
    );
}

#[test]
fn every_world_and_every_flaw_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for protocol in protocols() {
        let path = root.join("tests").join(format!("{}.rs", protocol.name));
        let tests = std::fs::read_to_string(path).expect("each protocol has its tests");
        for exhibit in protocol.worlds.iter().chain(&protocol.flaws) {
            let call = match exhibit.claim() {
                Claim::Holds { .. } => "holds",
                Claim::Falls { .. } => "refutes",
            };
            let line = format!("{call}(\"{}\", \"{}\", ", protocol.name, exhibit.name());
            assert!(tests.contains(&line), "no test says {line}…)");
        }
    }
}

#[test]
fn every_story_is_of_a_flaw() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut known: Vec<String> = (protocols().iter())
        .flat_map(|protocol| {
            let name = protocol.name;
            let flaws = protocol.flaws.iter();
            flaws
                .map(move |flaw| format!("{name}-{}.txt", flaw.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    known.sort_unstable();
    let files = std::fs::read_dir(root).expect("there are stories");
    let mut kept: Vec<String> = files
        .map(|file| file.expect("a directory can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, known);
}
