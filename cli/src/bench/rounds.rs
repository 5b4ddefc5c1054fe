//! Rounds: each workload on an empty store, next to its floor.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::house::{House, log_files};
use super::load::{self, Plan};
use super::measure::{Figures, Scale, measure};
use super::options::Options;
use super::probe;
use super::process::Process;
use super::report::{self, Record, Row};
use super::resources;
use super::statistics::as_f64;
use super::workloads::{Shape, Workload};
use crate::failure::Failure;
use crate::print;

/// Within this time metrics-svc learns everything, and judges it twice.
const REPORTED: Duration = Duration::from_secs(30);

/// What the whole run uses.
struct Run {
    scale: Scale,
    floor: Process,
    trust: Arc<rustls::ClientConfig>,
    home: tempfile::TempDir,
}

/// All rounds of `workloads`, and what is told about them.
pub(super) async fn run(options: &Options, workloads: &[&'static Workload]) -> Result<(), Failure> {
    let begun = Instant::now();
    let run = Run::begin(options).await?;
    let mut rows: Vec<Row> = workloads.iter().map(|workload| Row::new(workload)).collect();
    for round in 1..=options.rounds {
        // Workloads of one shape share their floor.
        let mut floors: Vec<(Shape, Figures)> = Vec::new();
        for (workload, row) in workloads.iter().zip(&mut rows) {
            let shape = workload.floor();
            let known = floors.iter().find(|(known, _)| *known == shape);
            let floor = match known {
                Some((_, floor)) => floor.clone(),
                None => run.floor(&shape).await?,
            };
            let ours = run.ours(workload).await?;
            progress(options, round, workload, &ours, &floor, begun)?;
            row.rounds.push((ours, floor.clone()));
            if known.is_none() {
                floors.push((shape, floor));
            }
        }
    }
    let resources = if options.restart() {
        run.resources(options).await?
    } else {
        std::collections::BTreeMap::new()
    };
    let record = Record::new(options, rows, resources, begun.elapsed());
    print::lines(&[String::new(), report::markdown(&record)])?;
    let write = |path: &Option<PathBuf>, text: &str| match path {
        None => Ok(()),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::Other(format!("{}: {error}", path.display()))),
    };
    write(&options.json, &report::json(&record)?)?;
    write(&options.markdown, &report::page(&record))
}

fn progress(
    options: &Options,
    round: u32,
    workload: &Workload,
    ours: &Figures,
    floor: &Figures,
    begun: Instant,
) -> Result<(), Failure> {
    print::lines(&[format!(
        "round {round}/{} {:>5}: {:>9.0} msg/s, {:.2} of the floor, {:.2} us CPU each, other \
         cores {:.2}, {} s",
        options.rounds,
        workload.id,
        ours.rate,
        super::statistics::per(ours.rate, floor.rate),
        ours.server_cpu,
        ours.other_cores,
        begun.elapsed().as_secs(),
    )])
}

impl Run {
    /// Makes the directory, the certificates that all brokers and the floor use, and the floor.
    async fn begin(options: &Options) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::Other(format!("bench: {error}"));
        let above = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        let home = tempfile::Builder::new().prefix("ams-bench-").tempdir_in(&above);
        let home = home.map_err(|error| {
            Failure::Other(format!("no directory in {}: {error}", above.display()))
        })?;
        if probe::is_memory(home.path()) {
            let text = "is in memory: nothing becomes durable there; see --dir";
            print::lines(&[format!("note: {} {text}", above.display())])?;
        }
        let first = home.path().join("first");
        drop(Process::ams(&first).await?);
        let tls = home.path().join("tls");
        std::fs::rename(first.join("tls"), &tls).map_err(|error| failed(&error))?;
        std::fs::remove_dir_all(&first).map_err(|error| failed(&error))?;
        let mut trusted = rustls::RootCertStore::empty();
        let ca =
            CertificateDer::from_pem_file(tls.join("ca.pem")).map_err(|error| failed(&error))?;
        trusted.add(ca).map_err(|error| failed(&error))?;
        let mut trust =
            rustls::ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        // A new client each time: it has seen nothing before.
        trust.resumption = rustls::client::Resumption::disabled();
        let floor = Process::floor(&tls).await?;
        let scale = Scale {
            warm_up: Duration::from_secs_f64(options.warm_up),
            length: Duration::from_secs_f64(options.seconds),
            topics: options.topics,
            shrink: options.shrink,
        };
        Ok(Self { scale, floor, trust: Arc::new(trust), home })
    }

    async fn floor(&self, shape: &Shape) -> Result<Figures, Failure> {
        let plan = Plan {
            plain: self.floor.address("floor ")?,
            tls: Some((self.floor.address("echo ")?, Arc::clone(&self.trust))),
            actors: shape.actors(),
            pace: 0.0,
            warm_up: self.scale.warm_up,
            length: self.scale.length,
            server: self.floor.id(),
            data: self.home.path().to_owned(),
        };
        let done = load::run(plan).await?;
        Ok(Figures::of(&done, &done.sent, self.floor.id()))
    }

    async fn ours(&self, workload: &Workload) -> Result<Figures, Failure> {
        let data = self.empty_data()?;
        let slot_bytes = workload.slot_bytes(self.scale.warm_up + self.scale.length);
        let mut house = match slot_bytes {
            None => House::open(&data).await?,
            Some(bytes) => House::open_ready(&data, slot_len(bytes / self.scale.shrink)).await?,
        };
        let ready = log_files(&data);
        let mut measured = measure(workload, &mut house, &data, &self.scale, &self.trust).await;
        if let Ok(figures) = &mut measured
            && workload.is_bulk()
        {
            let made = log_files(&data).saturating_sub(ready);
            figures.extra.insert("log_files_filled_meanwhile", as_f64(made as u64));
        }
        drop(house);
        forget(&data);
        measured.map_err(|failure| Failure::Other(format!("{}: {failure}", workload.id)))
    }

    async fn resources(
        &self,
        options: &Options,
    ) -> Result<std::collections::BTreeMap<&'static str, f64>, Failure> {
        let data = self.empty_data()?;
        print::lines(&[format!("{} idle topics and subscriptions, restart", options.objects)])?;
        let messages = options.messages / self.scale.shrink;
        let reported = REPORTED / u32::try_from(self.scale.shrink).unwrap_or(u32::MAX);
        let measured = resources::measure(&data, options.objects, messages, reported).await;
        forget(&data);
        measured
    }

    /// A data directory that holds nothing but certificates.
    fn empty_data(&self) -> Result<PathBuf, Failure> {
        let data = self.home.path().join("data");
        copy_certificates(&self.home.path().join("tls"), &data.join("tls"))
            .map_err(|error| Failure::Other(format!("{}: {error}", data.display())))?;
        Ok(data)
    }
}

/// A lawful length of a log's file near `bytes`: whole pages, with room for any message.
fn slot_len(bytes: u64) -> u64 {
    bytes.clamp(16 << 20, 2_032 << 20).next_multiple_of(1 << 20)
}

fn forget(data: &Path) {
    if let Err(error) = std::fs::remove_dir_all(data) {
        print::error(&format!("{}: {error}", data.display()));
    }
}

fn copy_certificates(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for name in ["ca.pem", "ca.key", "server.pem", "server.key"] {
        std::fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}
