//! Whether a dump came out short against the history of its target. Pure: sizes in, a verdict out.
//!
//! A dump that ended well, with its end marker, may still be one of an emptied database: after an attack or a slip, the
//! nights that follow would rotate the good ones away. Sizes are those of the plain bytes, which no change of the
//! compression touches.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nxs_base::record::BackupId;
use nxs_base::spec::Floor;
use nxs_base::units::human_bytes;

/// How many of the last dumps count.
const LAST: usize = 7;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Worth a warning, in these words.
    Small(String),
    /// Not to be published, in these words.
    TooSmall(String),
}

/// Judges a dump of `bytes`. `history` has the dumps before it, from all storages, in any order and more than once.
pub(super) fn judge(
    floor: Floor,
    bytes: u64,
    history: impl IntoIterator<Item = (BackupId, Timestamp, u64)>,
) -> Verdict {
    let by_id: BTreeMap<BackupId, (Timestamp, u64)> =
        history.into_iter().map(|(id, started, bytes)| (id, (started, bytes))).collect();
    let mut last: Vec<(Timestamp, u64)> = by_id.into_values().collect();
    last.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
    last.truncate(LAST);
    let mut sizes: Vec<u64> = last.into_iter().map(|(_, bytes)| bytes).collect();
    sizes.sort_unstable();
    let Some(median) = sizes.get(sizes.len() / 2).copied() else { return Verdict::Fine };
    let is_below = |percent: u8| u128::from(bytes) * 100 < u128::from(median) * u128::from(percent);
    let words = |percent: u8| {
        let last =
            if sizes.len() == 1 { "the last one".to_owned() } else { format!("the last {}", sizes.len()) };
        format!(
            "{} are less than {percent} % of {}, the median of {last}",
            human_bytes(bytes),
            human_bytes(median)
        )
    };
    if is_below(floor.fail_percent) {
        Verdict::TooSmall(words(floor.fail_percent))
    } else if is_below(floor.warn_percent) {
        Verdict::Small(words(floor.warn_percent))
    } else {
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: u64, history: &[u64]) -> char {
        judged_by(Floor::default(), bytes, history)
    }

    /// The history is given from the oldest to the newest; each dump lies on two storages.
    fn judged_by(floor: Floor, bytes: u64, history: &[u64]) -> char {
        let of = |(n, bytes): (usize, &u64)| {
            (BackupId(n as u128), Timestamp::from_second(n as i64).unwrap(), *bytes)
        };
        let twice = history.iter().enumerate().map(of).chain(history.iter().enumerate().map(of));
        match judge(floor, bytes, twice) {
            Verdict::Fine => 'f',
            Verdict::Small(_) => 's',
            Verdict::TooSmall(_) => 't',
        }
    }

    #[test]
    fn a_dump_is_held_against_the_median_of_the_last_seven() {
        assert_eq!(judged(1, &[]), 'f');
        assert_eq!(
            [judged(50, &[100]), judged(49, &[100]), judged(10, &[100]), judged(9, &[100])],
            ['f', 's', 's', 't']
        );
        // One outlier in either direction does not matter.
        assert_eq!(judged(90, &[100, 100, 100, 9000]), 'f');
        assert_eq!(judged(9, &[100, 100, 100, 1]), 't');
        // Older than the last seven.
        assert_eq!(judged(100, &[9000, 9000, 9000, 100, 100, 100, 100, 100, 100, 100]), 'f');
        assert_eq!(judged(0, &[u64::MAX]), 't');
    }

    #[test]
    fn zero_switches_a_limit_off() {
        let floor = Floor { warn_percent: 0, fail_percent: 0 };
        assert_eq!(judged_by(floor, 0, &[100]), 'f');
        assert_eq!(judged_by(Floor { warn_percent: 50, ..floor }, 1, &[100]), 's');
        let words = judge(Floor::default(), 1, [(BackupId(1), Timestamp::UNIX_EPOCH, 4096)]);
        assert_eq!(
            words,
            Verdict::TooSmall("1 B are less than 10 % of 4.0 KiB, the median of the last one".into())
        );
    }
}
