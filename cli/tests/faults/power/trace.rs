//! What strace saw, as calls on files below one directory.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Flags for strace without which [`Recording::add`] cannot read its lines, and whatever changes a file, a
/// name or what is durable of them. What is missing here is found by [`super::disk::Disk::differs`].
pub(crate) const FLAGS: &[&str] = &[
    "-D",
    "-f",
    "-y",
    "-ttt",
    "-v",
    "-xx",
    "-s",
    "16777216",
    "--seccomp-bpf",
    "-e",
    "trace=openat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fsync,fdatasync,rename,renameat,\
     renameat2,unlink,unlinkat,mkdir,mkdirat",
];

/// A system call that matters; paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// With `O_CREAT`, `O_EXCL`, `O_TRUNC`.
    Open {
        path: PathBuf,
        create: bool,
        exclusive: bool,
        truncate: bool,
    },
    /// `at` a place of its own or where the descriptor was; `None` = at the end.
    Write {
        path: PathBuf,
        at: Option<u64>,
        data: Vec<u8>,
    },
    SetLen {
        path: PathBuf,
        len: u64,
    },
    /// Of a file or a directory.
    Sync {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
}

/// Half of a call: others happen in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// From now on its effect may be there.
    Begin(Call),
    /// It returned; whether with success.
    End(bool),
    /// It was made, and its program was killed before it returned.
    Cut,
}

/// When (nanoseconds since 1970, rounded down to microseconds), which call (counted from 0), what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time: u64,
    pub(crate) call: usize,
    pub(crate) step: Step,
}

/// The calls of programs that ran one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    below: PathBuf,
    calls: usize,
    pub(crate) events: Vec<Event>,
    /// The first call of which it is not known what it did.
    odd: Option<String>,
}

/// What is known of one program.
#[derive(Default)]
struct Program {
    /// By descriptor: where it writes next; `None` = at the end.
    places: HashMap<u32, Option<u64>>,
    /// By thread: what it is in the middle of.
    unfinished: HashMap<String, Unfinished>,
}

struct Unfinished {
    call: Option<usize>,
    what: What,
}

/// What the end of a call is needed for.
#[derive(Clone, Copy)]
enum What {
    /// A descriptor begins here.
    Opens {
        append: bool,
    },
    /// So many bytes or none.
    Writes(usize),
    Other,
}

impl Recording {
    /// Of calls on what is `below` this directory, which has no symbolic link in its path.
    pub(crate) const fn new(below: PathBuf) -> Self {
        Self { below, calls: 0, events: Vec::new(), odd: None }
    }

    /// The directory.
    pub(crate) fn below(&self) -> &Path {
        &self.below
    }

    /// Why it tells nothing certain: a kill cut a write short, or came while strace asked what the
    /// call was.
    pub(crate) fn odd(&self) -> Option<&str> {
        self.odd.as_deref()
    }

    /// Calls so far.
    pub(crate) const fn calls(&self) -> usize {
        self.calls
    }

    /// Adds what strace wrote about one program. Answers the calls that did not return: it was
    /// killed, and they were made or not.
    pub(crate) fn add(&mut self, text: &str) -> Vec<usize> {
        let mut program = Program::default();
        for line in text.lines() {
            self.line(line, &mut program);
        }
        program.unfinished.into_values().filter_map(|unfinished| unfinished.call).collect()
    }

    /// Says of calls that did not return whether they were made.
    pub(crate) fn settle(&mut self, calls: &[usize], made: impl Fn(usize) -> bool) {
        self.events.retain(|event| !calls.contains(&event.call) || made(event.call));
        let time = self.events.last().map_or(0, |event| event.time);
        let made = calls.iter().filter(|call| made(**call));
        self.events.extend(made.map(|call| Event { time, call: *call, step: Step::Cut }));
    }

    fn line(&mut self, line: &str, program: &mut Program) {
        // Numbers of threads are padded.
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { return };
        if rest.starts_with("+++") || rest.starts_with("---") {
            return;
        }
        let time = nanoseconds(time);
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, result) = resumed.rsplit_once(" = ").unwrap();
            if let Some(begun) = program.unfinished.remove(thread) {
                self.end(time, thread, begun, result, program);
            }
            return;
        }
        let (name, rest) = rest.split_once('(').unwrap_or_else(|| panic!("strace wrote {rest}"));
        if let Some(arguments) = rest.strip_suffix("<unfinished ...>") {
            let begun = self.begin(time, name, arguments.trim_end(), program);
            program.unfinished.insert(thread.to_owned(), begun);
            return;
        }
        let (arguments, result) = rest.rsplit_once(" = ").unwrap();
        let arguments = arguments.trim_end().strip_suffix(')').unwrap();
        // Its thread was ended in it.
        let arguments = arguments.trim_end_matches("<unfinished ...>").trim_end();
        let begun = self.begin(time, name, arguments, program);
        self.end(time, thread, begun, result, program);
    }

    fn begin(
        &mut self,
        time: u64,
        name: &str,
        arguments: &str,
        program: &mut Program,
    ) -> Unfinished {
        if is_unknown(name) {
            self.odd.get_or_insert_with(|| format!("strace does not know {name}"));
        }
        let arguments = Arguments::of(arguments);
        let call = self.call(name, &arguments, program);
        let what = match &call {
            Some(Call::Write { data, .. }) => What::Writes(data.len()),
            // Also of other files: the descriptor is not what it was.
            _ if name == "openat" => What::Opens { append: arguments.flag("O_APPEND") },
            _ => What::Other,
        };
        let call = call.map(|call| {
            self.events.push(Event { time, call: self.calls, step: Step::Begin(call) });
            self.calls += 1;
            self.calls - 1
        });
        Unfinished { call, what }
    }

    fn end(
        &mut self,
        time: u64,
        thread: &str,
        begun: Unfinished,
        result: &str,
        program: &mut Program,
    ) {
        let Some(result) = number(result) else {
            // `?`: it never came back.
            program.unfinished.insert(thread.to_owned(), begun);
            return;
        };
        let ok = result >= 0;
        match begun.what {
            What::Opens { append } if ok => {
                let place = (!append).then_some(0);
                program.places.insert(u32::try_from(result).unwrap(), place);
            }
            What::Writes(len) if usize::try_from(result) != Ok(len) => {
                self.odd.get_or_insert_with(|| format!("a write of {len} came to {result}"));
            }
            _ => {}
        }
        if let Some(call) = begun.call {
            self.events.push(Event { time, call, step: Step::End(ok) });
        }
    }

    /// The call, if it is on a file of ours that still has a name.
    fn call(&self, name: &str, arguments: &Arguments<'_>, program: &mut Program) -> Option<Call> {
        let ours = |path: Option<PathBuf>| path.filter(|path| path.starts_with(&self.below));
        match name {
            "openat" => Some(Call::Open {
                path: ours(arguments.path_at(0))?,
                create: arguments.flag("O_CREAT"),
                exclusive: arguments.flag("O_EXCL"),
                truncate: arguments.flag("O_TRUNC"),
            }),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => {
                let path = ours(arguments.open_file())?;
                let data = strings(arguments.0[1]);
                let at = if name.starts_with('p') {
                    Some(arguments.0[3].parse().unwrap())
                } else {
                    // What it did not open it was given: its log.
                    let place = program.places.get_mut(&arguments.descriptor())?;
                    let at = *place;
                    *place = at.map(|at| at + data.len() as u64);
                    at
                };
                Some(Call::Write { path, at, data })
            }
            "ftruncate" => {
                let len = arguments.0[1].parse().unwrap();
                Some(Call::SetLen { path: ours(arguments.open_file())?, len })
            }
            "fsync" | "fdatasync" => Some(Call::Sync { path: ours(arguments.open_file())? }),
            "rename" => self.rename(arguments.path(0), arguments.path(1)),
            "renameat" | "renameat2" => self.rename(arguments.path_at(0), arguments.path_at(2)),
            "unlink" => Some(Call::Remove { path: ours(arguments.path(0))? }),
            "unlinkat" => Some(Call::Remove { path: ours(arguments.path_at(0))? }),
            "mkdir" => Some(Call::MakeDir { path: ours(arguments.path(0))? }),
            "mkdirat" => Some(Call::MakeDir { path: ours(arguments.path_at(0))? }),
            other if is_unknown(other) => None,
            other => panic!("strace traced {other}"),
        }
    }

    fn rename(&self, from: Option<PathBuf>, to: Option<PathBuf>) -> Option<Call> {
        let (from, to) = (from?, to?);
        let ours = [&from, &to].map(|path| path.starts_with(&self.below));
        assert_eq!(ours[0], ours[1], "a rename into or out of the directory");
        ours[0].then_some(Call::Rename { from, to })
    }
}

/// What strace writes for a call of a thread that is gone before it can ask.
fn is_unknown(name: &str) -> bool {
    name == "???" || name.starts_with("syscall_")
}

/// Seconds with six decimals.
fn nanoseconds(text: &str) -> u64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u64>().unwrap() * 1_000
}

/// The number that `text` begins with.
fn number(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// The arguments of a call. All text in them is hexadecimal, so that commas and brackets are
/// strace's own.
struct Arguments<'a>(Vec<&'a str>);

impl<'a> Arguments<'a> {
    fn of(text: &'a str) -> Self {
        let mut depth = 0;
        let between = text.split(move |c: char| {
            depth += i32::from(c == '[' || c == '{') - i32::from(c == ']' || c == '}');
            c == ',' && depth == 0
        });
        Self(between.map(str::trim).collect())
    }

    /// Of an `openat`.
    fn flag(&self, flag: &str) -> bool {
        self.0[2].split('|').any(|word| word == flag)
    }

    fn descriptor(&self) -> u32 {
        let (number, _) = self.0[0].split_once('<').unwrap();
        number.parse().unwrap()
    }

    /// The path of the descriptor that comes first; `None` when it has no name any more.
    fn open_file(&self) -> Option<PathBuf> {
        let (_, path) = self.0[0].split_once('<')?;
        let path = path.strip_suffix('>')?;
        Some(path_of(hex(path)))
    }

    fn path(&self, at: usize) -> Option<PathBuf> {
        Some(path_of(strings(self.0.get(at)?)))
    }

    /// The path behind the directory that `at` names.
    fn path_at(&self, at: usize) -> Option<PathBuf> {
        let (_, dir) = self.0[at].split_once('<')?;
        Some(path_of(hex(dir.strip_suffix('>')?)).join(self.path(at + 1)?))
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    Path::new(&std::ffi::OsString::from_vec(bytes)).to_owned()
}

/// All quoted strings in `text`, one behind the other.
fn strings(text: &str) -> Vec<u8> {
    assert!(!text.contains("..."), "strace cut short {text:.200}");
    text.split('"').skip(1).step_by(2).flat_map(hex).collect()
}

/// `\x` and two digits each; what is none is itself (descriptors of no file).
fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut groups = text.as_bytes().chunks(4);
    let bytes = groups.clone().map(|group| match group {
        [b'\\', b'x', high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes.unwrap_or_else(|| groups.by_ref().flatten().copied().collect())
}
