//! CAP: one program in two clusters, both cut in two. What the consistent one refuses the available one
//! accepts; what it then shows, the consistent one never would.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{DemoError, Stage, eventually, said};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::udp::remote::shown;
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const ALONE: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);

pub(super) fn show(cp: &mut Stage<'_>, ap: &mut Stage<'_>) -> Result<(), DemoError> {
    say(
        "Six processes, two clusters of three: the same machine, told to be consistent and told to be available.",
    );
    say("\nconsistent");
    cp.start_all()?;
    say("available");
    ap.start_all()?;

    say("\nWhile all is well nobody could tell them apart.");
    for (name, stage) in [("consistent", &*cp), ("available", &*ap)] {
        say(name);
        stage.expect(OTHER, &["SET", "colour", "green"], "OK")?;
        await_value(stage, OTHER, "green")?;
    }

    say("\nn0 is cut off from the others, in both. Each side is asked to write.");
    for stage in [&*cp, &*ap] {
        stage.cut([ALONE].into_iter().collect::<NodeSet>())?;
    }
    say("consistent: the majority serves, the minority refuses to write and to read");
    cp.expect(OTHER, &["SET", "colour", "blue"], "OK")?;
    cp.expect(OTHER, &["GET", "colour"], "blue")?;
    refuses(cp, &["SET", "colour", "red"])?;
    refuses(cp, &["GET", "colour"])?;
    say("available: both sides serve, and do not see each other");
    ap.expect(OTHER, &["SET", "colour", "blue"], "OK")?;
    ap.expect(ALONE, &["SET", "colour", "red"], "OK")?;
    ap.expect(OTHER, &["GET", "colour"], "blue")?;
    ap.expect(ALONE, &["GET", "colour"], "red")?;

    say(
        "\nThe links are mended. Both come to one value everywhere; the available one has lost a write that it",
    );
    say("had acknowledged: that is what it promised, the later one in the declared order.");
    for (name, stage) in [("consistent", &*cp), ("available", &*ap)] {
        say(name);
        stage.heal()?;
        converges(stage)?;
    }
    cp.expect(OTHER, &["GET", "colour"], "blue")?;
    cp.terminate_all()?;
    ap.terminate_all()
}

/// Asks until this is the value, but not for ever.
fn await_value(stage: &Stage<'_>, node: NodeId, value: &str) -> Result<(), DemoError> {
    let started = Instant::now();
    let asked = format!("{node}: GET colour");
    eventually(&asked, value, || {
        let reply = shown(&stage.ask(node, &["GET", "colour"])?);
        Ok(if reply == value { Ok(()) } else { Err(reply) })
    })?;
    said(started, &format!("{asked} -> {value}"));
    Ok(())
}

/// The minority's node does not do it, and says so.
fn refuses(stage: &Stage<'_>, words: &[&str]) -> Result<(), DemoError> {
    let started = Instant::now();
    let reply = shown(&stage.ask(ALONE, words)?);
    let asked = format!("{ALONE}: {}", words.join(" "));
    let refused = ["UNANSWERED", "UNKNOWN", "REFUSED"];
    if !refused.iter().any(|word| reply.starts_with(word)) {
        return Err(DemoError::Replied {
            asked,
            promised: "by a refusal".into(),
            reply,
        });
    }
    said(started, &format!("{asked} -> {reply}"));
    Ok(())
}

/// All nodes come to answer alike.
fn converges(stage: &Stage<'_>) -> Result<(), DemoError> {
    let started = Instant::now();
    let asked = "every node: GET colour";
    let value = eventually(asked, "by one value", || {
        let values = stage.nodes().into_iter();
        let values = values.map(|node| Ok(shown(&stage.ask(node, &["GET", "colour"])?)));
        let mut values: Vec<String> = values.collect::<Result<_, DemoError>>()?;
        values.dedup();
        Ok(match values.as_slice() {
            [one] if ["blue", "red"].contains(&one.as_str()) => Ok(one.clone()),
            _ => Err(values.join(", ")),
        })
    })?;
    said(started, &format!("{asked} -> {value}"));
    Ok(())
}
