//! Wires everything. Knows everyone, and nobody knows it but the cli.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::control::Control;
use crate::files::{self, Readers};
use crate::http;
use crate::http::tls::{Certificates, TlsError};
use crate::report::{ClientError, Reporter};
use crate::service::{self, Broker, Loss, StoreFault};
use crate::store::{self, Checked, Copied, CopyProgress, Scope, Store};

/// Requests in flight may take this long once the broker drains; last report and store come after,
/// and a process must be gone within 10 s.
const DRAIN: Duration = Duration::from_secs(5);
/// The reporter bounds its last report itself; this is for a stuck one.
const TASKS: Duration = Duration::from_secs(3);
const CLOSE: Duration = Duration::from_millis(1_500);

/// Why the broker did not start, by meaning.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the directory.
    #[error("the directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// What is stored contradicts itself. Nothing was changed.
    #[error("{0}")]
    Damaged(String),
    /// The store stopped while it was opened: start again.
    #[error("{0}")]
    Stopped(String),
    /// Settings that cannot be used.
    #[error("broker.{0}")]
    Settings(String),
    /// Not as it was asked.
    #[error("{0}")]
    Refused(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Anything else of the machine's.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    fn file(path: &Path, error: &io::Error) -> Self {
        Self::Other(format!("{}: {error}", path.display()))
    }
}

impl From<store::OpenError> for StartError {
    fn from(error: store::OpenError) -> Self {
        use store::OpenError::{Damaged, InUse, Io, Newer, Settings, Stopped};
        let text = error.to_string();
        match error {
            InUse(dir) => Self::InUse(dir),
            Damaged(_) | Newer(_) => Self::Damaged(text),
            Settings(_) => Self::Settings(format!("store.embedded: {text}")),
            Stopped(_) => Self::Stopped(text),
            Io(..) => Self::Other(text),
        }
    }
}

impl From<store::ScyllaOpenError> for StartError {
    fn from(error: store::ScyllaOpenError) -> Self {
        use store::ScyllaOpenError::{Cluster, Datacenters, Newer, Periodic, Settings};
        let text = error.to_string();
        match error {
            Settings(_) => Self::Settings(format!("store.scylla: {text}")),
            Newer(_) => Self::Damaged(text),
            Cluster(_) | Datacenters(_) | Periodic => Self::Other(text),
        }
    }
}

impl From<store::StoreError> for StartError {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::Corrupt(_) => Self::Damaged(error.to_string()),
            store::StoreError::Stopped => Self::Stopped(error.to_string()),
            store::StoreError::Unavailable | store::StoreError::Full => {
                Self::Other(error.to_string())
            }
        }
    }
}

impl From<service::OpenError> for StartError {
    fn from(error: service::OpenError) -> Self {
        match error {
            service::OpenError::Damaged(_) => Self::Damaged(error.to_string()),
            service::OpenError::Store(error) => error.into(),
        }
    }
}

impl From<service::Error> for StartError {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::Store(error) => error.into(),
            other => Self::Other(format!("the user admin cannot be made: {other}")),
        }
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::HalfAPair | TlsError::Name(_) => Self::Settings(error.to_string()),
            TlsError::File { .. } | TlsError::Content { .. } | TlsError::Make(_) => {
                Self::Other(error.to_string())
            }
        }
    }
}

impl From<ClientError> for StartError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Url(_) => Self::Settings(error.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<store::CopyError> for StartError {
    fn from(error: store::CopyError) -> Self {
        use store::CopyError::{Damaged, Io, Newer, NotEmpty, Open, Refused};
        let text = error.to_string();
        match error {
            Open(error) => error.into(),
            Damaged(_) | Newer(_) => Self::Damaged(text),
            NotEmpty(_) | Refused(_) => Self::Refused(text),
            Io(..) => Self::Other(text),
        }
    }
}

/// A broker that serves.
pub struct Running {
    /// Where the API is, https; the port is the real one.
    pub api_addr: SocketAddr,
    /// Where it is without TLS.
    pub plain_addr: Option<SocketAddr>,
    /// What clients need to trust, unless the certificate is the operator's.
    pub ca_file: Option<PathBuf>,
    /// The file with the token of the user `admin`.
    pub admin_token_file: PathBuf,
    /// Whether the store was empty.
    pub new: bool,
    broker: Broker,
    store: Arc<dyn Store>,
    server: http::ServerHandle,
    reporting: CancellationToken,
    tasks: TaskTracker,
}

/// A store that was opened for a broker that does not serve yet.
pub struct Opened(Arc<dyn Store>);

/// Opens the store; the embedded one is in `dir/broker`.
///
/// # Errors
/// See [`StartError`].
pub async fn open(settings: &Settings, dir: &Path) -> Result<Opened, StartError> {
    settings.check().map_err(StartError::Settings)?;
    let home = dir.join("broker");
    files::make_dir(&home).map_err(|error| StartError::file(&home, &error))?;
    let store = match &settings.store {
        config::Store::Embedded(embedded) => {
            store::open_embedded(&home, embedded.store(settings.retention.default)).await?
        }
        config::Store::Scylla(scylla) => store::open_scylla(scylla.store()).await?,
    };
    Ok(Opened(store))
}

impl Opened {
    /// Makes what is missing in `dir` (keys, certificates, the user `admin`), listens, and reports.
    /// The store is the one of these settings and this directory.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then, and the directory is free again.
    pub async fn start(
        self,
        settings: &Settings,
        dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Running, StartError> {
        let started = start_on(settings, dir, clock, Arc::clone(&self.0)).await;
        if started.is_err() {
            self.close().await;
        }
        started
    }

    /// Closes the store.
    pub async fn close(self) {
        if let Err(error) = self.0.close_store().await {
            tracing::error!(error = &error as &dyn std::error::Error, "store not closed");
        }
    }
}

/// Opens the store and starts a broker on it: [`open`] and [`Opened::start`].
///
/// # Errors
/// See [`StartError`]; nothing runs then, and the directory is free again.
pub async fn start(
    settings: &Settings,
    dir: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Running, StartError> {
    open(settings, dir).await?.start(settings, dir, clock).await
}

async fn start_on(
    settings: &Settings,
    dir: &Path,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
) -> Result<Running, StartError> {
    let new = store.load_scope(Scope::Service).await?.version == 0;
    let key = token_key(&dir.join("token.key"), new)?;
    let tasks = TaskTracker::new();
    let (with, time) = (settings.service().map_err(StartError::Other)?, Arc::clone(&clock));
    let broker = Broker::open(Arc::clone(&store), time, key, with, tasks.clone()).await?;
    let admin_token_file = dir.join("admin.token");
    keep(&admin_token_file, &broker.ensure_admin(&settings.admin.email).await?)?;

    let certificates = Certificates::open(&settings.tls, &dir.join("tls"), clock)?;
    let tls = listen(settings.listen)?;
    let plain = settings.plain_listen.map(listen).transpose()?;
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| StartError::Other(error.to_string()))
    };
    let api_addr = address(&tls)?;
    let plain_addr = plain.as_ref().map(address).transpose()?;
    let secret = dir.join("ingest.secret");
    let reporter = Reporter::new(&settings.report, secret, broker.clone())?;
    let mut door = settings.http.clone();
    door.drain_deadline = door.drain_deadline.min(DRAIN);
    let served_with = Some((tls, certificates.server_config()?));
    let server = http::serve(plain, served_with, &door, broker.clone())
        .map_err(|error| StartError::Other(error.to_string()))?;

    let handle = server.handle();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = &error as &dyn std::error::Error, "listener failed");
        }
    });
    let reporting = CancellationToken::new();
    let follow = follow_admin(broker.clone(), admin_token_file.clone());
    let until = reporting.clone();
    tasks.spawn(async move { until.run_until_cancelled(follow).await });
    match Control::listen(dir) {
        Ok(control) => drop(tasks.spawn(control.run(broker.clone(), reporting.clone()))),
        // The broker is worth more than its backups: they are possible while it does not run.
        Err(error) => tracing::warn!(%error, "no control socket: no backup while this runs"),
    }
    match reporter {
        Some(reporter) => drop(tasks.spawn(reporter.run(reporting.clone()))),
        None => tracing::info!("broker.report.url is not set: nothing is reported"),
    }
    Ok(Running {
        api_addr,
        plain_addr,
        ca_file: certificates.ca_file(),
        admin_token_file,
        new,
        broker,
        store,
        server: handle,
        reporting,
        tasks,
    })
}

impl Running {
    /// Resolves when the store has stopped for good, with the reason.
    pub async fn stopped(&self) -> Arc<str> {
        self.store.stopped().await
    }

    /// Lets the last report say that the store has stopped, so that metrics-svc tells the
    /// operators. For who has no other way to tell them.
    pub fn report_stop(&self) {
        self.broker.count_store_fault(StoreFault::Stopped);
    }

    /// Drains: new requests are refused, waiting pulls answered, those in flight finished; then the
    /// last report and a clean end of the store. At most 10 s.
    pub async fn shutdown(self) {
        self.broker.drain();
        if timeout(DRAIN, self.server.stop(true)).await.is_err() {
            self.server.stop(false).await;
        }
        self.reporting.cancel();
        self.tasks.close();
        if timeout(TASKS, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        match timeout(CLOSE, self.store.close_store()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "store not closed");
            }
            Err(_) => tracing::error!("the store did not close in time"),
        }
    }
}

/// Copies the store in `dir`, which no process serves, to the directory `to` (absent or empty).
/// With `dry_run` it only says how much that would be.
///
/// # Errors
/// See [`StartError`].
pub async fn backup(
    dir: &Path,
    to: &Path,
    dry_run: bool,
    progress: CopyProgress,
) -> Result<Copied, StartError> {
    let mut copied = store::backup_embedded(&dir.join("broker"), to, dry_run, progress).await?;
    tell_recorded(to, &mut copied.checked).await?;
    Ok(copied)
}

/// Makes the backup `from` the store in `dir`, which must have none; without `dir` it only
/// verifies the backup.
///
/// # Errors
/// See [`StartError`].
pub async fn restore(
    from: &Path,
    dir: Option<&Path>,
    progress: CopyProgress,
) -> Result<Copied, StartError> {
    let home = dir.map(|dir| dir.join("broker"));
    if let Some(home) = &home {
        files::make_dir(home).map_err(|error| StartError::file(home, &error))?;
    }
    let mut copied = store::restore_embedded(from, home.as_deref(), progress).await?;
    tell_recorded(from, &mut copied.checked).await?;
    Ok(copied)
}

/// Asks the catalogue in `backup` which damage is recorded, if there is any.
async fn tell_recorded(backup: &Path, checked: &mut Checked) -> Result<(), StartError> {
    if !checked.damage.is_empty() {
        let (image, _) = store::check_backup(backup, Arc::new(|_, _, _| {})).await?;
        service::tell_recorded(&image, checked).await?;
    }
    Ok(())
}

/// Reads everything in the store of `dir`, which no process serves, or in `backup`; changes
/// nothing.
///
/// # Errors
/// See [`StartError`]: what cannot be opened at all.
pub async fn check(
    dir: &Path,
    backup: Option<&Path>,
    progress: CopyProgress,
) -> Result<Checked, StartError> {
    let (store, mut checked) = match backup {
        Some(backup) => store::check_backup(backup, progress).await?,
        None => store::check_embedded(&dir.join("broker"), progress).await?,
    };
    judge(&store, &mut checked).await?;
    Ok(checked)
}

/// Adds what only the catalogue of the checked store tells: which damage was given up, and what is
/// named and not there.
async fn judge(store: &Arc<dyn Store>, checked: &mut Checked) -> Result<(), StartError> {
    service::tell_recorded(store, checked).await?;
    checked.references = service::check(store).await?;
    Ok(())
}

/// What a repair gave up, or would, and what it cannot mend.
#[derive(Debug)]
pub struct Repaired {
    /// Messages that are lost.
    pub losses: Vec<Loss>,
    /// What was found, as it is afterwards (or would be).
    pub checked: Checked,
}

/// Gives up what is damaged in sealed files of the store in `dir`, which no process serves: from
/// then on it is passed over and counted as lost. With `dry_run` it only says what that would be.
///
/// # Errors
/// See [`StartError`]: a store that cannot be opened cannot be repaired; it is restored.
pub async fn repair(
    settings: &Settings,
    dir: &Path,
    clock: &dyn Clock,
    dry_run: bool,
    progress: CopyProgress,
) -> Result<Repaired, StartError> {
    let config::Store::Embedded(embedded) = &settings.store else {
        let text = "this kind of store has tools of its own for repairs";
        return Err(StartError::Refused(String::from(text)));
    };
    let home = dir.join("broker");
    let (image, mut checked) = store::check_embedded(&home, progress).await?;
    judge(&image, &mut checked).await?;
    let losses = service::losses(&image, &checked.damage).await?;
    // It holds the directory's lock.
    drop(image);
    if !dry_run && !losses.is_empty() {
        let store = store::open_embedded(&home, embedded.store(settings.retention.default)).await?;
        let given_up = service::give_up(&store, &checked.damage, clock.wall()).await;
        let told = match given_up {
            Ok(()) => service::tell_recorded(&store, &mut checked).await,
            Err(error) => Err(error),
        };
        store.close_store().await?;
        told?;
    }
    Ok(Repaired { losses, checked })
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

/// The key that seals tokens; made for a new store only, or the tokens of an old one would be lost.
fn token_key(path: &Path, new: bool) -> Result<[u8; 32], StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let digits = text.trim_end();
            let hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
            let key = (0..32).map(byte).collect::<Option<Vec<u8>>>().filter(|_| hex);
            let broken = || StartError::Damaged(format!("{} holds no key", path.display()));
            key.and_then(|key| key.try_into().ok()).ok_or_else(broken)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && new => {
            let mut key = [0; 32];
            rand::rng().fill_bytes(&mut key);
            let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            files::write(path, text.as_bytes(), Readers::Owner)
                .map_err(|error| StartError::file(path, &error))?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StartError::Damaged(format!(
            "{} is missing: put it back, it seals the tokens of this store",
            path.display()
        ))),
        Err(error) => Err(StartError::file(path, &error)),
    }
}

/// Makes `path` hold the token of the user `admin` each time that it was refreshed.
async fn follow_admin(broker: Broker, path: PathBuf) {
    loop {
        // If there is no such user any more, the next start makes another.
        let Ok(token) = broker.fresh_admin_token().await else { continue };
        let file = path.clone();
        let kept = tokio::task::spawn_blocking(move || keep(&file, &token)).await;
        if let Ok(Err(error)) = kept {
            let file = path.display();
            tracing::error!(%error, %file, "the admin's new token is not in its file");
        }
    }
}

/// Makes `path` hold `text`, for its owner only.
fn keep(path: &Path, text: &str) -> Result<(), StartError> {
    if files::is_secret(path, text.as_bytes()) {
        return Ok(());
    }
    files::write(path, text.as_bytes(), Readers::Owner)
        .map_err(|error| StartError::file(path, &error))
}
