//! Recordings: what a node heard and said, to be replayed and judged.
//!
//! A recording is one boot of one node. Because a machine is a function, its inputs give its outputs
//! again: [`replay`] runs them through [`machine::step`] and compares. Beside them stand what clients
//! asked the node and were told, with the time, from which a history can be judged.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `qrtrec` and the version of the format |
//! | any | frames: the first is the [`Header`], each other one an [`Entry`] |
//!
//! | frame, bytes | what |
//! |---|---|
//! | 4 | length of the content |
//! | 4 | CRC-32 of the content |
//! | any | the content, in postcard |
//!
//! Each frame is handed to the operating system before what it tells of leaves the node, so that a node
//! that is killed has said nothing that is not on record. It is not flushed to the disk: a recording
//! is for tests, and promises nothing about power. The last frame may be cut short.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::configuration::Settings;
use super::served::{Answer, Command};
use super::std;
use crate::machine::{self, Input, Machine, Output, State, Step};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC: [u8; 8] = *b"qrtrec\0\x01";
/// How long a frame may be, in bytes: what a damaged one claims is not believed beyond this.
const FRAME_BYTES_MAX: usize = 1 << 28;

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The settings of the node, in TOML.
    pub settings: String,
    /// When it booted, in microseconds since 1970, by the clock of its machine.
    pub booted_at_us: u64,
}

/// What happened, in order. Times are in microseconds since the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Entry<M: Machine> {
    /// The node boots from this.
    Boots(M::Durable),
    /// It heard these, each a step.
    Hears {
        /// When.
        at_us: u64,
        /// What.
        inputs: Vec<Input<M>>,
    },
    /// What it said is durable, and leaves.
    Says {
        /// When.
        at_us: u64,
        /// What.
        outputs: Vec<Output<M>>,
    },
    /// A client asks.
    Asks {
        /// When.
        at_us: u64,
        /// The ticket of its call.
        ticket: u64,
        /// What.
        command: Command,
    },
    /// A client is told. One that is not told by the end does not know what came of its command.
    Answers {
        /// When.
        at_us: u64,
        /// The ticket of its call.
        ticket: u64,
        /// What.
        answer: Answer,
    },
}

/// What writes a recording.
pub struct Recorder(Box<dyn Write + Send>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Begins a recording in a new file, of a node whose time zero was so long ago.
    ///
    /// # Errors
    ///
    /// If the file exists, or cannot be written. One that exists is left as it is.
    pub fn create(path: &Path, settings: &Settings, age: Duration) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let booted_at = now.unwrap_or_default().saturating_sub(age);
        Self::begin(file, settings, micros(booted_at))
    }

    /// Begins a recording of a boot at that time.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn begin(
        mut to: impl Write + Send + 'static,
        settings: &Settings,
        booted_at_us: u64,
    ) -> io::Result<Self> {
        let settings = toml::to_string(settings).map_err(io::Error::other)?;
        to.write_all(&MAGIC)?;
        let mut recorder = Self(Box::new(to));
        recorder.write(&Header {
            settings,
            booted_at_us,
        })?;
        Ok(recorder)
    }

    /// The node boots.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn boots<M: Machine>(&mut self, durable: &M::Durable) -> io::Result<()> {
        self.write(&Entry::<M>::Boots(durable.clone()))
    }

    /// The node heard these, in one turn.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn hears<M: Machine>(&mut self, at: Duration, inputs: Vec<Input<M>>) -> io::Result<()> {
        if inputs.is_empty() {
            return Ok(());
        }
        let at_us = micros(at);
        self.write(&Entry::Hears { at_us, inputs })
    }

    /// The node says these.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn says<M: Machine>(&mut self, at: Duration, outputs: &[Output<M>]) -> io::Result<()> {
        let at_us = micros(at);
        let outputs = outputs.to_vec();
        self.write(&Entry::Says { at_us, outputs })
    }

    /// A client asks.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn asks<M: Machine>(
        &mut self,
        at: Duration,
        ticket: u64,
        command: Command,
    ) -> io::Result<()> {
        let at_us = micros(at);
        self.write(&Entry::<M>::Asks {
            at_us,
            ticket,
            command,
        })
    }

    /// A client is told.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn answers<M: Machine>(
        &mut self,
        at: Duration,
        ticket: u64,
        answer: Answer,
    ) -> io::Result<()> {
        let at_us = micros(at);
        self.write(&Entry::<M>::Answers {
            at_us,
            ticket,
            answer,
        })
    }

    fn write(&mut self, content: &impl Serialize) -> io::Result<()> {
        let mut frame =
            postcard::to_extend(content, alloc::vec![0; 8]).map_err(io::Error::other)?;
        let (head, content) = frame.split_at_mut(8);
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        self.0.write_all(&frame)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A recording, opened.
pub struct Recording {
    /// What it is of.
    pub header: Header,
    from: Box<dyn Read>,
    frames: usize,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({:?})", self.header)
    }
}

impl Recording {
    /// Reads where it begins.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no recording.
    pub fn open(mut from: impl Read + 'static) -> Result<Self, RecordingError> {
        let mut magic = [0; 8];
        match from.read_exact(&mut magic) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                return Err(RecordingError::Unreadable(error));
            }
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(_) => return Err(RecordingError::NotARecording),
        }
        let mut from: Box<dyn Read> = Box::new(from);
        let header = frame(&mut from, 0)?.ok_or(RecordingError::NotARecording)?;
        Ok(Self {
            header,
            from,
            frames: 1,
        })
    }

    /// The settings of the node.
    ///
    /// # Errors
    ///
    /// If they are none that this program knows.
    pub fn settings(&self) -> Result<Settings, RecordingError> {
        toml::from_str(&self.header.settings)
            .map_err(|error| RecordingError::Settings(error.message().to_string()))
    }

    /// The next entry; none at the end, where one that was being written when the node was killed
    /// does not count.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is damaged.
    pub fn entry<M: Machine>(&mut self) -> Result<Option<Entry<M>>, RecordingError> {
        let entry = frame(&mut self.from, self.frames)?;
        self.frames += 1;
        Ok(entry)
    }
}

fn frame<T: DeserializeOwned>(
    from: &mut Box<dyn Read>,
    number: usize,
) -> Result<Option<T>, RecordingError> {
    let mut head = [0; 8];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let damaged = |how| RecordingError::Damaged { number, how };
    let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(damaged("its length is absurd"));
    }
    let mut content = alloc::vec![0; length];
    if !fill(from, &mut content)? {
        return Ok(None);
    }
    if word(4) != crc32fast::hash(&content) {
        return Err(damaged("its checksum is wrong"));
    }
    match postcard::take_from_bytes(&content) {
        Ok((value, [])) => Ok(Some(value)),
        Ok(_) | Err(_) => Err(damaged("its content is not of this protocol and version")),
    }
}

/// False if it ends before.
fn fill(from: &mut Box<dyn Read>, buffer: &mut [u8]) -> Result<bool, RecordingError> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(RecordingError::Unreadable(error)),
    }
}

/// Why a recording cannot be used, or what of it is not so.
#[derive(Debug)]
pub enum RecordingError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is something else, or of another version.
    NotARecording,
    /// The settings in it are none that this program knows.
    Settings(String),
    /// It is damaged.
    Damaged {
        /// Which frame, from 0.
        number: usize,
        /// How one can tell.
        how: &'static str,
    },
    /// The machine does not say what is recorded.
    Differs {
        /// Which frame, from 0.
        number: usize,
        /// After how many steps.
        steps: usize,
        /// What the machine says now; nothing if it says no more.
        says: String,
        /// What is recorded.
        recorded: String,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "the recording cannot be read: {error}"),
            Self::NotARecording => write!(
                f,
                "this is no recording of this version of quorate: give a file that `quorate serve \
                 --record` wrote"
            ),
            Self::Settings(why) => write!(
                f,
                "the settings in the recording are not understood ({why}): use the quorate that \
                 made it"
            ),
            Self::Damaged { number, how } => write!(
                f,
                "frame {number} of the recording is damaged: {how}; if another version of quorate \
                 made it, use that one"
            ),
            Self::Differs {
                number,
                steps,
                says,
                recorded,
            } => write!(
                f,
                "after {steps} steps, at frame {number}, the node said\n  {recorded}\nand the \
                 machine says\n  {says}"
            ),
        }
    }
}

impl core::error::Error for RecordingError {}

/// What a replay went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed<M: Machine> {
    /// How many steps.
    pub steps: usize,
    /// How many outputs were compared.
    pub outputs: usize,
    /// How many outputs the node did not live to say.
    pub unsaid: usize,
    /// The state at the end.
    pub state: State<M>,
}

/// Runs a recording through the machine, and compares what it says.
///
/// # Errors
///
/// The first output that differs, or what is wrong with the recording.
pub fn replay<M: Machine>(
    machine: &M,
    recording: &mut Recording,
) -> Result<Replayed<M>, RecordingError> {
    let mut unsaid = VecDeque::new();
    let Some(Entry::Boots(durable)) = recording.entry::<M>()? else {
        return Err(RecordingError::Damaged {
            number: 1,
            how: "it is no boot",
        });
    };
    let mut state = take_step(machine::boot(machine, durable), &mut unsaid);
    let (mut steps, mut outputs) = (0, 0);
    while let Some(entry) = recording.entry::<M>()? {
        match entry {
            Entry::Hears { inputs, .. } => {
                for input in inputs {
                    state = take_step(machine::step(machine, state, input), &mut unsaid);
                    steps += 1;
                }
            }
            Entry::Says {
                outputs: recorded, ..
            } => {
                for recorded in recorded {
                    let says = unsaid.pop_front();
                    if says.as_ref() != Some(&recorded) {
                        return Err(RecordingError::Differs {
                            number: recording.frames - 1,
                            steps,
                            says: says.map_or("nothing".into(), |says| format!("{says:?}")),
                            recorded: format!("{recorded:?}"),
                        });
                    }
                    outputs += 1;
                }
            }
            Entry::Boots(_) => {
                return Err(RecordingError::Damaged {
                    number: recording.frames - 1,
                    how: "it is a second boot",
                });
            }
            Entry::Asks { .. } | Entry::Answers { .. } => {}
        }
    }
    Ok(Replayed {
        steps,
        outputs,
        unsaid: unsaid.len(),
        state,
    })
}

fn take_step<M: Machine>(step: Step<M>, unsaid: &mut VecDeque<Output<M>>) -> State<M> {
    let Step { state, sealed } = step;
    let Ok(outputs) = sealed.persist(|_| Ok::<(), core::convert::Infallible>(()));
    unsaid.extend(outputs);
    state
}
