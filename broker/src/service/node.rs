//! What this process takes of its machine (`ams-contract.md` 11.4), as `ps` says it: from `/proc`.

use std::fs;

/// Ticks a second of the times in `/proc/*/stat`: the same on every Linux.
const TICKS: u64 = 100;

/// This process and its machine.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFigures {
    /// The machine's name.
    pub host: String,
    /// Processor time since the process began, in percent of the time that passed; more than 100
    /// where several cores are at it. With one decimal.
    pub cpu_percent: f64,
    /// Resident memory in percent of the machine's. With one decimal.
    pub memory_percent: f64,
}

/// Every node once (O28, improved); a broker knows itself alone. What the system does not tell is 0.
pub fn nodes() -> Vec<NodeFigures> {
    vec![measured()]
}

fn measured() -> NodeFigures {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    NodeFigures {
        host: read("/proc/sys/kernel/hostname").trim().to_owned(),
        cpu_percent: cpu(&read("/proc/self/stat"), &read("/proc/uptime")).unwrap_or_default(),
        memory_percent: memory(&read("/proc/self/status"), &read("/proc/meminfo"))
            .unwrap_or_default(),
    }
}

fn cpu(stat: &str, uptime: &str) -> Option<f64> {
    // The name, in brackets, may hold anything; user and system time and the start come behind.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |at: usize| fields.split_whitespace().nth(at)?.parse::<u64>().ok();
    let used = field(11)?.saturating_add(field(12)?);
    let (seconds, rest) = uptime.split_whitespace().next()?.split_once('.')?;
    let hundredths = rest.get(..2)?.parse::<u64>().ok()?;
    let up = seconds.parse::<u64>().ok()?.saturating_mul(TICKS).saturating_add(hundredths);
    percent(used, up.saturating_sub(field(19)?))
}

fn memory(status: &str, machine: &str) -> Option<f64> {
    percent(kibibytes(status, "VmRSS:")?, kibibytes(machine, "MemTotal:")?)
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Cut off behind the first decimal, as `ps` does; `None` of nothing.
fn percent(part: u64, whole: u64) -> Option<f64> {
    let tenths = part.saturating_mul(1_000).checked_div(whole)?;
    Some(f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::{cpu, measured, memory};

    #[test]
    fn percents_are_those_of_ps() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 300 50 0 0 20 0 9 0 5000 0 0";
        assert_eq!(cpu(stat, "60.25 100.00\n"), Some(34.1));
        assert_eq!(cpu(stat, "50.00 100.00\n"), None, "no time has passed");
        assert_eq!(cpu("", "60.25 100.00\n"), None);
        let status = "Name:\ta\nVmRSS:\t  123456 kB\n";
        assert_eq!(memory(status, "MemTotal:  8000000 kB\nMemFree: 1 kB\n"), Some(1.5));
        assert_eq!(memory(status, ""), None);
    }

    #[test]
    fn this_process_is_measured() {
        let node = measured();
        assert!(!node.host.is_empty() && node.memory_percent >= 0.0 && node.cpu_percent >= 0.0);
    }
}
