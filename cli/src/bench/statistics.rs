//! Medians, ranges and percentiles.

use serde::Serialize;

/// A median and what it lies between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    /// Of the finite `values`; `None` when there is none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

/// The least value that at least `share` (0 to 1) of `sorted` do not exceed; 0 when it is empty.
pub(super) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let wanted = share * as_f64(sorted.len() as u64);
    // By halving, so that no float becomes an index.
    let (mut low, mut high) = (1, sorted.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if as_f64(middle as u64) >= wanted { high = middle } else { low = middle + 1 }
    }
    sorted.get(low - 1).copied().unwrap_or_default()
}

/// Exact below 2^53, close enough above.
#[allow(
    clippy::cast_precision_loss,
    reason = "figures for people, three digits of which are shown"
)]
pub(super) const fn as_f64(value: u64) -> f64 {
    value as f64
}

/// `a / b`, 0 when `b` is 0.
pub(super) fn per(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, 5.0, f64::INFINITY]).unwrap().high, 5.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let values: Vec<u64> = (1..=1_000).collect();
        let found = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0].map(|share| percentile(&values, share));
        assert_eq!(found, [1, 500, 900, 990, 999, 1_000]);
        assert_eq!(percentile(&[5, 9], 0.5), 5);
        assert_eq!(percentile(&[5, 9], 0.51), 9);
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!([per(1.0, 0.0), per(1.0, 4.0)], [0.0, 0.25]);
    }
}
