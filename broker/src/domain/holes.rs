//! Messages that were damaged on disk and that an operator gave up (`ams repair`).

use serde::{Deserialize, Serialize};

use super::codec::Malformed;
use super::ids::Offset;

/// A run of messages, `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// Its first message.
    pub from: Offset,
    /// Behind its last one.
    pub to: Offset,
}

/// The holes of one topic life, ascending, none empty, none touching another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Hole>", into = "Vec<Hole>")]
pub struct Holes(Vec<Hole>);

impl TryFrom<Vec<Hole>> for Holes {
    type Error = Malformed;

    fn try_from(holes: Vec<Hole>) -> Result<Self, Malformed> {
        let ascend = holes.is_sorted_by(|one, next| one.to < next.from);
        let lawful = ascend && holes.iter().all(|hole| hole.from < hole.to);
        if lawful { Ok(Self(holes)) } else { Err(Malformed("holes of a topic")) }
    }
}

impl From<Holes> for Vec<Hole> {
    fn from(holes: Holes) -> Self {
        holes.0
    }
}

impl Holes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = Hole> {
        self.0.iter().copied()
    }

    /// Where reading goes on that is at `at`: there, or behind the hole that it lies in.
    pub fn pass(&self, at: Offset) -> Offset {
        self.iter().find(|hole| hole.from <= at && at < hole.to).map_or(at, |hole| hole.to)
    }

    /// Where the first hole begins that is not below `at`.
    pub fn next_at(&self, at: Offset) -> Option<Offset> {
        self.iter().map(|hole| hole.from).find(|from| *from >= at)
    }

    /// How many of the messages from `from` to before `to` lie in holes.
    pub fn count(&self, from: Offset, to: Offset) -> u64 {
        self.iter().map(|hole| hole.to.min(to).since(hole.from.max(from))).sum()
    }

    /// Whether all of `from` to before `to` lies in a hole.
    pub fn cover(&self, from: Offset, to: Offset) -> bool {
        self.iter().any(|hole| hole.from <= from && to <= hole.to)
    }

    /// Adds a hole; it becomes one with those it touches. An empty one is none.
    pub fn add(&mut self, mut new: Hole) {
        if new.from >= new.to {
            return;
        }
        self.0.retain(|hole| {
            let apart = hole.to < new.from || new.to < hole.from;
            if !apart {
                new.from = new.from.min(hole.from);
                new.to = new.to.max(hole.to);
            }
            apart
        });
        let place = self.0.partition_point(|hole| hole.from < new.from);
        self.0.insert(place, new);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

    use proptest::prelude::*;

    use super::*;

    const fn hole(from: u64, to: u64) -> Hole {
        Hole { from: Offset(from), to: Offset(to) }
    }

    fn index(at: u64) -> usize {
        usize::try_from(at).unwrap()
    }

    proptest! {
        #[test]
        fn holes_are_the_set_of_their_messages(adds in prop::collection::vec((0..40u64, 0..9u64), 0..12)) {
            let mut holes = Holes::default();
            let mut gone = [false; 64];
            for (from, len) in adds {
                holes.add(hole(from, from + len));
                (from..from + len).for_each(|at| gone[index(at)] = true);
            }
            let is_gone = |at: u64| gone[index(at)];
            for at in 0..60u64 {
                let pass = (at..).find(|at| !is_gone(*at)).unwrap();
                prop_assert_eq!(holes.pass(Offset(at)), Offset(pass));
                let begins = |at: &u64| is_gone(*at) && (*at == 0 || !is_gone(*at - 1));
                let next = (at..60).find(begins).map(Offset);
                prop_assert_eq!(holes.next_at(Offset(at)), next);
                prop_assert_eq!(holes.cover(Offset(at), Offset(at + 1)), is_gone(at));
            }
            for (from, to) in [(0, 60), (3, 20), (7, 7)] {
                let count = (from..to).filter(|at| is_gone(*at)).count() as u64;
                prop_assert_eq!(holes.count(Offset(from), Offset(to)), count);
            }
            let stored = serde_json::to_string(&holes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Holes>(&stored).unwrap(), holes);
        }
    }

    #[test]
    fn holes_that_nobody_could_have_added_are_refused() {
        for bad in [r#"[{"from":3,"to":3}]"#, r#"[{"from":1,"to":3},{"from":3,"to":4}]"#] {
            assert!(serde_json::from_str::<Holes>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Holes>(r#"[{"from":1,"to":3},{"from":4,"to":5}]"#).is_ok());
    }
}
