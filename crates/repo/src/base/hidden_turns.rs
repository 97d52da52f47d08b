use std::iter;

/// The hidden turns of a task, as ranges of seqs. A range is the seq before it and its last seq; the ranges are in
/// order and do not touch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HiddenTurns(Vec<(i64, i64)>);

impl HiddenTurns {
    /// Joins ranges, which may overlap. Leaves out empty ones, which are another program's.
    pub(crate) fn new(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.retain(|&(after, through)| 0 <= after && after < through);
        ranges.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (after, through) in ranges {
            match joined.last_mut() {
                Some(last) if after <= last.1 => last.1 = last.1.max(through),
                _ => joined.push((after, through)),
            }
        }
        Self(joined)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the stretches of visible turns after one seq up to another one: the seq before each and its last one.
    pub(crate) fn stretches_between(&self, after: i64, through: i64) -> Vec<(i64, i64)> {
        let starts = self.0.iter().map(|(_, last)| *last);
        let starts = iter::once(after).chain(starts.map(|last| last.max(after)));
        let ends = self.0.iter().map(|(before, _)| *before);
        let ends = ends.map(|before| before.min(through)).chain([through]);
        let stretches = starts.zip(ends);
        stretches.filter(|(start, end)| start < end).collect()
    }

    /// Returns how many turns are visible after one seq up to another one.
    pub(crate) fn count_visible(&self, after: i64, through: i64) -> i64 {
        let hidden = self.0.iter().map(|&(before, last)| {
            let hidden = last.min(through) - before.max(after);
            hidden.max(0)
        });
        (through - after).max(0) - hidden.sum::<i64>()
    }

    /// Returns the seq up to which there are `limit` visible turns after `after`.
    pub(crate) fn end_of_first(&self, after: i64, limit: i64) -> i64 {
        let mut end = after.saturating_add(limit);
        for &(before, last) in &self.0 {
            if last > after && before < end {
                end = end.saturating_add(last - before.max(after));
            }
        }
        end
    }

    /// Returns the seq after which there are `count` visible turns up to `through`, negative if there are fewer.
    pub(crate) fn start_of_last(&self, through: i64, count: i64) -> i64 {
        let mut start = through.saturating_sub(count);
        for &(before, last) in self.0.iter().rev() {
            if before < through && last > start {
                start -= last.min(through) - before;
            }
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every range of up to 9 turns, with every pair of retractions, as counting one by one says.
    #[test]
    fn ranges_are_as_counted_one_by_one() {
        let ends = || (0..9).flat_map(|after| (after + 1..=9).map(move |through| (after, through)));
        for (first, second) in ends().flat_map(|first| ends().map(move |second| (first, second))) {
            let hidden = HiddenTurns::new(vec![first, second]);
            let is_hidden = |seq| [first, second].iter().any(|it| it.0 < seq && seq <= it.1);
            let visible = |after, through| (after + 1..=through).filter(|seq| !is_hidden(*seq));
            for seq in 0..=9 {
                assert_eq!(hidden.count_visible(seq, 9), visible(seq, 9).count() as i64);
                for limit in 0..=10 {
                    let stretches = hidden.stretches_between(seq, limit);
                    let in_stretches = stretches.iter().flat_map(|it| it.0 + 1..=it.1);
                    assert!(in_stretches.eq(visible(seq, limit)), "{stretches:?}");
                    assert!(stretches.windows(2).all(|it| it[0].1 < it[1].0));
                    let end = hidden.end_of_first(seq, limit);
                    assert_eq!(
                        visible(seq, end).count() as i64,
                        limit,
                        "{first:?} {second:?}"
                    );
                    let start = hidden.start_of_last(seq, limit);
                    assert_eq!(
                        visible(start, seq).count() as i64,
                        limit,
                        "{first:?} {second:?}"
                    );
                }
            }
        }
    }
}
