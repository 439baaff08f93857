//! The shape of the repository: what is absent stays absent.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every Rust file under `folder`, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source can be read");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// The lines that are code.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//"))
}

/// The sources of what is pure: all of `src` but the adapter and its command.
fn pure() -> Vec<(PathBuf, String)> {
    let adapter = [root().join("src/udp"), root().join("src/main.rs")];
    let mut sources = sources("src");
    sources.retain(|(path, _)| !adapter.iter().any(|part| path.starts_with(part)));
    sources
}

#[test]
fn the_core_names_no_std_no_float_and_no_stateright() {
    let banned = [
        "std::",
        "f32",
        "f64",
        "stateright",
        "HashMap",
        "HashSet",
        "Instant",
        "SystemTime",
    ];
    for (path, text) in pure() {
        for line in code(&text) {
            let line = line.replace("no_std", "");
            let named = banned.iter().find(|word| line.contains(**word));
            assert_eq!(named, None, "{}: {line}", path.display());
        }
    }
}

#[test]
fn im_is_imported_by_one_file() {
    for (path, text) in sources("src").into_iter().chain(sources("models")) {
        let names_im = |line: &str| {
            let before = line
                .match_indices("im::")
                .map(|(at, _)| line[..at].chars().next_back());
            before
                .into_iter()
                .any(|last| !last.is_some_and(char::is_alphanumeric))
        };
        let imports = code(&text).any(names_im);
        let is_data = path.ends_with("src/data.rs");
        assert!(is_data || !imports, "{} imports im", path.display());
    }
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let banned = ["todo!(", "unimplemented!(", "#[ignore", ".timeout("];
    for (path, text) in sources("src").into_iter().chain(sources("models")) {
        for line in code(&text) {
            let named = banned.iter().find(|word| line.contains(**word));
            assert_eq!(named, None, "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_protocol_page_has_its_five_headings() {
    let headings = [
        "**Source.**",
        "**Promises.**",
        "**Assumes.**",
        "**Leaves out.**",
        "**The textbook says.**",
    ];
    for protocol in quorate_models::catalogue::protocols() {
        let path = root().join("src").join(format!("{}.rs", protocol.name));
        let page = fs::read_to_string(path).expect("each protocol has its page");
        let lines = page
            .lines()
            .map(|line| line.trim_start_matches("//!").trim());
        let page = lines.collect::<Vec<_>>().join(" ");
        let tests = root().join("tests").join(format!("{}.rs", protocol.name));
        let tests = fs::read_to_string(tests).expect("each protocol has its tests");
        for heading in headings {
            assert!(page.contains(heading), "{} has no {heading}", protocol.name);
        }
        // Each test that the page names is there.
        for word in page.split('`').filter(|word| word.contains("_falls_")) {
            assert!(
                tests.contains(&format!("fn {word}()")),
                "no test is called {word}"
            );
        }
        // Each promise that a flaw refutes is one the page makes.
        for flaw in &protocol.flaws {
            for promise in flaw.promises() {
                assert!(
                    page.contains(&format!("*{promise}*")),
                    "the page does not promise {promise}"
                );
            }
        }
    }
}
