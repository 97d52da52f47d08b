//! Histories, a page at a time.

use std::collections::VecDeque;

use turnkeep_model::{ConversationTurn, TaskId};

use super::plan::conflict;
use super::side::Reads;
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Result};
use crate::store::query;

/// Most turns of a page.
const MOST_TURNS: i64 = 4_096;

/// Turns of one task: those after a seq, up to and with another.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) task_id: TaskId,
    pub(crate) after: i64,
    pub(crate) upto: i64,
}

/// Reads turns in order, bounded in number and bytes at a time, however long or short the
/// histories are.
pub(crate) struct Pages<'a, S> {
    side: &'a S,
    spans: VecDeque<Span>,
}

impl<'a, S: Reads> Pages<'a, S> {
    /// The spans must be in order of their tasks' ids.
    pub(crate) fn new(side: &'a S, spans: impl IntoIterator<Item = Span>) -> Self {
        let spans = spans.into_iter().filter(|span| span.after < span.upto);
        Self {
            side,
            spans: spans.collect(),
        }
    }

    /// Goes through the turns one by one, with a page of them in memory.
    pub(crate) fn turns(self) -> impl Iterator<Item = Result<ConversationTurn, S::Error>> + 'a {
        self.flat_map(|page| {
            let (turns, error) = match page {
                Ok(turns) => (turns, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            turns.into_iter().map(Ok).chain(error)
        })
    }

    fn page(&mut self) -> Result<Vec<ConversationTurn>, S::Error> {
        let group = self.next_group();
        let (Some(first), Some(upto)) = (group.first(), group.iter().map(|span| span.upto).max())
        else {
            return Ok(Vec::new());
        };
        let ids: Vec<&TaskId> = group.iter().map(|span| &span.task_id).collect();
        let after = first.after;
        let call = self.side.call();
        let mut turns = self
            .side
            .read(|conn| query!(conn, copy::page_of_turns(call, &ids, after, upto)))?;
        // A history that has grown since the spans were made has more than they say.
        turns.retain(|turn| {
            let span = group.binary_search_by_key(&&turn.task_id, |span| &span.task_id);
            span.is_ok_and(|span| turn.seq <= group[span].upto)
        });
        self.take_off(&turns)?;
        Ok(turns)
    }

    /// Returns what the next page is of: whole histories, or a part of one.
    fn next_group(&self) -> Vec<Span> {
        let mut group: Vec<Span> = Vec::new();
        let mut count = 0;
        for span in &self.spans {
            count += span.upto - span.after;
            let fits = count <= MOST_TURNS && span.after == 0;
            match group.first() {
                None if fits => group.push(span.clone()),
                None => {
                    let upto = span.upto.min(span.after + MOST_TURNS);
                    return vec![Span {
                        upto,
                        ..span.clone()
                    }];
                }
                Some(_) if fits => group.push(span.clone()),
                Some(_) => break,
            }
        }
        group
    }

    /// Takes what was read off the list. No turn may be missing.
    fn take_off(&mut self, turns: &[ConversationTurn]) -> Result<(), S::Error> {
        let mut rest = turns.iter();
        while let Some(span) = self.spans.front_mut() {
            let Some(turn) = rest.next() else {
                break;
            };
            if turn.task_id != span.task_id || turn.seq != span.after + 1 {
                return Err(self.missing());
            }
            span.after = turn.seq;
            if span.after == span.upto {
                self.spans.pop_front();
            }
        }
        if turns.is_empty() {
            Err(self.missing())
        } else {
            Ok(())
        }
    }

    /// Makes the error of the first turn of the list, which is not there.
    fn missing(&self) -> S::Error {
        let Some(span) = self.spans.front() else {
            return Error::abandoned(&self.side.call()).into();
        };
        let call = self.side.call().about(&span.task_id);
        match self
            .side
            .read(|conn| Ok(query!(conn, copy::is_task(&span.task_id))?))
        {
            Ok(true) => ErrorKind::Corrupt
                .on(&call)
                .in_part(format_args!("turn {}", span.after + 1))
                .with_source("it is missing")
                .into(),
            Ok(false) => conflict(call, &span.task_id, "was deleted meanwhile").into(),
            Err(error) => error,
        }
    }
}

/// The pages, none of them empty. After an error there are no more.
impl<S: Reads> Iterator for Pages<'_, S> {
    type Item = Result<Vec<ConversationTurn>, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.spans.is_empty() {
            return None;
        }
        let page = self.page();
        if page.is_err() {
            self.spans.clear();
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use turnkeep_model::{NewMessage, NewTask, Role};

    use super::*;
    use crate::admin::copy::Side;
    use crate::api::repo::Repo;
    use crate::base::operation::StoreRole;

    /// Makes a store with histories of these lengths, each turn of so many bytes, and returns the
    /// numbers of turns of its pages after the first `after` turns of each history.
    fn pages(histories: &[(i64, usize)], after: i64) -> Vec<usize> {
        let repo = Repo::open_in_memory().unwrap();
        let mut spans = Vec::new();
        for (number, (turns, bytes)) in histories.iter().enumerate() {
            let task_id = TaskId::new(format!("{number:04}")).unwrap();
            repo.save_task(&NewTask::new(task_id.clone(), "T")).unwrap();
            let said = NewMessage::new(Role::User, "x".repeat(*bytes));
            let said = vec![said; usize::try_from(*turns).unwrap()];
            repo.save_messages(&task_id, &said).unwrap();
            let upto = *turns;
            spans.push(Span {
                task_id,
                after,
                upto,
            });
        }
        let side = Side {
            repo: &repo,
            operation: "copy",
            place: StoreRole::Source,
        };
        let pages: Vec<_> = Pages::new(&side, spans.iter().cloned())
            .map(Result::unwrap)
            .collect();
        let read = pages.iter().flatten();
        let expected = spans.iter().flat_map(|span| {
            let seqs = span.after + 1..=span.upto;
            seqs.map(|seq| (&span.task_id, seq))
        });
        assert!(read.map(|turn| (&turn.task_id, turn.seq)).eq(expected));
        pages.iter().map(Vec::len).collect()
    }

    #[test]
    fn pages_are_bounded_in_number_and_bytes() {
        let mib = 1024 * 1024;
        assert_eq!(pages(&[(0, 1), (0, 1)], 0), [0; 0]);
        assert_eq!(pages(&[(1, 1); 300], 0), [300]);
        assert_eq!(pages(&[(4_096, 1), (1, 1)], 0), [4_096, 1]);
        assert_eq!(pages(&[(9_000, 1), (1, 1)], 0), [4_096, 4_096, 808, 1]);
        // Whole histories as long as they fit, and long ones in pieces.
        assert_eq!(pages(&[(3, mib), (2, mib), (1, mib)], 0), [3, 3]);
        assert_eq!(pages(&[(2, mib), (7, mib), (1, 1)], 0), [2, 4, 3, 1]);
        assert_eq!(pages(&[(3, 5 * mib), (1, 1)], 0), [1, 1, 1, 1]);
        // What goes on where another one ended is read by itself.
        assert_eq!(pages(&[(3, 1), (1, 1), (5_000, 1)], 1), [2, 4_096, 903]);
    }

    #[test]
    fn what_was_appended_meanwhile_is_not_read() {
        let repo = Repo::open_in_memory().unwrap();
        let spans = ["a", "b"].map(|id| Span {
            task_id: TaskId::new(id).unwrap(),
            after: 0,
            upto: 2,
        });
        for span in &spans {
            let task = NewTask::new(span.task_id.clone(), "T");
            repo.save_task(&task).unwrap();
            for _ in 0..3 {
                repo.save_message(&span.task_id, Role::User, "x").unwrap();
            }
        }
        let side = Side {
            repo: &repo,
            operation: "copy",
            place: StoreRole::Source,
        };
        let turns: Vec<_> = Pages::new(&side, spans.clone()).turns().collect();
        assert_eq!(turns.len(), 4);
        // A task that is gone is not taken for a damaged one.
        repo.delete_task(&spans[0].task_id).unwrap();
        let error = Pages::new(&side, spans).next().unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::CopyConflict { .. }),
            "{error:?}"
        );
    }
}
