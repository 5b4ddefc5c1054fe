//! The checker's own test: lawful histories pass, and a lawful one that is broken in one way is
//! found to be broken in that way and no other.

use std::collections::BTreeSet;

use super::{Ack, Content, Counter, History, Kind, Name, Outcome, Publish, Pull, Seen, check};

const SEED: u64 = 7;

fn publish(client: u16, number: u32, count: u16, began: u64, told: Option<u64>) -> Publish {
    let outcome = told
        .map_or(Outcome::Unknown, |first| Outcome::Ok((first..first + u64::from(count)).collect()));
    Publish { topic: 0, client, number, count, began, ended: began + 10, outcome }
}

fn messages(publish: &Publish, first: u64) -> impl Iterator<Item = Seen> {
    let names = (0..publish.count).map(|index| Content::Message(publish.name(index)));
    (first..).zip(names.collect::<Vec<_>>())
}

/// 0-2 acknowledged, 3-4 unknown and there, 5 acknowledged, one unknown and absent, one refused,
/// 6-8 acknowledged; a subscription that acknowledged up to 3 and perhaps to 5.
fn lawful() -> History {
    let refused = Publish { outcome: Outcome::Refused, ..publish(3, 0, 2, 50, None) };
    let publishes = vec![
        publish(1, 0, 3, 0, Some(0)),
        publish(2, 0, 2, 20, None),
        publish(1, 1, 1, 40, Some(5)),
        publish(2, 1, 4, 40, None),
        refused,
        publish(3, 1, 3, 60, Some(6)),
    ];
    let mut stored = Vec::new();
    for (at, first) in [(0, 0), (1, 3), (2, 5), (5, 6)] {
        stored.extend(messages(&publishes[at], first));
    }
    let pull = |began: u64, from: usize, to: usize| {
        let messages = stored[from..to].to_vec();
        Pull { subscription: 0, began, ended: began + 5, messages }
    };
    let ack = |began: u64, to: u64, outcome: Outcome<()>| Ack {
        subscription: 0,
        to,
        began,
        ended: began + 5,
        outcome,
    };
    let pulls = vec![pull(100, 0, 3), pull(120, 3, 5), pull(140, 3, 7), pull(160, 5, 9)];
    let acks = vec![
        ack(110, 3, Outcome::Ok(())),
        ack(130, 5, Outcome::Unknown),
        ack(150, 5, Outcome::Unknown),
        ack(155, 8, Outcome::Refused),
    ];
    let counters = vec![Counter { what: "acknowledged".to_owned(), shown: 5, least: 3, most: 5 }];
    History { publishes, pulls, acks, stored: vec![stored], subscriptions: vec![0], counters }
}

fn found(history: &History) -> BTreeSet<Kind> {
    check(history).into_iter().map(|violation| violation.kind).collect()
}

type Mutation = (&'static str, &'static [Kind], fn(&mut History));

/// Swaps what stands at two offsets of the final reading.
fn swap(history: &mut History, one: usize, other: usize) {
    let stored = &mut history.stored[0];
    let content = stored[one].1.clone();
    stored[one].1 = stored[other].1.clone();
    stored[other].1 = content;
}

/// What consumers saw is not what these are about.
fn forget_pulls(history: &mut History) {
    history.pulls.clear();
}

const MUTATIONS: &[Mutation] = &[
    ("the last acknowledged batch is gone", &[Kind::Lost], |history| {
        history.stored[0].truncate(6);
        forget_pulls(history);
    }),
    ("one acknowledged message of a batch is gone", &[Kind::Lost], |history| {
        history.stored[0].remove(1);
        forget_pulls(history);
    }),
    ("nobody sent it", &[Kind::Invented], |history| {
        let name = Name { client: 9, number: 9, index: 0, count: 1 };
        history.stored[0].push((9, Content::Message(name)));
    }),
    ("no message at all", &[Kind::Invented], |history| {
        history.stored[0].push((9, Content::Strange("0000".to_owned())));
    }),
    ("its sender was told no", &[Kind::Invented], |history| {
        let refused = messages(&history.publishes[4], 9).collect::<Vec<_>>();
        history.stored[0].extend(refused);
    }),
    ("it says a batch of another size", &[Kind::Invented], |history| {
        let name = Name { count: 4, ..history.publishes[0].name(0) };
        history.stored[0].push((9, Content::Message(name)));
    }),
    ("an acknowledged message is damaged", &[Kind::Lost, Kind::Invented], |history| {
        history.stored[0][1].1 = Content::Strange("0000".to_owned());
        forget_pulls(history);
    }),
    ("a message at two offsets", &[Kind::Duplicate], |history| {
        let again = history.stored[0][0].1.clone();
        history.stored[0].push((9, again));
    }),
    ("a message delivered twice in one reading", &[Kind::Duplicate], |history| {
        let again = history.stored[0][8].clone();
        history.stored[0].push(again);
    }),
    ("an offset held something else before", &[Kind::Inconsistent], |history| {
        history.pulls[0].messages[1].1 = history.pulls[0].messages[0].1.clone();
    }),
    ("a message was seen and is gone, acknowledged by nobody", &[Kind::Inconsistent], |history| {
        let seen = messages(&history.publishes[3], 9).collect::<Vec<_>>();
        history.pulls[3].messages.extend(seen);
    }),
    ("a publisher was told other offsets", &[Kind::Moved], |history| {
        history.publishes[2].outcome = Outcome::Ok(vec![4]);
    }),
    ("a publisher was told too few offsets", &[Kind::Moved], |history| {
        history.publishes[0].outcome = Outcome::Ok(vec![0, 1]);
    }),
    ("two acknowledged messages changed places", &[Kind::Moved], |history| {
        swap(history, 0, 1);
        forget_pulls(history);
    }),
    ("an offset is not used", &[Kind::Gap], |history| {
        for (offset, _) in &mut history.stored[0][6..] {
            *offset += 1;
        }
        history.publishes[5].outcome = Outcome::Ok(vec![7, 8, 9]);
        forget_pulls(history);
    }),
    ("delivered out of order", &[Kind::Gap], |history| {
        history.stored[0].swap(6, 7);
    }),
    ("an acknowledged one stands behind a later one", &[Kind::Order], |history| {
        // The batch of offset 5 began long before, the one of 6-8 after it was answered.
        history.publishes[2].outcome = Outcome::Ok(vec![8]);
        history.publishes[5].outcome = Outcome::Ok(vec![5, 6, 7]);
        history.stored[0].truncate(5);
        let later = messages(&history.publishes[5], 5).chain(messages(&history.publishes[2], 8));
        let later = later.collect::<Vec<_>>();
        history.stored[0].extend(later);
        forget_pulls(history);
    }),
    ("an unknown one stands before what was answered when it began", &[Kind::Order], |history| {
        history.publishes[1].began = 60;
    }),
    ("half of an unknown batch", &[Kind::Torn], |history| {
        history.stored[0].remove(3);
        forget_pulls(history);
    }),
    ("an unknown batch with another in it", &[Kind::Torn], |history| {
        let middle = history.stored[0][5].1.clone();
        history.stored[0][5].1 = history.stored[0][4].1.clone();
        history.stored[0][4].1 = middle;
        history.publishes[2].outcome = Outcome::Ok(vec![4]);
        forget_pulls(history);
    }),
    ("a batch was told offsets that are not side by side", &[Kind::Torn], |history| {
        swap(history, 2, 5);
        history.publishes[0].outcome = Outcome::Ok(vec![0, 1, 5]);
        history.publishes[2].outcome = Outcome::Ok(vec![2]);
        history.publishes[2].began = 0;
        forget_pulls(history);
    }),
    ("acknowledged, and handed out again", &[Kind::AckLost], |history| {
        history.acks[1].outcome = Outcome::Ok(());
    }),
    ("an unknown acknowledgement is seen and undone", &[Kind::PositionBack], |history| {
        let late = Pull { began: 180, ended: 185, ..history.pulls[1].clone() };
        history.pulls.push(late);
    }),
    ("a pull jumps over what nobody acknowledged", &[Kind::Skipped], |history| {
        history.pulls[3].messages.remove(0);
    }),
    ("a pull follows an acknowledgement that was refused", &[Kind::Skipped], |history| {
        history.pulls[3].messages.drain(..3);
    }),
    ("a pull has a hole", &[Kind::Skipped], |history| {
        history.pulls[2].messages.remove(1);
    }),
    ("a counter is ahead", &[Kind::Counters], |history| {
        history.counters[0].shown = 6;
    }),
    ("a counter forgot", &[Kind::Counters], |history| {
        history.counters[0].shown = 2;
    }),
];

#[test]
fn what_is_lawful_passes() {
    let history = lawful();
    assert!(check(&history).is_empty(), "{:?}", check(&history));
    assert_eq!((history.acknowledged(), history.unknown(), history.read_back()), (7, 2, 9));

    // The unknown batch is absent as well, and what follows stands closer.
    let mut absent = lawful();
    absent.stored[0].drain(3..5);
    for (at, (offset, _)) in absent.stored[0].iter_mut().enumerate() {
        *offset = at as u64;
    }
    absent.publishes[2].outcome = Outcome::Ok(vec![3]);
    absent.publishes[5].outcome = Outcome::Ok(vec![4, 5, 6]);
    absent.pulls.clear();
    assert!(check(&absent).is_empty(), "{:?}", check(&absent));

    // Everything unknown, everything absent; nothing at all.
    let mut unknown = lawful();
    unknown.publishes.iter_mut().for_each(|publish| publish.outcome = Outcome::Unknown);
    unknown.stored[0].clear();
    unknown.pulls.clear();
    assert!(check(&unknown).is_empty(), "{:?}", check(&unknown));
    assert!(check(&History::default()).is_empty());
}

#[test]
fn every_kind_is_named_and_nothing_else() {
    let mut shown = BTreeSet::new();
    for (what, expected, mutate) in MUTATIONS {
        let mut history = lawful();
        mutate(&mut history);
        let expected: BTreeSet<Kind> = expected.iter().copied().collect();
        assert_eq!(found(&history), expected, "{what}: {:?}", check(&history));
        if expected.len() == 1 {
            shown.extend(expected);
        }
    }
    assert_eq!(shown, BTreeSet::from(Kind::ALL), "each kind alone in at least one history");
}

#[test]
fn a_message_is_known_by_every_letter() {
    let name = Name { client: 3, number: 70_000, index: 5, count: 9 };
    let text = name.text(SEED);
    assert_eq!(text.len() % 4, 0, "its own base64");
    assert_eq!(Content::read(&text, SEED), Content::Message(name));
    for at in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'0' { b'1' } else { b'0' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(Content::read(&other, SEED), Content::Strange(other.clone()), "{at}");
    }
    for other in ["", "00", text.trim_start_matches('0'), &format!("{text}xxxx")] {
        assert!(matches!(Content::read(other, SEED), Content::Strange(_)), "{other}");
    }
    assert!(matches!(Content::read(&text, SEED + 1), Content::Strange(_)), "of another storm");
}

#[test]
fn a_large_history_is_judged_in_no_time() {
    let publishes: Vec<Publish> =
        (0..200_000).map(|n| publish(1, n, 2, u64::from(n) * 20, Some(u64::from(n) * 2))).collect();
    let stored = publishes.iter().zip(0u64..).flat_map(|(publish, n)| messages(publish, n * 2));
    let stored = vec![stored.collect()];
    let history = History { publishes, stored, ..History::default() };
    assert!(check(&history).is_empty());
}
