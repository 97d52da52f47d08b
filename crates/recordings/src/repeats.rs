//! Prompts that a later text may repeat, alone or joined with others.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The most lines of a text that is compared line by line. A longer one is compared as a whole.
const MAX_LINES: usize = 100_000;

/// The most comparisons for one text. Only a hostile file needs more; then its prompts are not repeated.
const MAX_COMPARISONS: usize = 10_000_000;

/// Prompts that wait for a text that repeats them as whole lines. White space inside a line does not matter.
/// A prompt takes little memory, however long it is.
#[derive(Default)]
pub(crate) struct Repeats {
    /// The prompts by their first lines.
    waiting: HashMap<u64, Vec<Prompt>>,
}

struct Prompt {
    lines: usize,
    hash: u64,
    index: usize,
}

impl Repeats {
    /// Adds a prompt under an index of the caller.
    pub(crate) fn add(&mut self, text: &str, index: usize) {
        let lines = Lines::of(text);
        let waiting = self.waiting.entry(lines.first).or_default();
        waiting.push(Prompt {
            lines: lines.count,
            hash: lines.hash,
            index,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes the prompts that a text repeats, of those that `may_be_repeated`, and returns their indexes in
    /// order.
    pub(crate) fn take(
        &mut self,
        text: &str,
        may_be_repeated: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut repeated = Vec::new();
        if self.is_empty() {
            return repeated;
        }
        let lines = Lines::of(text);
        let mut comparisons = 0;
        for start in 0..lines.count.min(MAX_LINES) {
            let Some(first) = lines.line(start) else {
                break;
            };
            let Some(waiting) = self.waiting.get_mut(&first) else {
                continue;
            };
            comparisons += waiting.len();
            if comparisons > MAX_COMPARISONS {
                break;
            }
            waiting.retain(|prompt| {
                let is_repeated = lines.hash(start, prompt.lines) == Some(prompt.hash)
                    && may_be_repeated(prompt.index);
                repeated.extend(is_repeated.then_some(prompt.index));
                !is_repeated
            });
            if waiting.is_empty() {
                self.waiting.remove(&first);
            }
        }
        repeated.sort_unstable();
        repeated
    }
}

/// The lines of a text, as hashes.
struct Lines {
    count: usize,
    first: u64,
    hash: u64,
    /// The hashes of the first 0, 1, 2, … lines. Empty if there are more than [`MAX_LINES`].
    starts: Vec<u64>,
}

/// The hash of several lines is a polynomial in this number, so that a part of them has a hash as well.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

impl Lines {
    fn of(text: &str) -> Self {
        let mut lines = Self {
            count: 0,
            first: 0,
            hash: 0,
            starts: vec![0],
        };
        for line in text.trim().lines() {
            let line = hash(line);
            if lines.count == 0 {
                lines.first = line;
            }
            lines.count += 1;
            lines.hash = lines.hash.wrapping_mul(BASE).wrapping_add(line);
            match lines.count > MAX_LINES {
                true => lines.starts = Vec::new(),
                false => lines.starts.push(lines.hash),
            }
        }
        lines
    }

    fn line(&self, index: usize) -> Option<u64> {
        match index {
            0 => Some(self.first),
            _ => self.hash(index, 1),
        }
    }

    /// Returns the hash of a part of the lines.
    fn hash(&self, start: usize, count: usize) -> Option<u64> {
        if start == 0 && count == self.count {
            return Some(self.hash);
        }
        let end = *self.starts.get(start.checked_add(count)?)?;
        let before = self.starts[start].wrapping_mul(power(count));
        Some(end.wrapping_sub(before))
    }
}

fn power(exponent: usize) -> u64 {
    BASE.wrapping_pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

/// Hashes a line without its white space.
fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.split_whitespace()
        .for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(prompts: &[&str], text: &str) -> Vec<usize> {
        let mut repeats = Repeats::default();
        for (index, prompt) in prompts.iter().enumerate() {
            repeats.add(prompt, index);
        }
        repeats.take(text, |_| true)
    }

    #[test]
    fn a_text_repeats_a_prompt_as_whole_lines() {
        let prompts = ["a", "b\nc", " b  c ", "c\nd", "a\n\nb", "not a"];
        assert_eq!(taken(&prompts, "a"), [0]);
        assert_eq!(taken(&prompts, "x\n b\nc \n"), [1]);
        assert_eq!(taken(&prompts, "b\tc\nnot a whole line"), [2]);
        assert_eq!(taken(&prompts, "b\nc\nd"), [1, 3]);
        assert_eq!(taken(&prompts, "a\n\nb"), [0, 4]);
        assert_eq!(taken(&prompts, ""), [0_usize; 0]);
    }

    #[test]
    fn a_prompt_is_taken_once_and_only_if_it_may_be() {
        let mut repeats = Repeats::default();
        repeats.add("a", 1);
        repeats.add("a", 2);
        assert_eq!(repeats.take("a", |index| index == 2), [2]);
        assert_eq!(repeats.take("a\na", |_| true), [1]);
        assert!(repeats.is_empty());
    }

    #[test]
    fn very_many_lines_are_compared_as_a_whole() {
        let long = "a\n".repeat(MAX_LINES + 1);
        assert_eq!(taken(&[&long, "a\na", "b"], &long), [0]);
        let shorter = "a\n".repeat(MAX_LINES);
        assert_eq!(taken(&[&shorter, "a\na", "b"], &shorter), [0, 1]);
    }

    #[test]
    fn comparisons_are_bounded() {
        let prompt = |index: usize| format!("{}{index}", "a\n".repeat(1_000));
        let mut repeats = Repeats::default();
        for index in 0..1_000 {
            repeats.add(&prompt(index), index);
        }
        let lines = "a\n".repeat(MAX_LINES);
        assert_eq!(repeats.take(&lines, |_| true), [0_usize; 0]);
        assert_eq!(repeats.take(&prompt(7), |_| true), [7]);
    }
}
