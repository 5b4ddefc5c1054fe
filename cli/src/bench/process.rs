//! The processes under load: this very program, started again.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::failure::Failure;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A started process that said `ready`. Killed when dropped.
pub(super) struct Process {
    child: Child,
    lines: Vec<String>,
}

impl Process {
    /// Broker and metrics-svc on `data`, on free ports, also without TLS.
    pub(super) async fn ams(data: &Path) -> Result<Self, Failure> {
        Self::ams_with(data, &[]).await
    }

    /// The same with `[broker.store.embedded]` as `store` says: names in capitals, and values.
    pub(super) async fn ams_with(data: &Path, store: &[(&str, u64)]) -> Result<Self, Failure> {
        let mut command = this_program()?;
        for (name, value) in store {
            command.env(format!("AMS_BROKER__STORE__EMBEDDED__{name}"), value.to_string());
        }
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data"]);
        command.arg(data).env("AMS_BROKER__PLAIN_LISTEN", "127.0.0.1:0");
        Self::start(command, &data.with_extension("log")).await
    }

    /// metrics-svc alone on `data`, on free ports.
    pub(super) async fn metrics_svc(data: &Path) -> Result<Self, Failure> {
        let mut command = this_program()?;
        command.args(["metrics-svc", "--metrics-listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("AMS_METRICS__INGEST__LISTEN", "127.0.0.1:0");
        Self::start(command, &data.with_extension("metrics.log")).await
    }

    /// The broker alone on `data`, on free ports, also without TLS; it reports to `ingest`.
    pub(super) async fn broker(data: &Path, ingest: SocketAddr) -> Result<Self, Failure> {
        let mut command = this_program()?;
        command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("AMS_BROKER__PLAIN_LISTEN", "127.0.0.1:0");
        command.env("AMS_BROKER__REPORT__URL", format!("http://{ingest}"));
        Self::start(command, &data.with_extension("log")).await
    }

    /// The floor, with the certificate in `tls`.
    pub(super) async fn floor(tls: &Path) -> Result<Self, Failure> {
        let mut command = this_program()?;
        command.args(["bench", "floor", "--tls"]).arg(tls).stdin(Stdio::piped());
        Self::start(command, &tls.with_extension("log")).await
    }

    async fn start(mut command: Command, log: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Other(format!("cannot start a server: {error}"));
        let file = std::fs::File::create(log).map_err(failed)?;
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().map_err(failed)?;
        let (said, mut heard) = mpsc::unbounded_channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if said.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let mut started = Self { child, lines: Vec::new() };
        loop {
            match tokio::time::timeout(PATIENCE, heard.recv()).await {
                Ok(Some(line)) if line == "ready" => return Ok(started),
                Ok(Some(line)) => started.lines.push(line),
                Ok(None) | Err(_) => {
                    let log = std::fs::read_to_string(log).unwrap_or_default();
                    let text = format!("the server did not get ready: {}", log.trim());
                    return Err(Failure::Other(text));
                }
            }
        }
    }

    /// The address behind `before` in what it said.
    pub(super) fn address(&self, before: &str) -> Result<SocketAddr, Failure> {
        let rest = self.lines.iter().find_map(|line| line.split_once(before));
        let word = rest.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or_default();
        let port = word.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.ok_or_else(|| Failure::Other(format!("the server named no `{before}`")))?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn this_program() -> Result<Command, Failure> {
    let path: PathBuf = std::env::current_exe()
        .map_err(|error| Failure::Other(format!("this program is not to be found: {error}")))?;
    Ok(Command::new(path))
}
