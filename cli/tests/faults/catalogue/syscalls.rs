//! F3 and F4: a fixed workload, killed at the N-th system call of a kind, or told there that it
//! failed. `strace` injects; the files of the store are told apart, because it counts by thread.
//!
//! `AMS_FAULT_STRIDE` says how many points are passed over (default 10; 1 = all).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ams, FREE_PORTS};
use crate::history::{Kind, check};
use crate::report;
use crate::script::{SMALLEST_SLOTS, Script};

/// Whatever changes a file or a name.
const CALLS: &str = "write,pwrite64,pwritev,fsync,fdatasync,openat,rename,renameat,renameat2,unlink,\
                     unlinkat,ftruncate,mkdir,mkdirat";
/// How soon a program that may not go on must be gone.
const SOON: Duration = Duration::from_secs(5);

/// A call and a file of the data directory; strace counts the calls of each thread on its own.
type Point = (String, String);

/// Where a run has its data and strace its lines; what the program finds in its environment.
struct Place<'a> {
    dir: &'a Path,
    trace: &'a Path,
    settings: &'a [(&'a str, &'a str)],
}

/// Runs the script under strace, which is told `what` about the calls on `file`. Answers how it
/// ended, and what strace saw.
async fn run(place: &Place<'_>, file: Option<&str>, what: &[String]) -> (Script, End, String) {
    let Place { dir, trace, settings } = place;
    let (shown, path) = (trace.to_str().unwrap(), file.map(|file| dir.join(file)));
    // The tracer stands aside, so that the child is the program itself.
    let mut words = vec!["strace", "-D", "-f", "-y", "-Y", "-ttt", "-o", shown, "-e"];
    let calls = format!("trace={CALLS}");
    words.push(&calls);
    if let Some(path) = &path {
        words.extend(["-P", path.to_str().unwrap()]);
    }
    for what in what {
        words.extend(["-e", what.as_str()]);
    }
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let mut script = Script::new(report::seed());
    let end = match Ams::start_under(&words, dir, &arguments, settings) {
        Err((status, said)) => End::AtStart(status, said),
        Ok(mut ams) => {
            script.play(&ams.api()).await;
            // What was in flight when the script ended may be its end too.
            let begun = Instant::now();
            let dying = script.gave_up();
            while dying && ams.ended().is_none() && begun.elapsed() < SOON {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            match ams.ended() {
                Some(status) => End::Meanwhile(status),
                None => End::Asked(ams.terminate().0),
            }
        }
    };
    let begun = Instant::now();
    loop {
        // The tracer writes its last lines after the program is gone.
        let seen = std::fs::read_to_string(trace).unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let still = std::fs::read_to_string(trace).is_ok_and(|now| now == seen);
        if still && (seen.contains("+++ ") || begun.elapsed() > SOON) {
            return (script, end, seen);
        }
    }
}

#[derive(Debug)]
enum End {
    AtStart(std::process::ExitStatus, String),
    Meanwhile(std::process::ExitStatus),
    Asked(std::process::ExitStatus),
}

/// The calls on files below `dir` that a run without faults makes: by call and file, the most that
/// one thread makes.
fn points(dir: &Path, seen: &str) -> BTreeMap<Point, u64> {
    let below = format!("{}/", dir.display());
    let mut counts: BTreeMap<(Point, String), u64> = BTreeMap::new();
    for line in seen.lines() {
        let Some((head, rest)) = line.split_once('(') else { continue };
        let call = head.rsplit(' ').next().unwrap();
        let thread = line.split(' ').next().unwrap();
        // `<path>` of a descriptor or `"path"` of an argument; the last is the one that changes.
        let Some((_, file)) = rest.split(" = ").next().unwrap().rsplit_once(&below) else {
            continue;
        };
        let file: String = file.chars().take_while(|c| !"<>\"".contains(*c)).collect();
        *counts.entry(((call.to_owned(), file), thread.to_owned())).or_default() += 1;
    }
    let mut most: BTreeMap<Point, u64> = BTreeMap::new();
    for ((point, _), count) in counts {
        let entry = most.entry(point).or_default();
        *entry = count.max(*entry);
    }
    most
}

fn is_commit((call, file): &Point) -> bool {
    call == "fdatasync" && (file.starts_with("broker/e") || file.starts_with("broker/s"))
}

pub(super) struct Totals {
    points: u64,
    tried: u64,
    struck: u64,
    acknowledged: u64,
    stopped: u64,
    slowest_stop: Duration,
}

/// Strikes every `stride`-th point of `faults`, judges each run, reopens without faults, judges that.
///
/// `more` is what the program finds in its environment besides.
pub(super) async fn strike(
    stride: u64,
    faults: impl Fn(&str) -> Vec<String>,
    more: &[(&str, &str)],
) -> Totals {
    let home = tempfile::tempdir().unwrap();
    // The names of a run are the same in each, so that one run tells the points of the others.
    let (dir, trace) = (home.path().join("data"), home.path().join("trace"));
    let settings = [SMALLEST_SLOTS, more].concat();
    let place = Place { dir: &dir, trace: &trace, settings: &settings };
    let (script, end, seen) = run(&place, None, &[]).await;
    assert!(matches!(&end, End::Asked(status) if status.success()), "without faults: {end:?}");
    assert!(!script.gave_up(), "without faults the script is played to its end");
    let points = points(&dir, &seen);
    let syncs: u64 = points.iter().filter(|(point, _)| is_commit(point)).map(|(_, n)| n).sum();
    // Each was waited for, so each has an fsync of its own.
    assert!(syncs >= script.changes(), "{syncs} fsyncs for {} changes", script.changes());

    let mut at = 0;
    let mut totals = Totals {
        points: 0,
        tried: 0,
        struck: 0,
        acknowledged: 0,
        stopped: 0,
        slowest_stop: Duration::ZERO,
    };
    for ((call, file), most) in &points {
        for fault in faults(call) {
            for nth in 1..=*most {
                totals.points += 1;
                at += 1;
                if at % stride != 0 {
                    continue;
                }
                totals.tried += 1;
                let what = format!("inject={call}:{fault}:when={nth}");
                one(&place, file, &what, &mut totals).await;
            }
        }
    }
    assert!(totals.tried > 0, "no point at all");
    assert!(totals.struck * 2 > totals.tried, "{} of {} were felt", totals.struck, totals.tried);
    totals
}

/// One run with a fault, and the next start without.
async fn one(place: &Place<'_>, file: &str, what: &str, totals: &mut Totals) {
    let Place { dir, trace, settings } = place;
    for path in [*dir, dir.with_extension("log").as_path(), *trace] {
        drop(std::fs::remove_dir_all(path));
        drop(std::fs::remove_file(path));
    }
    let (mut script, end, seen) = run(place, Some(file), &[what.to_owned()]).await;
    let context = format!("{what} on {file}: {end:?}");
    let injected = seen.lines().find(|line| line.contains("INJECTED"));
    let killed = seen.contains("killed by SIGKILL");
    totals.struck += u64::from(injected.is_some() || killed);
    match &end {
        End::AtStart(status, said) => {
            let lawful = killed || matches!(status.code(), Some(1 | 4));
            assert!(lawful, "{context} {said}");
        }
        End::Meanwhile(status) => {
            assert!(killed || status.code() == Some(4), "{context}");
        }
        // Its last words are system calls too.
        End::Asked(status) => {
            assert!(killed || matches!(status.code(), Some(0 | 4)), "{context}");
        }
    }
    if let Some(line) = injected
        && (line.contains("<entry-log>") || line.contains("<state-log>"))
        && !what.contains("EINTR")
    {
        stops(&script, &end, &seen, line, &context);
        totals.slowest_stop = totals.slowest_stop.max(script.since_refusal().unwrap_or_default());
        totals.stopped += 1;
    }
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let again = Ams::start_under(&["/usr/bin/env"], dir, &arguments, settings);
    let ams = again.unwrap_or_else(|(status, said)| panic!("{context}; again {status}: {said}"));
    let history = script.look(&ams.api()).await;
    totals.acknowledged += history.acknowledged();
    let violations = check(&history);
    let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{context}\n{}", shown.join("\n"));
}

/// A commit failed in `line` of what strace saw: its thread touches that file no more, nothing is
/// acknowledged any more, and unless it was the end anyway the program ends soon, with 4.
fn stops(script: &Script, end: &End, seen: &str, line: &str, context: &str) {
    let thread = line.split(' ').next().unwrap();
    let (_, after) = seen.split_once(line).unwrap();
    let touches = |line: &&str| {
        line.starts_with(thread) && (line.contains(" fdatasync(") || line.contains(" pwrite64("))
    };
    if let Some(touch) = after.lines().find(touches) {
        panic!("it goes on after {line}: {touch}: {context}");
    }
    assert!(!script.acknowledged_after_refusal(), "acknowledged afterwards: {context}");
    if script.gave_up() {
        let stopped = matches!(end, End::Meanwhile(status) if status.code() == Some(4));
        assert!(stopped, "it does not end by itself, with 4: {context}");
    }
}

fn stride() -> u64 {
    report::number("STRIDE", 10)
}

fn write(fault: &str, what: &str, totals: &Totals, begun: Instant) {
    // Each run was judged on its own, and one violation would have ended all.
    let none: BTreeMap<&str, u64> = Kind::ALL.map(|kind| (kind.name(), 0)).into();
    report::write(
        fault,
        json!({
            "what": what,
            "points": totals.points,
            "tried": totals.tried,
            "struck": totals.struck,
            "acknowledged": totals.acknowledged,
            "stopped_with_4": totals.stopped,
            "slowest_stop_ms": totals.slowest_stop.as_millis(),
            "seed": report::seed(),
            "seconds": begun.elapsed().as_secs(),
            "violations": none,
        }),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn a_kill_at_any_system_call_undoes_nothing() {
    let begun = Instant::now();
    let totals = strike(stride(), |_| vec!["signal=KILL".to_owned()], &[]).await;
    write("F3", "kill at the N-th system call", &totals, begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn an_error_of_any_system_call_undoes_nothing_and_no_commit_goes_on_after_one() {
    let begun = Instant::now();
    let faults = |call: &str| {
        let faults: &[&str] = match call {
            // Zero bytes written is what a short write comes to.
            "write" | "pwrite64" | "pwritev" => {
                &["error=EIO", "error=ENOSPC", "error=EINTR", "retval=0"]
            }
            "fsync" | "fdatasync" => &["error=EIO", "error=ENOSPC"],
            "openat" => &["error=EIO", "error=ENOSPC", "error=EMFILE"],
            _ => &["error=EIO"],
        };
        faults.iter().map(|fault| (*fault).to_owned()).collect()
    };
    let totals = strike(stride(), faults, &[]).await;
    assert!(totals.stopped > 0, "no commit was struck");
    write("F4", "an error of the N-th system call", &totals, begun);
}
