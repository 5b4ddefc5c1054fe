//! What the machine says about itself: CPU of processes, memory, the disk below a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// `USER_HZ`: 100 on every Linux this program is built for.
const TICK: Duration = Duration::from_millis(10);
const SECTOR: u64 = 512;

/// Counters at one moment.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    at: Instant,
    server: Duration,
    /// The server's, by the name of its threads.
    threads: BTreeMap<String, Duration>,
    client: Duration,
    /// All processes together, interrupts and idling not counted.
    machine: Duration,
    disk: Option<Disk>,
}

/// What one device was told since it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disk {
    bytes_written: u64,
    flushes: u64,
}

/// What happened between two readings.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    pub(super) length: Duration,
    pub(super) server_cpu: Duration,
    /// The same by the name of the server's threads.
    pub(super) threads: BTreeMap<String, Duration>,
    pub(super) client_cpu: Duration,
    /// Cores that neither server nor client used.
    pub(super) other_cores: f64,
    /// Bytes written to the device of the data, by anybody; `None` where it cannot be read.
    pub(super) disk_bytes: Option<u64>,
    /// Flushes of it.
    pub(super) flushes: Option<u64>,
}

impl Reading {
    /// Now, with `pid` as the server, ourselves as the client, and the device below `data`.
    pub(super) fn take(pid: u32, data: &Path) -> Self {
        Self {
            at: Instant::now(),
            server: cpu_of(&pid.to_string()),
            threads: threads_of(pid),
            client: cpu_of("self"),
            machine: machine(),
            disk: disk(data),
        }
    }

    /// What happened since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Usage {
        let length = self.at.saturating_duration_since(earlier.at);
        let server_cpu = self.server.saturating_sub(earlier.server);
        let client_cpu = self.client.saturating_sub(earlier.client);
        let others = self.machine.saturating_sub(earlier.machine);
        let others = others.saturating_sub(server_cpu + client_cpu);
        let disk = self.disk.zip(earlier.disk);
        let before = |name: &str| earlier.threads.get(name).copied().unwrap_or_default();
        let threads = self.threads.iter();
        let threads = threads.map(|(name, cpu)| (name.clone(), cpu.saturating_sub(before(name))));
        Usage {
            length,
            server_cpu,
            threads: threads.collect(),
            client_cpu,
            other_cores: super::statistics::per(others.as_secs_f64(), length.as_secs_f64()),
            disk_bytes: disk
                .map(|(now, then)| now.bytes_written.saturating_sub(then.bytes_written)),
            flushes: disk.map(|(now, then)| now.flushes.saturating_sub(then.flushes)),
        }
    }
}

/// User and system time of a process; 0 when it is gone.
fn cpu_of(process: &str) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    named_cpu(&text).map_or(Duration::ZERO, |(_, cpu)| cpu)
}

/// User and system time of the threads of a process, those of one name together.
fn threads_of(pid: u32) -> BTreeMap<String, Duration> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, cpu)) = named_cpu(&text) {
            *threads.entry(name.to_owned()).or_default() += cpu;
        }
    }
    threads
}

/// Name, user and system time in a line of `/proc/*/stat`.
fn named_cpu(stat: &str) -> Option<(&str, Duration)> {
    // The name, in brackets, may hold anything.
    let (head, fields) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let ticks = |at: usize| fields.split_whitespace().nth(at)?.parse::<u32>().ok();
    Some((name, TICK * (ticks(11)? + ticks(12)?)))
}

fn machine() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // User, nice, system and stolen.
    let busy: u64 = [0, 1, 2, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    TICK * u32::try_from(busy).unwrap_or(u32::MAX)
}

/// Resident bytes of a process; 0 when it is gone.
pub(super) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1_024
}

fn disk(data: &Path) -> Option<Disk> {
    let device = fs::metadata(data).ok()?.dev();
    let major = ((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff);
    let minor = ((device >> 12) & 0xffff_ff00) | (device & 0xff);
    find(&fs::read_to_string("/proc/diskstats").ok()?, major, minor)
}

fn find(diskstats: &str, major: u64, minor: u64) -> Option<Disk> {
    let number = |fields: &[&str], at: usize| fields.get(at)?.parse::<u64>().ok();
    diskstats.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if (number(&fields, 0)?, number(&fields, 1)?) != (major, minor) {
            return None;
        }
        Some(Disk { bytes_written: number(&fields, 9)? * SECTOR, flushes: number(&fields, 18)? })
    })
}

/// The kernel and the processor, for the record.
pub(super) fn machine_name() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} x {}, Linux {}", model.trim(), kernel.trim())
}

/// Whether a directory lives in memory, where "durable" means nothing.
pub(super) fn is_memory(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(at).then_some((at.len(), kind))
    });
    mount.max_by_key(|(len, _)| *len).is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_its_numbers() {
        let text = " 254  0 vda 1 2 3 4 5 6 700 8 9 10 11 12 13 14 15 160 17\n \
                    254  1 vda1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        assert_eq!(find(text, 254, 0), Some(Disk { bytes_written: 700 * 512, flushes: 160 }));
        assert_eq!(find(text, 8, 0), None);
        assert_eq!(find("254 0 vda 1", 254, 0), None);
    }

    #[test]
    fn a_thread_may_have_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 1 0 5 6 7";
        assert_eq!(named_cpu(stat), Some(("a) b", Duration::from_secs(4))));
        assert_eq!(named_cpu(""), None);
        assert!(!threads_of(std::process::id()).is_empty());
    }

    #[test]
    fn we_use_cpu_and_memory_ourselves() {
        let begun = Reading::take(std::process::id(), Path::new("/"));
        while begun.at.elapsed() < 3 * TICK {}
        let usage = Reading::take(std::process::id(), Path::new("/")).since(&begun);
        assert!(usage.length >= 3 * TICK && usage.other_cores >= 0.0);
        assert!(resident(std::process::id()) > 100_000);
        assert_eq!(resident(u32::MAX), 0);
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        assert!(!is_memory(Path::new("/proc")));
    }
}
