//! The judgement: pure, O(n log n).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::{Content, History, Name, Outcome, Publish, Pull, Seen};

/// What may never happen. C1 to C12 as in the usual lists of such checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// C1: an acknowledged message is nowhere.
    Lost,
    /// C2: nobody sent it so, or its sender was told no.
    Invented,
    /// C3: one message at two offsets, or delivered twice in one reading.
    Duplicate,
    /// C4: one offset with two contents, or seen once and never again.
    Inconsistent,
    /// C5: stored elsewhere than its publisher was told.
    Moved,
    /// C6: an offset that nobody was told is missing, or the order of delivery is not that of offsets.
    Gap,
    /// C6: sent after another was answered, stored before it.
    Order,
    /// C7: the position of a subscription went back although nobody asked.
    PositionBack,
    /// C7: a pull jumped over what was never acknowledged.
    Skipped,
    /// C8: handed out again although its acknowledgement was answered.
    AckLost,
    /// C9: a part of a batch without the rest, or not side by side.
    Torn,
    /// C12: a counter says what did not happen.
    Counters,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Lost,
        Self::Invented,
        Self::Duplicate,
        Self::Inconsistent,
        Self::Moved,
        Self::Gap,
        Self::Order,
        Self::PositionBack,
        Self::Skipped,
        Self::AckLost,
        Self::Torn,
        Self::Counters,
    ];

    /// As reports call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Invented => "invented",
            Self::Duplicate => "duplicate",
            Self::Inconsistent => "inconsistent",
            Self::Moved => "moved",
            Self::Gap => "gap",
            Self::Order => "order",
            Self::PositionBack => "position back",
            Self::Skipped => "skipped",
            Self::AckLost => "ack lost",
            Self::Torn => "torn",
            Self::Counters => "counters",
        }
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)
    }
}

struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, kind: Kind, text: String) {
        self.0.push(Violation { kind, text });
    }
}

/// Everything in `history` that may not be. Messages that are lost one by one are found one by one.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    for topic in 0..history.stored.len() {
        contents(history, topic, &mut findings);
        seen_before(history, topic, &mut findings);
    }
    for subscription in 0..history.subscriptions.len() {
        positions(history, subscription, &mut findings);
    }
    for counter in &history.counters {
        if !(counter.least..=counter.most).contains(&counter.shown) {
            findings.add(Kind::Counters, format!("{counter:?}"));
        }
    }
    findings.0
}

/// C1, C2, C3, C5, C6, C9 of one topic.
fn contents(history: &History, topic: usize, findings: &mut Findings) {
    let stored = &history.stored[topic];
    let sent: Vec<&Publish> =
        history.publishes.iter().filter(|publish| publish.topic == topic).collect();
    let known: HashMap<(u16, u32), &Publish> =
        sent.iter().map(|publish| ((publish.client, publish.number), *publish)).collect();
    let mut places: HashMap<Name, u64> = HashMap::new();
    let mut offsets: BTreeSet<u64> = BTreeSet::new();
    for (offset, content) in stored {
        let first = offsets.insert(*offset);
        let name = match content {
            Content::Message(name) => name,
            Content::Strange(text) => {
                findings.add(Kind::Invented, format!("offset {offset}: {text:.60}"));
                continue;
            }
        };
        let publish = known.get(&(name.client, name.number));
        let lawful = publish.is_some_and(|publish| {
            publish.count == name.count
                && name.index < name.count
                && publish.outcome != Outcome::Refused
        });
        if !lawful {
            findings.add(Kind::Invented, format!("offset {offset}: {name:?} of {publish:?}"));
        } else if let Some(place) = places.insert(*name, *offset) {
            findings.add(Kind::Duplicate, format!("{name:?} at {place} and {offset}"));
            places.insert(*name, place);
        } else if !first {
            findings.add(Kind::Inconsistent, format!("offset {offset} twice in one reading"));
        }
    }
    // Offsets whose absence has a name of its own.
    let mut explained = BTreeSet::new();
    let mut firsts = Vec::new();
    for publish in &sent {
        if let Some(first) = batch(publish, &places, &mut explained, findings) {
            firsts.push((*publish, first));
        }
    }
    gaps(stored, &offsets, &explained, findings);
    order(&mut firsts, findings);
}

/// Judges one batch; answers the offset of its first message if it is there.
fn batch(
    publish: &Publish,
    places: &HashMap<Name, u64>,
    explained: &mut BTreeSet<u64>,
    findings: &mut Findings,
) -> Option<u64> {
    let at: Vec<Option<u64>> =
        (0..publish.count).map(|index| places.get(&publish.name(index)).copied()).collect();
    let batch = (publish.client, publish.number);
    match &publish.outcome {
        Outcome::Refused => {}
        Outcome::Ok(told) => {
            if told.len() != at.len() {
                let text = format!("{batch:?} of {} was told {} offsets", at.len(), told.len());
                findings.add(Kind::Moved, text);
                return None;
            }
            for (index, (told, at)) in told.iter().zip(&at).enumerate() {
                match at {
                    None => {
                        explained.insert(*told);
                        findings.add(Kind::Lost, format!("{batch:?}[{index}] told {told}"));
                    }
                    Some(at) if at != told => {
                        let text = format!("{batch:?}[{index}] told {told}, stored at {at}");
                        findings.add(Kind::Moved, text);
                    }
                    Some(_) => {}
                }
            }
            if told.iter().zip(told.iter().skip(1)).any(|(one, next)| one + 1 != *next) {
                findings.add(Kind::Torn, format!("{batch:?} was told {told:?}"));
            }
        }
        Outcome::Unknown => {
            let (index, first) =
                at.iter().enumerate().find_map(|(index, at)| Some((index as u64, (*at)?)))?;
            // Where it would begin if it were whole.
            let start = first.saturating_sub(index);
            let whole = (start..).zip(&at).all(|(offset, at)| *at == Some(offset));
            if !whole {
                explained.extend(start..start + u64::from(publish.count));
                findings.add(Kind::Torn, format!("{batch:?} is at {at:?}"));
            }
        }
    }
    at.first().copied().flatten()
}

fn gaps(
    stored: &[Seen],
    offsets: &BTreeSet<u64>,
    explained: &BTreeSet<u64>,
    findings: &mut Findings,
) {
    let mut expected = 0;
    for offset in offsets {
        let missing = (expected..*offset).filter(|missing| !explained.contains(missing)).count();
        if missing > 0 {
            let text = format!("{missing} offsets from {expected} on are missing");
            findings.add(Kind::Gap, text);
        }
        expected = offset + 1;
    }
    if let Some(pair) = stored.windows(2).find(|pair| pair[0].0 > pair[1].0) {
        findings.add(Kind::Gap, format!("{} was delivered before {}", pair[0].0, pair[1].0));
    }
}

/// No batch that began after another was answered stands before it.
fn order(firsts: &mut [(&Publish, u64)], findings: &mut Findings) {
    let mut answered: Vec<(u64, u64)> = firsts
        .iter()
        .filter(|(publish, _)| matches!(publish.outcome, Outcome::Ok(_)))
        .map(|(publish, first)| (publish.ended, *first))
        .collect();
    answered.sort_unstable();
    firsts.sort_unstable_by_key(|(publish, _)| publish.began);
    let mut answered = answered.into_iter().peekable();
    let mut highest = None;
    for (publish, first) in firsts {
        while let Some((_, before)) = answered.next_if(|(ended, _)| *ended < publish.began) {
            highest = highest.max(Some(before));
        }
        if highest > Some(*first) {
            let batch = (publish.client, publish.number);
            let text = format!("{batch:?} at {first}, one answered before it began at {highest:?}");
            findings.add(Kind::Order, text);
        }
    }
}

/// C4: what pulls saw is what is stored in the end.
fn seen_before(history: &History, topic: usize, findings: &mut Findings) {
    let mut stored: BTreeMap<u64, &Content> = BTreeMap::new();
    for (offset, content) in &history.stored[topic] {
        stored.entry(*offset).or_insert(content);
    }
    for pull in &history.pulls {
        if history.subscriptions[pull.subscription] != topic {
            continue;
        }
        for (offset, content) in &pull.messages {
            if stored.get(offset) != Some(&content) {
                let now = stored.get(offset);
                let text = format!("offset {offset} was {content:?} and is {now:?}");
                findings.add(Kind::Inconsistent, text);
            }
        }
    }
}

/// C7 and C8 of one subscription.
fn positions(history: &History, subscription: usize, findings: &mut Findings) {
    let mut pulls: Vec<(&Pull, u64)> = Vec::new();
    for pull in history.pulls.iter().filter(|pull| pull.subscription == subscription) {
        let offsets = pull.messages.iter().map(|(offset, _)| *offset);
        if offsets.clone().zip(offsets.clone().skip(1)).any(|(one, next)| one + 1 != next) {
            let text = format!("a pull with a hole: {:?}", offsets.clone().collect::<Vec<_>>());
            findings.add(Kind::Skipped, text);
        }
        pulls.extend(offsets.min().map(|first| (pull, first)));
    }
    let acks = history.acks.iter().filter(|ack| ack.subscription == subscription);
    let (mut sure, mut tried, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
    for ack in acks {
        match ack.outcome {
            Outcome::Ok(()) => {
                sure.push((ack.ended, ack.to));
                tried.push((ack.began, ack.to));
            }
            Outcome::Unknown => tried.push((ack.began, ack.to)),
            Outcome::Refused => {}
        }
    }
    earlier.extend(pulls.iter().map(|(pull, first)| (pull.ended, *first)));
    // Upper bound first: it asks in the order of the ends.
    pulls.sort_unstable_by_key(|(pull, _)| pull.ended);
    let mut tried = Highest::of(tried);
    for (pull, first) in &pulls {
        let most = tried.before(pull.ended);
        if *first > most {
            let text = format!("subscription {subscription}: pull at {first}, tried up to {most}");
            findings.add(Kind::Skipped, text);
        }
    }
    pulls.sort_unstable_by_key(|(pull, _)| pull.began);
    let (mut sure, mut earlier) = (Highest::of(sure), Highest::of(earlier));
    for (pull, first) in &pulls {
        let (least, before) = (sure.before(pull.began), earlier.before(pull.began));
        if *first < least {
            let text =
                format!("subscription {subscription}: pull at {first}, answered up to {least}");
            findings.add(Kind::AckLost, text);
        } else if *first < before {
            let text = format!("subscription {subscription}: pull at {first}, before at {before}");
            findings.add(Kind::PositionBack, text);
        }
    }
}

/// The highest value of all that happened before a time; asked with rising times.
struct Highest {
    events: std::iter::Peekable<std::vec::IntoIter<(u64, u64)>>,
    highest: u64,
}

impl Highest {
    fn of(mut events: Vec<(u64, u64)>) -> Self {
        events.sort_unstable();
        Self { events: events.into_iter().peekable(), highest: 0 }
    }

    fn before(&mut self, time: u64) -> u64 {
        while let Some((_, value)) = self.events.next_if(|(at, _)| *at < time) {
            self.highest = self.highest.max(value);
        }
        self.highest
    }
}
