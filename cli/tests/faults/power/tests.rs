//! The recording and the disk that it is played into, tested themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Image, Survives};
use super::trace::{Call, Event, Recording, Step};
use crate::harness::Dice;

const ROOT: &str = "/r";

/// As strace shows text.
fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut shown, byte| {
        write!(shown, "\\x{byte:02x}").unwrap();
        shown
    })
}

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn create(name: &str) -> Call {
    Call::Open { path: path(name), create: true, exclusive: false, truncate: true }
}

fn write(name: &str, at: u64, data: &[u8]) -> Call {
    Call::Write { path: path(name), at: Some(at), data: data.to_vec() }
}

fn sync(name: &str) -> Call {
    Call::Sync { path: path(name) }
}

/// Each call returns before the next begins.
fn played(calls: &[Call]) -> Disk {
    let mut disk = Disk::new(Path::new(ROOT));
    for (call, what) in calls.iter().enumerate() {
        for step in [Step::Begin(what.clone()), Step::End(true)] {
            disk.play(&Event { time: 0, call, step });
        }
    }
    disk
}

fn left(disk: &Disk, survives: Survives, seed: u64) -> Image {
    disk.image(survives, &mut Dice(seed))
}

/// All that chance leaves of one file; `None` = it is not there.
fn chances(disk: &Disk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let image = |seed: u64| left(disk, Survives::Chance, seed * 0x9e37_79b9 + 1);
    (0..2_000).map(|seed| image(seed).files.get(Path::new(name)).cloned()).collect()
}

#[test]
fn what_strace_writes_is_read() {
    let (root, file, other) = (hex("/r"), hex("/r/f"), hex("/elsewhere"));
    let (x, y) = (hex("xx"), hex("y"));
    let text = format!(
        r#"7 1.000001 openat(AT_FDCWD<{root}>, "{file}", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3<{file}>
7 1.000002 pwritev(3<{file}>, [{{iov_base="{x}", iov_len=2}}, {{iov_base="{y}", iov_len=1}}], 2, 4096) = 3
7 1.000003 fdatasync(3<{file}> <unfinished ...>
8 1.000004 write(3<{file}>, "{y}", 1) = 1
8 1.000005 write(9<{other}>, "{y}", 1) = 1
8  1.000006 write(3<{file}>, "{x}", 2) = 2
7 1.000007 <... fdatasync resumed>) = 0
7 1.000008 --- SIGCHLD {{si_signo=SIGCHLD}} ---
8 1.000009 mkdir("{file}", 0700) = -1 EEXIST (File exists)
8 1.000010 write(3<{file}>(deleted), "{x}", 2) = 2
8 1.000011 rename("{file}", "{root}{file}" <unfinished ...>
7 1.000012 fsync(3<{file}> <unfinished ...>) = ?
7 1.000013 +++ killed by SIGKILL +++
"#
    );
    let mut recording = Recording::new(PathBuf::from(ROOT));
    let mut unfinished = recording.add(&text);
    unfinished.sort_unstable();
    assert_eq!(unfinished, [6, 7]);
    let event = |time: u64, call, step| Event { time: (1_000_000 + time) * 1_000, call, step };
    let begins = |time, call, what| event(time, call, Step::Begin(what));
    let ends = |time, call, ok| event(time, call, Step::End(ok));
    let to = PathBuf::from("/r/r/f");
    let expected = [
        begins(1, 0, create("f")),
        ends(1, 0, true),
        begins(2, 1, write("f", 4_096, b"xxy")),
        ends(2, 1, true),
        begins(3, 2, sync("f")),
        begins(4, 3, write("f", 0, b"y")),
        ends(4, 3, true),
        begins(6, 4, write("f", 1, b"xx")),
        ends(6, 4, true),
        ends(7, 2, true),
    ];
    assert_eq!(recording.events[..10], expected);
    assert_eq!(recording.events[10], begins(9, 5, Call::MakeDir { path: path("f") }));
    assert_eq!(recording.events[11], ends(9, 5, false));
    assert_eq!(recording.events[12], begins(11, 6, Call::Rename { from: path("f"), to }));
    assert_eq!(recording.events[13], begins(12, 7, sync("f")));
    assert_eq!((recording.events.len(), recording.calls()), (14, 8));
    recording.settle(&unfinished, |call| call == 7);
    assert_eq!(recording.events.len(), 14);
    assert_eq!(recording.events[13], event(12, 7, Step::Cut));
}

#[test]
fn what_was_not_synced_is_gone_whole_in_part_or_not_at_all() {
    let (old, new) = ([b'o'; 1_024], [b'n'; 1_024]);
    let calls = [create("f"), write("f", 0, &old), sync("f"), sync(""), write("f", 0, &new)];
    let disk = played(&calls);
    let content = |survives| left(&disk, survives, 1).files[Path::new("f")].clone();
    assert_eq!(content(Survives::Nothing), old);
    assert_eq!(content(Survives::Everything), new);
    let halves = |first: &[u8], second: &[u8]| Some([&first[..512], &second[..512]].concat());
    let all = [halves(&old, &old), halves(&old, &new), halves(&new, &old), halves(&new, &new)];
    assert_eq!(chances(&disk, "f"), all.into());
}

#[test]
fn a_file_is_as_long_as_was_synced_or_longer_with_zeros() {
    let calls = [create("f"), write("f", 0, b"a"), sync("f"), sync(""), write("f", 512, b"b")];
    let found = chances(&played(&calls), "f");
    let grown = |byte: u8| Some([&b"a"[..], &[0; 511], &[byte]].concat());
    assert!([Some(b"a".to_vec()), grown(0), grown(b'b')].iter().all(|one| found.contains(one)));
    assert!(found.iter().flatten().all(|content| content[0] == b'a' && content.len() <= 513));
}

#[test]
fn a_name_is_there_once_its_directory_is_synced() {
    let calls = [create("f.tmp"), write("f.tmp", 0, b"a"), sync("f.tmp")];
    let renamed = Call::Rename { from: path("f.tmp"), to: path("f") };
    let (before, after) = (calls.to_vec(), [&calls[..], &[renamed]].concat());
    let durable = [&after[..], &[sync("")]].concat();
    let gone = played(&[&durable[..], &[Call::Remove { path: path("f") }]].concat());
    let content = |disk: &Disk, survives, name: &str| {
        left(disk, survives, 1).files.get(Path::new(name)).cloned()
    };
    assert_eq!(content(&played(&before), Survives::Nothing, "f.tmp"), None);
    assert_eq!(content(&played(&after), Survives::Nothing, "f"), None);
    let both = BTreeSet::from([None, Some(b"a".to_vec())]);
    assert_eq!(chances(&played(&after), "f"), both);
    assert_eq!(content(&played(&durable), Survives::Nothing, "f"), Some(b"a".to_vec()));
    assert_eq!(content(&played(&durable), Survives::Nothing, "f.tmp"), None);
    assert_eq!(content(&gone, Survives::Nothing, "f"), Some(b"a".to_vec()));
    assert_eq!(content(&gone, Survives::Everything, "f"), None);
    assert_eq!(chances(&gone, "f"), both);
}

#[test]
fn a_sync_covers_what_had_returned_when_it_began_and_once_it_returned() {
    let mut disk = played(&[create("f"), sync("")]);
    let mut play = |call, step| disk.play(&Event { time: 0, call, step });
    let (begins, ends) = (Step::Begin, || Step::End(true));
    play(2, begins(write("f", 0, &[b'1'; 512])));
    play(2, ends());
    play(3, begins(write("f", 512, &[b'2'; 512])));
    play(4, begins(sync("f")));
    play(5, begins(write("f", 1_024, &[b'3'; 512])));
    play(5, ends());
    play(3, ends());
    let name = Path::new("f");
    assert_eq!(left(&disk, Survives::Nothing, 1).files[name], b"");
    disk.play(&Event { time: 0, call: 4, step: Step::End(true) });
    assert_eq!(left(&disk, Survives::Nothing, 1).files[name], [b'1'; 512]);
    assert_eq!(left(&disk, Survives::Everything, 1).files[name].len(), 1_536);
}

#[test]
fn what_a_kill_left_uncertain_is_told() {
    let (file, x) = (hex("/r/f"), hex("xx"));
    let written = |result: &str| {
        let mut recording = Recording::new(PathBuf::from(ROOT));
        recording.add(&format!(
            r#"7 1.000001 openat(AT_FDCWD<{file}>, "{file}", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3<{file}>
7 1.000002 write(3<{file}>, "{x}", 2) = {result}
"#
        ));
        recording.odd().map(str::to_owned)
    };
    assert_eq!(written("2"), None);
    assert_eq!(written("1").unwrap(), "a write of 2 came to 1");
    for (line, name) in
        [("???( <unfinished ...>", "???"), ("syscall_0x625(0x1) = ?", "syscall_0x625")]
    {
        let mut recording = Recording::new(PathBuf::from(ROOT));
        recording.add(&format!("7 1.000001 {line}\n"));
        assert_eq!(recording.odd().unwrap(), format!("strace does not know {name}"));
    }
}

#[test]
fn what_was_not_recorded_is_found() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    let mut disk = Disk::new(&root);
    let mut number = 0..;
    let mut play = |disk: &mut Disk, what: Call| {
        let call = number.next().unwrap();
        disk.play(&Event { time: 0, call, step: Step::Begin(what) });
        disk.play(&Event { time: 0, call, step: Step::End(true) });
    };
    let at = |name: &str| root.join(name);
    std::fs::create_dir(at("data")).unwrap();
    std::fs::write(at("data/f"), "ab").unwrap();
    play(&mut disk, Call::MakeDir { path: at("data") });
    assert_eq!(
        disk.differs(&at("data")).unwrap(),
        format!("{} is not recorded", at("data/f").display())
    );
    let create = Call::Open { path: at("data/f"), create: true, exclusive: true, truncate: false };
    play(&mut disk, create);
    play(&mut disk, Call::Write { path: at("data/f"), at: None, data: b"a".to_vec() });
    assert_eq!(disk.differs(&at("data")).unwrap(), "data/f: 1 bytes, of 2");
    play(&mut disk, Call::Write { path: at("data/f"), at: None, data: b"b".to_vec() });
    assert_eq!(disk.differs(&at("data")), None);
    // What is rebuilt is what was.
    let copy = tempfile::tempdir().unwrap();
    left(&disk, Survives::Everything, 1).write(copy.path());
    assert_eq!(std::fs::read(copy.path().join("data/f")).unwrap(), b"ab");
    std::fs::remove_file(at("data/f")).unwrap();
    assert_eq!(disk.differs(&at("data")).unwrap(), "data/f is recorded alone");
    // What cannot have been so is told, whatever lies there.
    play(&mut disk, Call::Sync { path: at("data/g") });
    assert_eq!(disk.differs(&at("data")).unwrap(), "call 4 came to something else");
}
