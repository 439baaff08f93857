//! The chaos run, shorter: real members on a network that loses, killed one after the other, and clients who
//! count. `quorate demo chaos` is the same with ten times as many increments.

use crate::processes::quorate;

/// The number that follows this text.
fn number_after(output: &str, text: &str) -> u64 {
    let (_, rest) = output
        .split_once(text)
        .unwrap_or_else(|| panic!("no {text:?} in {output}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn five_hundred_increments_are_each_done_once_whoever_is_killed() {
    let demo = quorate()
        .args(["demo", "chaos", "--increments", "500"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{output}\n{demo:?}");
    assert!(output.contains("GET n -> 500: every increment was done exactly once"));
    assert!(
        number_after(&output, "members were killed ") >= 2,
        "{output}"
    );
    let transitions = |to: &str| {
        let series = format!("quorate_client_breaker_transitions_total{{to=\"{to}\"}} ");
        number_after(&output, &series)
    };
    assert!(transitions("open") >= 1, "{output}");
    assert!(
        transitions("half_open") >= transitions("closed"),
        "{output}"
    );
    assert!(transitions("closed") >= 1, "{output}");
    assert!(number_after(&output, "\nquorate_client_retries_total ") >= 1);
    assert_eq!(number_after(&output, "\nquorate_client_shed_total "), 0);
}
