//! The register: one killed and brought back, another killed, and nothing lost.

use alloc::format;
use core::time::Duration;

use super::{DemoError, Stage, TIMEOUT, said, time};
use crate::machine::NodeId;
use crate::udp::client::{Client, ClientError};
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const WRITES: u32 = 100;

struct Show<'a, 'b> {
    stage: &'a mut Stage<'b>,
    client: Client,
}

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let client = Client::connect(&stage.cluster)
        .map_err(|error| DemoError::Call("open a client".into(), error))?;
    Show { stage, client }.run()
}

impl Show<'_, '_> {
    fn run(&mut self) -> Result<(), DemoError> {
        let (n0, n1, n2) = (NodeId(0), NodeId(1), NodeId(2));
        say(&format!(
            "Three processes, each with a journal of its own in {}. Any two of them are a quorum.",
            self.stage.directory.display()
        ));
        self.stage.start_all()?;

        say("\nA client writes and reads over UDP. Each write is flushed to two disks at least.");
        self.put("colour", "green")?;
        self.get("colour", "green")?;
        self.write_many()?;

        say("\nOne is killed (SIGKILL: no goodbye). The other two are still a quorum.");
        self.stage.kill(n2)?;
        self.put("colour", "blue")?;
        self.get("colour", "blue")?;

        say("\nIt comes back, boots for the second time, and has from its journal what it had.");
        self.stage.start(n2, None)?;

        say(
            "\nAnother one is killed. Now the one that came back is needed, and it missed the last \
             write: the newest of two answers is what counts.",
        );
        self.stage.kill(n0)?;
        self.get("colour", "blue")?;
        self.get(&format!("key-{WRITES}"), &format!("value-{WRITES}"))?;

        say(
            "\nA second one is killed. One of three is no quorum: a get must not return, nor does it.",
        );
        self.stage.kill(n1)?;
        self.get_nothing("colour")?;

        say("\nBoth come back, and all is there.");
        self.stage.start(n0, None)?;
        self.stage.start(n1, None)?;
        self.get("colour", "blue")?;

        self.stage.terminate_all()
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), DemoError> {
        self.stage.check()?;
        let started = Instant::now();
        self.client
            .put(key, value, TIMEOUT)
            .map_err(|error| DemoError::Call(format!("write {key}"), error))?;
        said(started, &format!("put {key} {value}"));
        Ok(())
    }

    fn get(&mut self, key: &str, written: &str) -> Result<(), DemoError> {
        self.stage.check()?;
        let started = Instant::now();
        let read = self
            .client
            .get(key, TIMEOUT)
            .map_err(|error| DemoError::Call(format!("read {key}"), error))?;
        if read.as_deref() != Some(written) {
            return Err(DemoError::Wrong {
                key: key.into(),
                written: written.into(),
                read,
            });
        }
        said(started, &format!("get {key} -> {written}"));
        Ok(())
    }

    fn get_nothing(&mut self, key: &str) -> Result<(), DemoError> {
        self.stage.check()?;
        let started = Instant::now();
        match self.client.get(key, Duration::from_secs(1)) {
            Err(ClientError::Unanswered) => {
                said(started, &format!("get {key} -> no answer, after a second"));
                Ok(())
            }
            Ok(read) => Err(DemoError::Wrong {
                key: key.into(),
                written: "nothing that one of three may tell".into(),
                read,
            }),
            Err(error) => Err(DemoError::Call(format!("read {key}"), error)),
        }
    }

    fn write_many(&mut self) -> Result<(), DemoError> {
        let started = Instant::now();
        for number in 1..=WRITES {
            self.stage.check()?;
            let (key, value) = (format!("key-{number}"), format!("value-{number}"));
            self.client
                .put(&key, &value, TIMEOUT)
                .map_err(|error| DemoError::Call(format!("write {key}"), error))?;
        }
        let each = started.elapsed() / WRITES;
        let what = format!(
            "{WRITES} more puts, one after the other: {} each",
            time(each)
        );
        said(started, &what);
        Ok(())
    }
}
