//! The operator's door: a socket in the data directory, for who may read and write it anyway.
//!
//! One request a connection, a JSON text on one line: `{"backup": {"to": "/path"}}`. The answer is
//! lines too: progress, then the result. It is not reachable from other machines, so a token that
//! leaked cannot make this process write files.

mod client;
mod wire;

pub use self::client::{ControlError, backup};

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::wire::{Answer, Request};
use crate::service::Broker;

/// Longest request, in bytes: a path and little more.
const REQUEST: u64 = 16 * 1024;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How often a client hears how far its request is.
const EVERY: Duration = Duration::from_millis(100);

/// Where the socket of the data directory `dir` is.
fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// The socket, until it is dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket stays");
        }
    }
}

impl Control {
    /// Makes the socket in `dir`, whose store this process has: one that is there is a dead
    /// process's.
    ///
    /// # Errors
    /// The disk's; a path longer than sockets may have (about 100 bytes).
    pub fn listen(dir: &Path) -> io::Result<Self> {
        let path = socket(dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let control = Self { listener, path };
        std::fs::set_permissions(&control.path, std::fs::Permissions::from_mode(0o600))?;
        Ok(control)
    }

    /// Serves one request after the other until `ending`.
    pub async fn run(self, broker: Broker, ending: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = ending.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let served = match accepted {
                Ok((stream, _)) => {
                    tokio::select! {
                        () = ending.cancelled() => return,
                        served = serve(stream, &broker) => served,
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a control request came to nothing");
                // Out of file descriptors, say: not at full speed.
                tokio::time::sleep(EVERY).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, broker: &Broker) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut limited = BufReader::new(read.take(REQUEST));
    timeout(ARRIVAL, limited.read_line(&mut line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => return say(&mut write, &Answer::refused(&error.to_string())).await,
    };
    let Request::Backup { to, dry_run } = request;
    tracing::info!(to = %to.display(), dry_run, "a backup was asked for");
    let (told, mut progress) = watch::channel(None);
    let tell = Arc::new(move |stage, done, all| {
        // Who no longer listens does not mind.
        told.send_replace(Some(Answer::progress(stage, done, all)));
    });
    let mut copying = std::pin::pin!(broker.backup(&to, dry_run, tell));
    loop {
        tokio::select! {
            copied = &mut copying => {
                let answer = match copied {
                    Ok(copied) => Answer::Copied(copied),
                    Err(error) => Answer::error(&error),
                };
                return say(&mut write, &answer).await;
            }
            () = tokio::time::sleep(EVERY) => {
                let news = progress.borrow_and_update().clone();
                if let Some(news) = news {
                    say(&mut write, &news).await?;
                }
            }
        }
    }
}

async fn say(out: &mut (impl tokio::io::AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line).await
}
