//! What clients were told and what they saw, in a form that [`check`] can judge.
//!
//! Times are nanoseconds since the storm began. Whatever is not known for certain is `Unknown`: a
//! publish without an answer may be there or not, and both are lawful.

mod check;
mod mutations;

pub(crate) use check::{Kind, check};

/// One message: which sender's, which batch of his, which place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) client: u16,
    pub(crate) number: u32,
    pub(crate) index: u16,
    /// Messages of its batch.
    pub(crate) count: u16,
}

impl Name {
    /// The message: lower-case hex and `x`, a multiple of four characters long, so that it is its
    /// own base64. It says its name; a number drawn from `seed` and the name fills the rest.
    pub(crate) fn text(self, seed: u64) -> String {
        let Self { client, number, index, count } = self;
        let place = u64::from(client) << 48 | u64::from(number) << 16 | u64::from(index);
        let random = scramble(seed ^ scramble(place ^ scramble(u64::from(count))));
        // Most are short, some reach over pages.
        let padding =
            if random.is_multiple_of(16) { random >> 8 & 0x3fc } else { random >> 8 & 0x3c };
        let padding = "x".repeat(usize::try_from(padding).unwrap());
        format!("{client:04x}{number:08x}{index:04x}{count:04x}{random:016x}{padding}")
    }

    /// The name that `text` says, if it is, letter for letter, the message of that name.
    fn read(text: &str, seed: u64) -> Option<Self> {
        let field = |from: usize, to: usize| u32::from_str_radix(text.get(from..to)?, 16).ok();
        let short = |from: usize| u16::try_from(field(from, from + 4)?).ok();
        let name =
            Self { client: short(0)?, number: field(4, 12)?, index: short(12)?, count: short(16)? };
        (name.text(seed) == text).then_some(name)
    }
}

/// Spreads a number over all bits (the finaliser of splitmix64).
const fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    /// It is done.
    Ok(T),
    /// No answer, or one that leaves it open.
    Unknown,
    /// It is not done and never will be.
    Refused,
}

/// One publish; no batch is sent twice.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) topic: usize,
    pub(crate) client: u16,
    pub(crate) number: u32,
    pub(crate) count: u16,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// With the offsets that were told.
    pub(crate) outcome: Outcome<Vec<u64>>,
}

impl Publish {
    pub(crate) const fn name(&self, index: u16) -> Name {
        Name { client: self.client, number: self.number, index, count: self.count }
    }
}

/// A message as it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Message(Name),
    /// None that anybody could have sent.
    Strange(String),
}

impl Content {
    pub(crate) fn read(text: &str, seed: u64) -> Self {
        Name::read(text, seed).map_or_else(|| Self::Strange(text.to_owned()), Self::Message)
    }
}

/// A message at its offset.
pub(crate) type Seen = (u64, Content);

/// One pull that was answered and not empty.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) subscription: usize,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) messages: Vec<Seen>,
}

/// One acknowledgement.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) subscription: usize,
    /// The position it asks for: one more than the last acknowledged offset.
    pub(crate) to: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: Outcome<()>,
}

/// A number that the broker or metrics-svc shows, and what it may lawfully be.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "its name is shown by `Debug` when it is wrong")]
pub(crate) struct Counter {
    pub(crate) what: String,
    pub(crate) shown: u64,
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) publishes: Vec<Publish>,
    pub(crate) pulls: Vec<Pull>,
    pub(crate) acks: Vec<Ack>,
    /// By topic: all it holds in the end, in the order of delivery, from offset 0 on.
    pub(crate) stored: Vec<Vec<Seen>>,
    /// By subscription: its topic.
    pub(crate) subscriptions: Vec<usize>,
    pub(crate) counters: Vec<Counter>,
}

impl History {
    /// Messages whose publish was answered 200.
    pub(crate) fn acknowledged(&self) -> u64 {
        let ok = |publish: &&Publish| matches!(publish.outcome, Outcome::Ok(_));
        self.publishes.iter().filter(ok).map(|publish| u64::from(publish.count)).sum()
    }

    /// Publishes whose outcome nobody knows.
    pub(crate) fn unknown(&self) -> u64 {
        let unknown = |publish: &&Publish| publish.outcome == Outcome::Unknown;
        self.publishes.iter().filter(unknown).count() as u64
    }

    /// Messages in all topics in the end.
    pub(crate) fn read_back(&self) -> u64 {
        self.stored.iter().map(|stored| stored.len() as u64).sum()
    }
}
