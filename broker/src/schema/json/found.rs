//! Where a value is, and what was found wrong with it.

use super::Violation;

/// Most objections told of one payload.
pub(super) const MAX_VIOLATIONS: usize = 100;

/// Where a value is.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Place(usize),
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub(super) const fn place(&'a self, place: usize) -> Self {
        Path { parent: Some(self), step: Step::Place(place) }
    }

    pub(super) fn text(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            match path.step {
                Step::Root => {}
                Step::Key(key) => steps.push(key.to_owned()),
                Step::Place(place) => steps.push(place.to_string()),
            }
            at = path.parent;
        }
        if steps.is_empty() {
            return String::from("(root)");
        }
        steps.reverse();
        steps.join(".")
    }
}

/// What a schema objects to, and how well the value did: of alternatives that all fail, the one
/// that did best is told (each part passed counts one, each objection takes two).
#[derive(Default)]
pub(super) struct Found {
    pub(super) violations: Vec<Violation>,
    pub(super) score: i64,
}

impl Found {
    pub(super) const fn is_valid(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.score += other.score;
        let room = MAX_VIOLATIONS.saturating_sub(self.violations.len());
        self.violations.extend(other.violations.into_iter().take(room));
    }

    pub(super) const fn passed(&mut self) {
        self.score += 1;
    }

    pub(super) fn best(best: &mut Option<Self>, other: Self) {
        if best.as_ref().is_none_or(|best| other.score > best.score) {
            *best = Some(other);
        }
    }
}
