//! One stream, frame by frame from a snapshot's position on: steps 3 to 6 of `log.md` 2.

use std::collections::HashMap;

use super::OpenError;
use super::disk::Disk;
use super::frame::{Frame, Kind, Point};
use super::layout::{FRAME_HEADER, Header, PAGE, Slot, Stream, index, page_down, page_up};
use super::rules::{Bug, Rules};
use super::snapshot::{Noted, Position};
use super::window::Window;

/// What a stream's frames say of the other stream, and their own CRCs.
#[derive(Default)]
struct Evidence {
    /// CRC of each frame read, in order, from the position on.
    crcs: Vec<u32>,
    /// What its frames witnessed, each once.
    vouched: Vec<Point>,
}

/// Where a stream ends, and what recovery must write there again.
pub(super) struct Tail {
    /// Which stream.
    pub(super) stream: Stream,
    /// The last slot.
    pub(super) slot: Slot,
    /// Where the next frame goes.
    pub(super) at: u64,
    /// The last good frame.
    pub(super) end: Point,
    /// That frame's place; `None` if none lies behind the position.
    pub(super) last: Option<Last>,
    /// Whether the slot's header is there.
    pub(super) headed: bool,
    /// Bytes of frames behind the position.
    pub(super) read: u64,
    /// The slots in use, in order; the last is the tail's.
    pub(super) live: Vec<Slot>,
    /// Content of the tail page before `at`.
    pub(super) page: Vec<u8>,
    /// What lies in the tail's place: from `at` to the end of its page and of what a torn frame
    /// there claims. Empty if that is zeros.
    pub(super) torn: Vec<u8>,
    /// The other stream's frame that the last frame witnesses.
    pub(super) witness: Point,
    /// Sequence of the last frame that is more than a mark (data or seal); 0 = none.
    pub(super) spoke: u64,
}

/// The last good frame, to be written again.
pub(super) struct Last {
    /// Its slot, which is not the tail's if it is a seal.
    pub(super) slot: u32,
    /// Where its first page begins.
    pub(super) from: u64,
    /// Its pages, with zeros behind it.
    pub(super) pages: Vec<u8>,
    /// Whether it is the last of a clean stop.
    pub(super) clean: bool,
}

/// A refusal: file, offset, what is wrong.
pub(super) fn damaged<T>(file: &str, at: u64, what: &str) -> Result<T, OpenError> {
    Err(OpenError::Damaged(format!("{file} at offset {at}: {what}")))
}

/// Attaches what was being done to an I/O error.
pub(super) fn failed<'a>(
    doing: &'a str,
    name: &'a str,
) -> impl FnOnce(std::io::Error) -> OpenError + 'a {
    move |error| OpenError::Io(format!("cannot {doing} {name}"), error)
}

/// One stream being read from a position on.
pub(super) struct Reading<'a> {
    disk: &'a dyn Disk,
    stream: Stream,
    rules: Rules,
    headers: HashMap<u32, Header>,
    /// The last durable frames of both streams when the snapshot was finished, this one's part.
    vouched: Point,
    from: Position,
    /// Slots that the snapshot or a seal named, in order.
    live: Vec<Slot>,
    headed: bool,
    read: u64,
    slot: Slot,
    window: Window<'a>,
    at: u64,
    end: Point,
    /// The last good frame of this slot.
    last: Option<Frame>,
    /// The seal before this slot.
    seal: Option<Last>,
    witness: Point,
    /// The last frame that the other stream must witness.
    spoke: u64,
    evidence: Evidence,
}

impl<'a> Reading<'a> {
    /// Steps 3 and 4: all headers; every slot that the snapshot lists must be what it says.
    pub(super) fn new(
        disk: &'a dyn Disk,
        store: u64,
        noted: &Noted,
        stream: Stream,
        slots: &[(Stream, u32)],
        rules: Rules,
    ) -> Result<Self, OpenError> {
        let mut headers = HashMap::new();
        for (_, number) in slots.iter().filter(|(of, _)| *of == stream) {
            let file = stream.file(*number);
            let len = disk.len(&file).map_err(failed("read", &file))?.min(PAGE);
            let mut page = vec![0; index(len)];
            disk.read(&file, 0, &mut page).map_err(failed("read", &file))?;
            let header = Slot::parse_header(&page, stream, store, *number);
            if header == Header::Newer {
                return Err(OpenError::Newer(format!("the header of {file} names its format")));
            }
            headers.insert(*number, header);
        }
        for slot in &noted.slots {
            let file = stream.file(slot.number);
            if !is_whole(disk, &headers, stream, slot)? {
                return damaged(&file, 0, "the slot in use is missing or not of its length");
            }
            if headers.get(&slot.number) != Some(&Header::Intact(slot.clone())) {
                return damaged(&file, 0, "the header is not the one that the snapshot names");
            }
        }
        let Some(slot) = noted.slots.last().cloned() else {
            return Err(OpenError::Damaged(String::from("a snapshot that names no slot")));
        };
        let from = page_down(noted.position.offset);
        let window = Window::new(disk, stream.file(slot.number), slot.len(), from);
        Ok(Self {
            disk,
            stream,
            rules,
            headers,
            vouched: noted.end,
            from: noted.position,
            live: noted.slots.clone(),
            headed: true,
            read: 0,
            slot,
            window,
            at: noted.position.offset,
            end: noted.position.last,
            last: None,
            seal: None,
            witness: Point::default(),
            spoke: 0,
            evidence: Evidence::default(),
        })
    }

    fn file(&self) -> String {
        self.stream.file(self.slot.number)
    }

    /// Step 5: frame by frame, until one is not good.
    pub(super) fn run(
        &mut self,
        mut data: impl FnMut(&Slot, u64, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        loop {
            let next = self.end.sequence.saturating_add(1);
            let found = self.window.frame(self.at, self.slot.life, self.kept_from());
            let found = found.map_err(failed("read", &self.file()))?;
            let good =
                found.filter(|frame| frame.sequence == next && frame.previous == self.end.crc);
            let Some(good) = good else {
                return self.judge_tail(found);
            };
            let Some(kind) = Kind::known(good.kind) else {
                let what =
                    format!("{} at offset {}: frame kind {}", self.file(), good.at, good.kind);
                return Err(OpenError::Newer(what));
            };
            let payload = self.window.part(good.at + FRAME_HEADER, good.end);
            match kind {
                Kind::Data => {
                    data(&self.slot, good.at + FRAME_HEADER, payload)?;
                }
                Kind::Clean | Kind::Witness if !payload.is_empty() => {
                    return damaged(&self.file(), good.at, "a frame that must be empty is not");
                }
                Kind::Clean | Kind::Witness | Kind::Seal => {}
            }
            self.accept(&good, kind);
            if kind == Kind::Seal && !self.follow(&good)? {
                return self.no_higher_generation();
            }
        }
    }

    fn accept(&mut self, good: &Frame, kind: Kind) {
        self.last = Some(*good);
        self.read += good.end - good.at;
        self.at = good.end;
        self.end = Point { sequence: good.sequence, crc: good.crc };
        if matches!(kind, Kind::Data | Kind::Seal) {
            self.spoke = good.sequence;
        }
        self.evidence.crcs.push(good.crc);
        if self.witness != good.witness {
            self.witness = good.witness;
            self.evidence.vouched.push(good.witness);
        }
    }

    /// Goes on to the slot that a seal names; `false` when the switch was cut before its header.
    fn follow(&mut self, seal: &Frame) -> Result<bool, OpenError> {
        let payload = self.window.part(seal.at + FRAME_HEADER, seal.end);
        let named = Slot::parse_seal(payload, seal.sequence, seal.crc);
        let Some(next) = named else {
            return damaged(&self.file(), seal.at, "a seal that names no slot");
        };
        let file = self.stream.file(next.number);
        if !is_whole(self.disk, &self.headers, self.stream, &next)? {
            return damaged(&file, 0, "a seal names this slot; it is missing or not of its length");
        }
        let window = Window::new(self.disk, file.clone(), next.len(), PAGE);
        let headed = self.headers.get(&next.number) == Some(&Header::Intact(next.clone()));
        if !headed
            && !self.rules.plants(Bug::NoSeal)
            && let Some(frame) =
                window.find_intact(0, next.life, 0).map_err(failed("read", &file))?
        {
            let what =
                format!("the header is damaged: frame {} lies at {}", frame.sequence, frame.at);
            return damaged(&file, 0, &what);
        }
        self.live.push(next.clone());
        self.headed = headed;
        self.seal = self.last_of_slot()?;
        self.last = None;
        self.slot = next;
        self.window = window;
        self.at = PAGE;
        Ok(headed)
    }

    /// What lies at the tail is not the next frame: a torn write, or damage?
    fn judge_tail(&self, found: Option<Frame>) -> Result<(), OpenError> {
        if self.rules.plants(Bug::Lenient) {
            return Ok(());
        }
        let next = self.end.sequence.saturating_add(1);
        if found.is_some_and(|frame| frame.sequence == next) {
            let what = format!("frame {next} does not follow the frame before it");
            return damaged(&self.file(), self.at, &what);
        }
        // An intact S+1 behind the tail proves nothing, because payloads are other people's bytes.
        let least = if self.rules.plants(Bug::AnyRule) {
            0
        } else {
            next.saturating_add(if self.rules.plants(Bug::S3Rule) { 2 } else { 1 })
        };
        let behind = self.window.find_intact(self.at, self.slot.life, least);
        let behind = behind.map_err(failed("read", &self.file()))?;
        if let Some(behind) = behind {
            let what = format!(
                "frame {next} is broken, but frame {} is intact at {}",
                behind.sequence, behind.at
            );
            return damaged(&self.file(), self.at, &what);
        }
        self.no_higher_generation()
    }

    fn no_higher_generation(&self) -> Result<(), OpenError> {
        let higher = self.headers.iter().find_map(|(number, header)| match header {
            Header::Intact(slot) if slot.generation > self.slot.generation => Some(number),
            _ => None,
        });
        match higher {
            Some(number) if !self.rules.plants(Bug::Lenient) => {
                let what = format!("the log ends here, but {} is newer", self.stream.file(*number));
                damaged(&self.file(), self.at, &what)
            }
            _ => Ok(()),
        }
    }

    /// Step 6: what the other stream's frames witness, and the snapshot's ends, must have been
    /// found.
    pub(super) fn vouched_by(&self, other: &Self) -> Result<(), OpenError> {
        if self.rules.plants(Bug::Lenient) || self.rules.plants(Bug::NoWitness) {
            return Ok(());
        }
        for point in other.evidence.vouched.iter().chain([&self.vouched]) {
            let crc = match point.sequence.checked_sub(self.from.last.sequence) {
                // The snapshot is past it.
                None => continue,
                Some(0) => Some(&self.from.last.crc),
                Some(behind) => self.evidence.crcs.get(index(behind - 1)),
            };
            match crc {
                None => {
                    let what = format!(
                        "the log ends with frame {}, but frame {} was durable",
                        self.end.sequence, point.sequence
                    );
                    return damaged(&self.file(), self.at, &what);
                }
                Some(crc) if *crc != point.crc => {
                    let what = format!("frame {} is not the one that was durable", point.sequence);
                    return damaged(&self.file(), self.at, &what);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// From where on the window must hold what is written again: the last good frame.
    fn kept_from(&self) -> u64 {
        page_down(self.last.map_or(self.at, |last| last.at))
    }

    /// The last good frame of this slot, to be written again.
    fn last_of_slot(&mut self) -> Result<Option<Last>, OpenError> {
        let Some(frame) = self.last else { return Ok(None) };
        let from = page_down(frame.at);
        let pages = self.window.read(from, frame.end);
        let mut pages = pages.map_err(failed("read", &self.file()))?;
        pages.resize(index(page_up(frame.end) - from), 0);
        let clean = Kind::known(frame.kind) == Some(Kind::Clean);
        Ok(Some(Last { slot: self.slot.number, from, pages, clean }))
    }

    /// The files of this stream that are not in use, and what their header pages are.
    pub(super) fn unused(&self) -> impl Iterator<Item = (u32, &Header)> {
        let unused = self.headers.iter();
        let unused = unused.map(|(number, header)| (*number, header));
        unused.filter(|(number, _)| !self.live.iter().any(|slot| slot.number == *number))
    }

    /// Where it ends.
    ///
    /// # Errors
    /// The slot cannot be read.
    pub(super) fn tail(mut self) -> Result<Tail, OpenError> {
        let last = self.last_of_slot()?;
        let (at, from) = (self.at, page_down(self.at));
        let claimed = self.window.claimed_end(at, self.slot.life, from);
        let part = claimed.and_then(|end| self.window.read(from, page_up(end)));
        let mut page = part.map_err(failed("read", &self.file()))?;
        let mut torn = page.split_off(index(at - from));
        if torn.iter().all(|byte| *byte == 0) {
            torn.clear();
        }
        Ok(Tail {
            stream: self.stream,
            page,
            slot: self.slot,
            at: self.at,
            end: self.end,
            last: last.or(self.seal),
            headed: self.headed,
            read: self.read,
            live: self.live,
            torn,
            witness: self.witness,
            spoke: self.spoke,
        })
    }
}

/// Whether a slot is there in full length.
fn is_whole(
    disk: &dyn Disk,
    headers: &HashMap<u32, Header>,
    stream: Stream,
    slot: &Slot,
) -> Result<bool, OpenError> {
    if !headers.contains_key(&slot.number) {
        return Ok(false);
    }
    let file = stream.file(slot.number);
    Ok(disk.len(&file).map_err(failed("read", &file))? == slot.len())
}
