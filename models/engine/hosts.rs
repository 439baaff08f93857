//! Several processes, on one machine or on many, that search one world together.

use std::any::Any;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

use timely::communication::AllocatorBuilder;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::initialize::Hooks;

use crate::shared::fingerprint;

/// Where the processes are, and which one this is. There is no authentication: for a network that is
/// trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    addresses: Vec<String>,
    process: usize,
}

/// How long the others have to come.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// How long one who has come has to say who it is.
const GREETING: Duration = Duration::from_secs(5);
/// Changes with what the processes say to each other.
const FORMAT: u64 = 1;

type Builders = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

impl Hosts {
    /// Process number `process`, of those that listen at the addresses in `list`: one a line, as
    /// `host:port`. Empty lines, and what follows a `#`, are passed over.
    ///
    /// # Errors
    ///
    /// If there are fewer than two addresses, if one has no port, or if there is no such process.
    pub fn new(list: &str, process: usize) -> Result<Self, String> {
        let lines = list
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let addresses: Vec<String> = lines
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        for address in &addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(format!("{address:?} is no host:port"));
            }
        }
        if addresses.len() < 2 {
            return Err("name at least two processes, one host:port a line".to_owned());
        }
        if addresses.len() <= process {
            return Err(format!(
                "there is no process {process}: {} are listed, and the first is 0",
                addresses.len()
            ));
        }
        Ok(Self { addresses, process })
    }

    /// Meets the others, who must be about to search the same world, with as many workers each.
    pub(super) fn connect(&self, world: &str, workers: usize) -> Result<Builders, String> {
        leave_if_one_is_lost();
        let greeting = self.greeting(world, workers);
        let deadline = Instant::now() + PATIENCE;
        let mine = &self.addresses[self.process];
        let listener = TcpListener::bind(mine).map_err(|error| {
            format!("cannot listen at {mine}, which the list says is here: {error}")
        })?;
        let mut sockets = Vec::new();
        for (process, address) in self.addresses.iter().enumerate().take(self.process) {
            sockets.push(Some(self.call(process, address, greeting, deadline)?));
        }
        sockets.push(None);
        let mut callers: Vec<Option<TcpStream>> = Vec::new();
        callers.resize_with(self.addresses.len() - self.process - 1, || None);
        while callers.iter().any(Option::is_none) {
            let (caller, socket) = self.answer(&listener, greeting, deadline)?;
            callers[caller - self.process - 1] = Some(socket);
        }
        sockets.extend(callers);
        let hooks = Hooks::default();
        let threads =
            ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
        let (builders, guard) =
            initialize_networking_from_sockets(threads, sockets, self.process, workers, hooks)
                .map_err(|error| format!("cannot talk to the others: {error}"))?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        Ok((builders, Box::new(guard)))
    }

    /// What all must agree on.
    fn greeting(&self, world: &str, workers: usize) -> u64 {
        let version = env!("CARGO_PKG_VERSION");
        fingerprint(&(FORMAT, version, world, workers as u64, &self.addresses))
    }

    fn call(
        &self,
        process: usize,
        address: &str,
        greeting: u64,
        deadline: Instant,
    ) -> Result<TcpStream, String> {
        loop {
            let error = match TcpStream::connect(address) {
                Ok(socket) => match greet(&socket, greeting, self.process) {
                    Ok((theirs, id)) if theirs == greeting && id == process => return Ok(socket),
                    Ok(_) => return Err(disagree(address)),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if deadline < Instant::now() {
                return Err(format!(
                    "process {process} at {address} does not answer: {error}"
                ));
            }
            sleep(PAUSE);
        }
    }

    fn answer(
        &self,
        listener: &TcpListener,
        greeting: u64,
        deadline: Instant,
    ) -> Result<(usize, TcpStream), String> {
        let failed = |error: std::io::Error| format!("cannot listen for the others: {error}");
        listener.set_nonblocking(true).map_err(failed)?;
        loop {
            match listener.accept() {
                Ok((socket, from)) => {
                    socket.set_nonblocking(false).map_err(failed)?;
                    let later = self.process + 1..self.addresses.len();
                    match greet(&socket, greeting, self.process) {
                        Ok((theirs, id)) if theirs == greeting && later.contains(&id) => {
                            return Ok((id, socket));
                        }
                        Ok(_) => return Err(disagree(&from.to_string())),
                        // Somebody else, who hung up.
                        Err(_) => {}
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => sleep(PAUSE),
                Err(error) => return Err(failed(error)),
            }
            if deadline < Instant::now() {
                return Err(format!(
                    "not all of the {} processes came within {} s",
                    self.addresses.len(),
                    PATIENCE.as_secs()
                ));
            }
        }
    }
}

fn disagree(who: &str) -> String {
    format!(
        "{who} does not check the same world with the same build, list of hosts and number of workers"
    )
}

/// Says who we are, and hears who the other one is.
fn greet(mut socket: &TcpStream, greeting: u64, process: usize) -> std::io::Result<(u64, usize)> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(GREETING))?;
    socket.write_all(&greeting.to_be_bytes())?;
    socket.write_all(&(process as u64).to_be_bytes())?;
    let mut word = [0; 8];
    socket.read_exact(&mut word)?;
    let theirs = u64::from_be_bytes(word);
    socket.read_exact(&mut word)?;
    socket.set_read_timeout(None)?;
    let id = usize::try_from(u64::from_be_bytes(word)).unwrap_or(usize::MAX);
    Ok((theirs, id))
}

/// A process that is lost takes its states along. `timely` notices it in a thread of its own, which
/// panics in words that its documentation promises to keep. Nobody else would ever hear of it, so this
/// process ends there.
fn leave_if_one_is_lost() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let words = info.payload().downcast_ref::<String>();
            let words = words.map(String::as_str).unwrap_or_default();
            if words.starts_with("timely communication error") {
                eprintln!(
                    "cargo model: another process is lost, and its states with it: there is no \
                     verdict; start all of them again ({words})"
                );
                std::process::exit(2);
            }
            loud(info);
        }));
    });
}
