//! F2 with the program: what a power cut may leave after any of its system calls, rebuilt from a
//! recording of them, opened by the store and now and then by the program.
//!
//! `AMS_FAULT_IMAGES` says how many are rebuilt (default 2000).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::store::EmbeddedSettings;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Ams, Api, Dice, FREE_PORTS, PATIENCE};
use crate::history::{Kind, Outcome};
use crate::power::disk::{Disk, Image, Survives};
use crate::power::judge::{Object, Told, judge};
use crate::power::trace::{Call, Event, FLAGS, Recording, Step};
use crate::report;
use crate::script::SMALLEST_SLOTS;
use crate::storm::{CONSUMERS, Storm, TOPICS};

/// The log of acknowledgements is used again from its beginning, behind snapshots.
const SMALL_STATE: (&str, &str) = ("AMS_BROKER__STORE__EMBEDDED__STATE_LOG_BYTES", "65536");

/// The same, for the store.
fn settings() -> EmbeddedSettings {
    EmbeddedSettings {
        first_slot: 65_536,
        max_slot: 65_536,
        largest_record: 49_152,
        state_log_bytes: 65_536,
        ..EmbeddedSettings::default()
    }
}

/// How many publishes are answered before the first program is killed, and before the second is
/// told to end.
const ANSWERED: u64 = 150;
/// One of so many images is also opened by the program.
const PROGRAM_EVERY: u64 = 60;
/// So many are judged at once.
const ABREAST: usize = 3;
/// A kill in the middle of a call can leave a part of it, and of two calls at once nobody knows
/// which the kernel did first; then all is recorded once more.
const TRIES: usize = 10;

struct Recorded {
    recording: Recording,
    told: Told,
}

/// The program's calls under a storm: a first start, a kill, a second start, an end. An error when
/// what is on the disk is not what was recorded.
async fn record(more: &[(&str, &str)]) -> Result<Recorded, String> {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap().join("root");
    std::fs::create_dir(&root).unwrap();
    let dir = root.join("data");
    let storm = Arc::new(Storm::by_wall_clock(report::seed()));
    let mut told = Told { seed: report::seed(), ..Told::default() };
    let mut recording = Recording::new(root.clone());
    let settings = [SMALLEST_SLOTS, &[SMALL_STATE], more].concat();
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let objects = Arc::default();
    for cycle in 0..2 {
        let trace = home.path().join(format!("trace{cycle}"));
        let words = [&["strace"], FLAGS, &["-o", trace.to_str().unwrap()]].concat();
        let mut ams = Ams::start_under(&words, &dir, &arguments, &settings)
            .unwrap_or_else(|(status, said)| panic!("under strace: {status}; {said}"));
        if cycle == 0 {
            (told.ready, told.secrets) = (storm.now(), secrets(&dir));
            let began = storm.now();
            storm.prepare(&ams.api()).await;
            prepared(began, storm.now(), &objects);
        }
        let mut tasks = storm.rage(&ams, cycle);
        tasks.spawn(make_and_remove(ams.api(), Arc::clone(&storm), cycle, Arc::clone(&objects)));
        let (before, begun) = (storm.answered(), Instant::now());
        while storm.answered() < before + ANSWERED {
            assert!(begun.elapsed() < PATIENCE, "{} publishes are answered", storm.answered());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if cycle == 0 {
            ams.kill();
        } else {
            assert_eq!(ams.terminate().0.code(), Some(0));
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        let unfinished = recording.add(&written(&trace).await);
        recording = settle(&recording, &unfinished, &root, &dir)?;
    }
    told.history = storm.so_far();
    told.objects = objects.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Recorded { recording, told })
}

/// Which of the calls that did not return were made: what is on the disk tells.
fn settle(
    recording: &Recording,
    unfinished: &[usize],
    root: &Path,
    dir: &Path,
) -> Result<Recording, String> {
    if let Some(odd) = recording.odd() {
        return Err(odd.to_owned());
    }
    let mut why = String::new();
    for missing in 0..1_u32 << unfinished.len().min(8) {
        let mut settled = recording.clone();
        settled.settle(unfinished, |call| {
            let at = unfinished.iter().position(|other| *other == call).unwrap();
            missing >> at & 1 == 0
        });
        let mut disk = Disk::new(root);
        settled.events.iter().for_each(|event| disk.play(event));
        match disk.differs(dir) {
            None => return Ok(settled),
            Some(what) => why = what,
        }
    }
    Err(why)
}

/// What strace wrote, once it has written all.
async fn written(trace: &Path) -> String {
    let begun = Instant::now();
    loop {
        let seen = std::fs::read_to_string(trace).unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let still = std::fs::read_to_string(trace).is_ok_and(|now| now == seen);
        if still && seen.trim_end().ends_with("+++") {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "strace does not end");
    }
}

/// What clients were given, and the key to the tokens in the store.
fn secrets(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in ["admin.token", "token.key", "tls/ca.pem"] {
        found.insert(PathBuf::from(path), std::fs::read(dir.join(path)).unwrap());
    }
    found
}

type Objects = Arc<Mutex<Vec<Object>>>;

fn note(objects: &Objects, object: Object) {
    objects.lock().unwrap_or_else(PoisonError::into_inner).push(object);
}

/// What the storm has prepared.
fn prepared(began: u64, ended: u64, objects: &Objects) {
    let topics = (0..TOPICS).flat_map(|topic| [format!("topic/t{topic}"), format!("sub/r{topic}")]);
    for key in topics.chain((0..CONSUMERS).map(|consumer| format!("sub/c{consumer}"))) {
        note(objects, Object { key, began, ended, there: true, outcome: Outcome::Ok(()) });
    }
}

/// Makes and removes topics and subscriptions, one call after the other, until nobody answers.
async fn make_and_remove(api: Api, storm: Arc<Storm>, cycle: u32, objects: Objects) {
    for number in 0_u32.. {
        let topic = |number: u32| format!("projects/P/topics/x{cycle}-{number}");
        let subscription = |number: u32| format!("projects/P/subscriptions/x{cycle}-{number}");
        let body = json!({"topic": topic(number), "ackDeadlineSeconds": 600});
        let mut calls = vec![
            (Method::PUT, topic(number), json!({})),
            (Method::PUT, subscription(number), body),
        ];
        if let Some(before) = number.checked_sub(1) {
            calls.push((Method::DELETE, topic(before), Value::Null));
            calls.push((Method::DELETE, subscription(before), Value::Null));
        }
        for (method, path, body) in calls {
            let key = path.trim_start_matches("projects/P/");
            let key = key.replace("topics/", "topic/").replace("subscriptions/", "sub/");
            let (began, there) = (storm.now(), method == Method::PUT);
            let outcome = match api.try_call(method, &path, &body).await {
                Ok((200, _)) => Outcome::Ok(()),
                Ok((500.., _)) => Outcome::Unknown,
                Err(error) if error.is_connect() => return,
                Err(_) => Outcome::Unknown,
                Ok((status, answer)) => panic!("{path}: {status} {answer}"),
            };
            let over = outcome == Outcome::Unknown;
            note(&objects, Object { key, began, ended: storm.now(), there, outcome });
            if over {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What was counted.
#[derive(Default)]
struct Totals {
    images: u64,
    by_the_program: u64,
    messages: u64,
}

/// One image and where it comes from.
struct Cut {
    image: Image,
    /// When the power was cut at the latest.
    time: u64,
    name: String,
    with_program: bool,
}

/// Where images lie: in memory, if that can be.
fn room() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

async fn open(cut: Cut, told: Arc<Told>) -> u64 {
    let room = room();
    let dir = room.path().join("root");
    std::fs::create_dir(&dir).unwrap();
    cut.image.write(&dir);
    let messages = judge(&dir.join("data"), settings(), &told, cut.time).await;
    let messages = messages.unwrap_or_else(|what| panic!("{}: {what}", cut.name));
    if cut.with_program {
        let dir = room.path().join("again");
        std::fs::create_dir(&dir).unwrap();
        cut.image.write(&dir);
        with_the_program(&dir.join("data"), &told, &cut).await;
    }
    messages
}

/// The program starts on it and lets in whom it had told a token.
async fn with_the_program(dir: &Path, told: &Told, cut: &Cut) {
    let settings = [SMALLEST_SLOTS, &[SMALL_STATE]].concat();
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let ams = Ams::start_under(&["/usr/bin/env"], dir, &arguments, &settings);
    let ams = ams.unwrap_or_else(|(status, said)| {
        panic!("{}: a lawful power cut is refused: {status}; {said}", cut.name)
    });
    if told.ready < cut.time {
        let found = secrets(dir);
        assert!(found == told.secrets, "{}: what was told is lost", cut.name);
    }
    let (status, answer) = ams.api().try_call(Method::GET, "projects", &Value::Null).await.unwrap();
    assert_eq!(status, 200, "{}: {answer}", cut.name);
    assert_eq!(ams.terminate().0.code(), Some(0), "{}", cut.name);
}

/// Rebuilds and judges about `images` of them, spread over all calls.
async fn cut_everywhere(recorded: Recorded, images: u64) -> Totals {
    let Recorded { recording, told } = recorded;
    let (told, root) = (Arc::new(told), recording.below().to_owned());
    let mut dice = Dice(report::seed() | 1);
    let mut disk = Disk::new(&root);
    let mut tasks: JoinSet<u64> = JoinSet::new();
    let mut totals = Totals::default();
    let events = &recording.events;
    for (at, event) in events.iter().enumerate() {
        disk.play(event);
        let due = (at as u64 + 1) * images / events.len() as u64;
        while totals.images < due {
            let survives = match totals.images % 8 {
                0 | 4 => Survives::Nothing,
                1 => Survives::Everything,
                _ => Survives::Chance,
            };
            let with_program = totals.images % PROGRAM_EVERY == PROGRAM_EVERY - 1;
            let (image, time) = (disk.image(survives, &mut dice), latest(events, at));
            let name = format!("image {} at {}, {survives:?}", totals.images, shown(event, at));
            totals.images += 1;
            totals.by_the_program += u64::from(with_program);
            let cut = Cut { image, time, name, with_program };
            tasks.spawn(open(cut, Arc::clone(&told)));
            while tasks.len() >= ABREAST {
                totals.messages += finished(&mut tasks).await;
            }
        }
    }
    while !tasks.is_empty() {
        totals.messages += finished(&mut tasks).await;
    }
    totals
}

async fn finished(tasks: &mut JoinSet<u64>) -> u64 {
    match tasks.join_next().await.unwrap() {
        Ok(messages) => messages,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// When the power can have been cut at the latest after event `at`, and before the next: what was
/// told until then was told. In the middle of a call nobody knows when that was, so: its beginning.
fn latest(events: &[Event], at: usize) -> u64 {
    match &events[at].step {
        Step::Begin(_) => events[at].time,
        Step::End(_) | Step::Cut => events.get(at + 1).map_or(u64::MAX, |next| next.time),
    }
}

fn shown(event: &Event, at: usize) -> String {
    match &event.step {
        Step::Begin(Call::Write { path, at: place, data }) => {
            let (path, len) = (path.display(), data.len());
            format!("event {at}, in a write of {len} bytes to {path} at {place:?}")
        }
        Step::Begin(call) => format!("event {at}, in {call:?}"),
        Step::End(_) | Step::Cut => format!("event {at}, after call {}", event.call),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn a_power_cut_after_any_system_call_undoes_nothing() {
    run(report::number("IMAGES", 2_000), &[]).await;
}

/// `more` is what the program finds in its environment besides, while it is recorded.
pub(super) async fn run(images: u64, more: &[(&str, &str)]) {
    let begun = Instant::now();
    let mut recorded = Err(String::new());
    for _ in 0..TRIES {
        recorded = record(more).await;
        if recorded.is_ok() {
            break;
        }
    }
    let recorded = recorded.unwrap_or_else(|what| panic!("it is not recorded right: {what}"));
    let Recorded { recording, told } = &recorded;
    let renamed = |name: &str| {
        recording.events.iter().any(|event| {
            matches!(&event.step, Step::Begin(Call::Rename { to, .. })
                if to.file_name().unwrap().to_str().unwrap().starts_with(name))
        })
    };
    let files = renamed("store") && renamed("snap");
    let acknowledged = told.history.acknowledged();
    let storm = acknowledged > ANSWERED && !told.history.acks.is_empty();
    let names = told.objects.len() > 20;
    let (calls, cuts) = (recording.calls(), recording.events.len());
    let recorded_in = begun.elapsed().as_secs();
    let totals = cut_everywhere(recorded, images).await;
    assert!(files && storm && names, "not enough happened: {files} {storm} {names}");
    // Each image was judged on its own, and one violation would have ended all.
    let none: BTreeMap<&str, u64> = Kind::ALL.map(|kind| (kind.name(), 0)).into();
    report::write(
        "F2 (program)",
        json!({
            "what": "a power cut at the N-th system call, rebuilt",
            "acknowledged": acknowledged,
            "calls": calls,
            "places_to_cut": cuts,
            "images": totals.images,
            "by_the_program": totals.by_the_program,
            "messages_looked_for": totals.messages,
            "seed": report::seed(),
            "seconds": begun.elapsed().as_secs(),
            "seconds_recorded": recorded_in,
            "violations": none,
        }),
    );
}
