//! The admin interface: HTTP, for operators and their tools.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | what the node counts: [`super::metrics`] |
//! | `/healthz` | 200 if the loop turns within a second, else 503 |
//! | `/readyz` | 200 if moreover the disk keeps up, so that calls are taken, else 503 |
//!
//! It changes nothing, and has no authentication: let it listen where operators alone can reach it.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use tiny_http::{Header, Method, Response, Server};

use super::desk::{Ask, Request, Told};
use super::front::Wake;
use super::resp::Value;
use super::std;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

/// How long the loop may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Listens, on a thread of its own.
///
/// # Errors
///
/// If it cannot listen.
pub fn listen(
    at: SocketAddr,
    requests: &SyncSender<Request>,
    wake: &Wake,
    lives: &Arc<AtomicU64>,
) -> io::Result<()> {
    let server = Server::http(at).map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(format!("{error}")),
    })?;
    let requests = requests.clone();
    let wake = Wake::clone(wake);
    let lives = Arc::clone(lives);
    let answer = move || {
        for request in server.incoming_requests() {
            let (status, text) = match (request.method(), request.url()) {
                (Method::Get | Method::Head, "/metrics") => asked(Ask::Metrics, &requests, &wake),
                (Method::Get | Method::Head, "/healthz") => {
                    let status = if is_alive(&lives, &wake) { 200 } else { 503 };
                    (status, said(status))
                }
                (Method::Get | Method::Head, "/readyz") => {
                    let (status, _) = asked(Ask::Ready, &requests, &wake);
                    (status, said(status))
                }
                (Method::Get | Method::Head, _) => {
                    (404, "there are /metrics, /healthz and /readyz\n".into())
                }
                (_, _) => (405, "nothing can be changed here\n".into()),
            };
            let kind = b"text/plain; version=0.0.4; charset=utf-8";
            let mut response = Response::from_string(text).with_status_code(status);
            if let Ok(header) = Header::from_bytes(b"Content-Type", kind) {
                response.add_header(header);
            }
            // Whoever does not wait for the answer does not want it.
            let _ = request.respond(response);
        }
    };
    thread::Builder::new().name("admin".into()).spawn(answer)?;
    Ok(())
}

fn said(status: u16) -> String {
    if status == 200 { "ok\n" } else { "no\n" }.into()
}

/// True if there is another turn in time.
fn is_alive(lives: &AtomicU64, wake: &Wake) -> bool {
    let before = lives.load(Ordering::Relaxed);
    wake();
    let asked = Instant::now();
    while lives.load(Ordering::Relaxed) == before {
        if asked.elapsed() > ANSWER_MAX {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Asks the loop, as a client does.
fn asked(ask: Ask, requests: &SyncSender<Request>, wake: &Wake) -> (u16, String) {
    let (answer, told) = sync_channel(1);
    let request = Request {
        connection: 0,
        ask,
        answer,
    };
    if requests.try_send(request).is_err() {
        return (503, "the node takes nothing at the moment\n".into());
    }
    wake();
    match told.recv_timeout(ANSWER_MAX) {
        Ok(Told::Value(Value::Bulk(text))) => (200, text),
        Ok(Told::Value(_) | Told::Answer(_)) | Err(_) => {
            (503, "the node does not answer in time\n".into())
        }
    }
}
