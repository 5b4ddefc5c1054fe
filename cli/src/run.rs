//! Starting, saying so, and ending well.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use broker::app::Running as Broker;
use metrics_svc::Running as MetricsSvc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::config::Config;
use crate::failure::Failure;
use crate::print;

/// A process that was told to end is gone within 10 s.
const DRAIN: Duration = Duration::from_millis(9_500);
/// A broker whose store has stopped is gone within 5 s.
const ABANDON: Duration = Duration::from_secs(4);
/// metrics-svc has this long to mail that the store has stopped.
const LAST_MAIL: Duration = Duration::from_secs(60);

/// What everything asynchronous of this process runs on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("no runtime: {error}")))
}

/// Broker and metrics-svc in one process.
pub(crate) async fn both(config: Config, data: &Path) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    make_dir(data)?;
    let (broker, metrics) = Box::pin(start_both(config, data)).await?;
    let home = data.display();
    let summary = format!(
        "data {home}{} | {} | {}",
        if broker.new { " (new)" } else { "" },
        api(&broker),
        metrics_at(&metrics)
    );
    ready(&[summary, admin_token(&broker)])?;

    let stopped = tokio::select! {
        () = signals.next() => None,
        reason = broker.stopped() => Some(reason),
    };
    let Some(reason) = stopped else {
        return drained(async {
            broker.shutdown().await;
            metrics.shutdown().await;
        })
        .await;
    };
    tracing::error!(reason = %reason, "the store has stopped: the broker ends");
    abandoned(broker).await;
    let host = metrics.metrics_addr;
    let text = format!(
        "The broker of {home} has ended because its store has stopped: {reason}\n\nNothing is \
         served until it is started again. What was answered is on disk. The metrics of this \
         process were at {host}; it ends when this mail is out.\n"
    );
    let told = async {
        match metrics.tell_operators("the store has stopped", &text).await {
            Ok(()) if metrics.drain_mail(LAST_MAIL).await => {}
            Ok(()) => tracing::error!("mails were not sent in time"),
            Err(error) => tracing::error!(%error, "the operators cannot be told"),
        }
    };
    tokio::select! {
        // As a whole: a mail from memory and the outbox behind it have one minute together.
        told = timeout(LAST_MAIL, told) => if told.is_err() {
            tracing::error!("mails were not sent in time");
        },
        () = signals.next() => {}
    }
    metrics.shutdown().await;
    Err(Failure::Stopped(reason.to_string()))
}

async fn start_both(config: Config, data: &Path) -> Result<(Broker, MetricsSvc), Failure> {
    let Config { mut broker, mut metrics, .. } = config;
    // The broker of this process is the one that reports: no port to know, nobody else gets in.
    let reports_here = broker.report.url.is_empty();
    if reports_here {
        metrics.ingest.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        broker.report.secret_file = metrics.secret_file(data);
    }
    let defaults = metrics_svc::config::Settings::default();
    if metrics.api_url == defaults.api_url && broker.listen.port() != 0 {
        metrics.api_url = format!("https://{}", shown(broker.listen));
    }
    let clock = metrics_svc::clock::SystemClock::start();
    // Reading the store back takes other threads; what metrics-svc saved is read meanwhile.
    let (opened, metrics) =
        tokio::join!(broker::app::open(&broker, data), metrics_svc::start(metrics, data, clock));
    let (opened, metrics) = match (opened, metrics) {
        (Ok(opened), Ok(metrics)) => (opened, metrics),
        (opened, Err(error)) => {
            if let Ok(opened) = opened {
                opened.close().await;
            }
            return Err(error.into());
        }
        (Err(error), Ok(metrics)) => {
            metrics.shutdown().await;
            return Err(error.into());
        }
    };
    if reports_here {
        broker.report.url = format!("http://{}", metrics.ingest_addr);
    }
    match opened.start(&broker, data, broker::clock::SystemClock::start()).await {
        Ok(broker) => Ok((broker, metrics)),
        Err(error) => {
            metrics.shutdown().await;
            Err(error.into())
        }
    }
}

/// The broker alone.
pub(crate) async fn broker(config: Config, data: &Path) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    make_dir(data)?;
    let clock = broker::clock::SystemClock::start();
    let broker = broker::app::start(&config.broker, data, clock).await?;
    let new = if broker.new { " (new)" } else { "" };
    let summary = format!("data {}{new} | {}", data.display(), api(&broker));
    ready(&[summary, admin_token(&broker)])?;
    let stopped = tokio::select! {
        () = signals.next() => None,
        reason = broker.stopped() => Some(reason),
    };
    match stopped {
        None => drained(broker.shutdown()).await,
        Some(reason) => {
            broker.report_stop();
            abandoned(broker).await;
            Err(Failure::Stopped(reason.to_string()))
        }
    }
}

/// metrics-svc alone.
pub(crate) async fn metrics_svc(config: Config, data: &Path) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    make_dir(data)?;
    let new = if data.join("metrics").exists() { "" } else { " (new)" };
    let clock = metrics_svc::clock::SystemClock::start();
    let metrics = metrics_svc::start(config.metrics, data, clock).await?;
    let at = metrics_at(&metrics);
    let ingest = metrics.ingest_addr;
    ready(&[format!("data {}{new} | {at} | ingest http://{ingest}", data.display())])?;
    signals.next().await;
    drained(metrics.shutdown()).await
}

/// The two signals that mean: end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::Other(format!("cannot listen to signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        tracing::info!("told to end: draining");
    }
}

async fn drained(shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
    timeout(DRAIN, shutdown)
        .await
        .map_err(|_| Failure::Other(String::from("some work did not end in time")))
}

async fn abandoned(broker: Broker) {
    if timeout(ABANDON, broker.shutdown()).await.is_err() {
        tracing::warn!("some work of the broker did not end in time");
    }
}

fn make_dir(data: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|error| Failure::Other(format!("{}: {error}", data.display())))
}

/// Start-up lines; scripts read them.
fn ready(lines: &[String]) -> Result<(), Failure> {
    print::lines(lines)?;
    print::lines(&[String::from("ready")])
}

fn api(broker: &Broker) -> String {
    let mut text = format!("API https://{}", shown(broker.api_addr));
    if let Some(file) = &broker.ca_file {
        text.push_str(&format!(" (CA {})", file.display()));
    }
    if let Some(plain) = broker.plain_addr {
        text.push_str(&format!(" | plain API http://{}", shown(plain)));
    }
    text
}

fn metrics_at(metrics: &MetricsSvc) -> String {
    format!("metrics http://{}/metrics", shown(metrics.metrics_addr))
}

fn admin_token(broker: &Broker) -> String {
    format!("service admin token: {}", broker.admin_token_file.display())
}

/// How somebody on this machine reaches `address`: by a name that is in the certificate.
fn shown(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("localhost:{port}"),
        _ => address.to_string(),
    }
}
