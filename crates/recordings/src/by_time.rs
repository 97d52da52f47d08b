use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};

/// An item of a file with its time.
pub(crate) struct Timed<T> {
    pub(crate) time: Option<DateTime<Utc>>,
    pub(crate) item: T,
}

/// Merges files by time. Each keeps its own order, and an item without a time stays behind the one before
/// it. Of equal times the earlier file comes first.
pub(crate) fn by_time<T>(files: Vec<Vec<Timed<T>>>) -> impl Iterator<Item = (usize, T)> {
    let mut files: Vec<_> = files
        .into_iter()
        .map(|items| items.into_iter().peekable())
        .collect();
    // `None` is before every time, so that an item without one follows at once.
    let mut next: BinaryHeap<_> = BinaryHeap::new();
    for (file, items) in files.iter_mut().enumerate() {
        next.extend(items.peek().map(|first| Reverse((first.time, file))));
    }
    std::iter::from_fn(move || {
        let Reverse((_, file)) = next.pop()?;
        let taken = files[file].next()?;
        next.extend(
            files[file]
                .peek()
                .map(|following| Reverse((following.time, file))),
        );
        Some((file, taken.item))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[&[(&'static str, Option<i64>)]]) -> Vec<&'static str> {
        let timed = |(item, second): &(&'static str, Option<i64>)| Timed {
            time: second.map(|second| DateTime::from_timestamp(second, 0).unwrap()),
            item: *item,
        };
        let files = files.iter().map(|file| file.iter().map(timed).collect());
        by_time(files.collect()).map(|(_, item)| item).collect()
    }

    #[test]
    fn files_are_merged_by_time_and_keep_their_order() {
        let one: &[_] = &[
            ("a3", Some(3)),
            ("a-", None),
            ("a5", Some(5)),
            ("a2", Some(2)),
        ];
        let two: &[_] = &[
            ("b-", None),
            ("b1", Some(1)),
            ("b3", Some(3)),
            ("b6", Some(6)),
        ];
        assert_eq!(
            merged(&[one, two, &[]]),
            ["b-", "b1", "a3", "a-", "b3", "a5", "a2", "b6"]
        );
    }
}
