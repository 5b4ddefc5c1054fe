//! Wires everything: the one file that knows everyone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alert::JudgeSettings;
use crate::clock::Clock;
use crate::config::{Settings, SettingsError};
use crate::db::{Db, DbError, OpenError};
use crate::http::{self, Secret};
use crate::notify::{Mailer, Tally};
use crate::watch::{RestoreError, Watch};

/// How long a stop waits for what is under way.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a mail that the database refuses is tried to be sent without it.
const UNWRITTEN: Duration = Duration::from_secs(30);

/// metrics-svc could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The listener is reachable from elsewhere and there is no secret to check.
    #[error("metrics.ingest.secret_file: {path}: {source}; off loopback a secret is needed")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        source: std::io::Error,
    },
    /// The database: in use, damaged, too new.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was saved cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A started metrics-svc. Dropping it does not stop it; see [`Running::shutdown`].
#[derive(Debug)]
pub struct Running {
    /// Where `/metrics` is served.
    pub metrics_addr: SocketAddr,
    /// Where brokers report.
    pub ingest_addr: SocketAddr,
    secret: String,
    watch: Arc<Watch>,
    listeners: [ServerHandle; 2],
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Starts metrics-svc with its own data in `data_dir/metrics`. When this returns, both listeners
/// answer.
///
/// # Errors
/// See [`StartError`]; nothing keeps running then.
pub async fn start(
    settings: Settings,
    data_dir: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Running, StartError> {
    let relay = settings.relay()?;
    // The lock before the ports: whoever starts a second one by mistake is told which it is.
    let db = Db::open(&data_dir.join("metrics"))?;
    let secret = ingest_secret(&settings, data_dir)?;
    let ingest = listen(settings.ingest.listen)?;
    let metrics = listen(settings.listen)?;
    let (ingest_addr, metrics_addr) =
        (address(&ingest, &settings.ingest.listen)?, address(&metrics, &settings.listen)?);

    let tally = Arc::new(Tally::default());
    let pace = settings.pace();
    let mailer = Mailer::new(
        db.clone(),
        relay,
        settings.links(metrics_addr),
        pace,
        Arc::clone(&clock),
        Arc::clone(&tally),
    );
    let judging =
        JudgeSettings { operators: settings.alert.to.clone(), ..JudgeSettings::default() };
    let judging = match settings.alert.min_stall {
        Some(min_stall) => JudgeSettings { min_stall, ..judging },
        None => judging,
    };
    let watch = Watch::restore(db, Arc::clone(&mailer), tally, clock, judging, pace).await?;

    let failed = |address| move |source| StartError::Listen { address, source };
    let checked = Some(Secret::new(&secret)).filter(|_| !secret.is_empty());
    let ingest =
        http::serve_ingest(ingest, Arc::clone(&watch), checked).map_err(failed(ingest_addr))?;
    let metrics =
        http::serve_metrics(metrics, Arc::clone(&watch), settings.listen.ip().is_loopback())
            .map_err(failed(metrics_addr))?;
    let listeners = [ingest.handle(), metrics.handle()];

    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(async move { log_end("ingest", ingest.await) });
    tasks.spawn(async move { log_end("metrics", metrics.await) });
    tasks.spawn({
        let (mailer, stop) = (Arc::clone(&mailer), stop.clone());
        async move { mailer.run(stop).await }
    });
    tasks.spawn(judge_forever(
        Arc::clone(&watch),
        mailer,
        settings.evaluate_every(),
        tasks.clone(),
        stop.clone(),
    ));
    tracing::info!(%metrics_addr, %ingest_addr, "metrics-svc is up");
    Ok(Running { metrics_addr, ingest_addr, secret, watch, listeners, tasks, stop })
}

impl Running {
    /// What brokers show to the ingest listener.
    pub fn ingest_secret(&self) -> &str {
        &self.secret
    }

    /// Mails the operators something that is no incident (the store stopped), at once; from
    /// memory, within 30 s, if the database refuses as well.
    ///
    /// # Errors
    /// The database refuses, and the mail could not be sent without it.
    pub async fn tell_operators(&self, subject: &str, text: &str) -> Result<(), DbError> {
        self.watch.tell_operators(subject, text, UNWRITTEN).await
    }

    /// Waits until no mail waits to be sent, at most so long; whether that came true. For a
    /// process that must end but has something to say first.
    pub async fn drain_mail(&self, at_most: Duration) -> bool {
        self.watch.drain_mail(at_most).await
    }

    /// Stops: no new requests, those under way and a mail under way are finished, at most 5 s.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let drained = async {
            for listener in &self.listeners {
                listener.stop(true).await;
            }
            self.tasks.close();
            self.tasks.wait().await;
        };
        match tokio::time::timeout(DRAIN, drained).await {
            Ok(()) => self.watch.let_go(),
            Err(_) => {
                tracing::warn!("metrics-svc stopped before everything under way was finished");
            }
        }
    }
}

async fn judge_forever(
    watch: Arc<Watch>,
    mailer: Arc<Mailer>,
    every: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        watch.evaluate().await;
        watch.keep_history().await;
        if let Some(notice) = watch.outage_notice() {
            let (mailer, operators, stop) = (Arc::clone(&mailer), watch.operators(), stop.clone());
            tasks.spawn(async move { mailer.send_unwritten(notice, operators, stop).await });
        }
    }
}

fn log_end(listener: &'static str, end: std::io::Result<()>) {
    if let Err(error) = end {
        tracing::error!(listener, %error, "a listener failed");
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

fn address(listener: &TcpListener, wanted: &SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address: *wanted, source })
}

/// Reads the secret; makes one where the file is missing and belongs to us (inside the data
/// directory). Without one only loopback may be listened on: the text is empty then.
fn ingest_secret(settings: &Settings, data_dir: &Path) -> Result<String, StartError> {
    let path = settings.secret_file(data_dir);
    let result = match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the file is empty"))
        }
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && path.starts_with(data_dir) =>
        {
            make_secret(&path)
        }
        Err(error) => Err(error),
    };
    match result {
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                && settings.ingest.listen.ip().is_loopback() =>
        {
            tracing::warn!(path = %path.display(), "no ingest secret: loopback needs none");
            Ok(String::new())
        }
        other => other.map_err(|source| StartError::Secret { path, source }),
    }
}

fn make_secret(path: &Path) -> std::io::Result<String> {
    let bytes: [u8; 32] = rand::random();
    let mut text = String::with_capacity(64);
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(text)
}
