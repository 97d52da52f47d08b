//! `stats --tokens`.

use std::collections::BTreeMap;

use serde::Serialize;
use turnkeep_agents::{TokenUsage, token_usage};
use turnkeep_recordings::Tokens;
use turnkeep_render::cut_left;
use turnkeep_repo::{BackendType, Repo, WorkingDir};

use super::title;
use crate::environment::with_tilde;
use crate::failure::warn_of;
use crate::output::{Output, progress_bar, shorten};

/// The columns of a folder or a model: with the numbers, a row fits in 80.
const WIDEST: usize = 26;

/// The folders and models with the most tokens that are shown.
const SHOWN: usize = 15;

const TEMPLATE: &str = "{spinner} [{bar:20}] {bytes}/{total_bytes}{left}";

#[derive(Serialize)]
pub(super) struct TokensRecord<'a> {
    month: Option<String>,
    backend: Option<&'a str>,
    working_dir: Option<&'a str>,
    model: Option<&'a str>,
    answers: u64,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
}

/// Reads the tokens from all kept files, of so many bytes.
pub(super) fn read(repo: &Repo, bytes: u64, out: &Output) -> anyhow::Result<Vec<TokenUsage>> {
    let bar = progress_bar(bytes, TEMPLATE, !out.is_json());
    let usage = token_usage(repo, &mut |file, read| {
        if let Err(error) = read {
            let of = format!("tokens of task `{}` are missing", file.task_id);
            bar.suspend(|| warn_of(anyhow::Error::from(error).context(of)));
        }
        bar.inc(file.length);
    });
    bar.finish_and_clear();
    Ok(usage?)
}

pub(super) fn records(usage: &[TokenUsage]) -> Vec<TokensRecord<'_>> {
    usage.iter().map(TokensRecord::from).collect()
}

impl<'a> From<&'a TokenUsage> for TokensRecord<'a> {
    fn from(row: &'a TokenUsage) -> Self {
        Self {
            month: row.month.map(in_words),
            backend: row.backend_type.as_ref().map(BackendType::as_str),
            working_dir: row.working_dir.as_ref().map(WorkingDir::as_str),
            model: row.model.as_deref(),
            answers: row.answers,
            input: row.tokens.input,
            cache_read: row.tokens.cache_read,
            cache_write: row.tokens.cache_write,
            output: row.tokens.output,
        }
    }
}

pub(super) fn print(usage: &[TokenUsage], out: &mut Output) -> std::io::Result<()> {
    if usage.is_empty() {
        return out.note("no kept file has tokens; `import` keeps the files of sessions");
    }
    let agent = |row: &TokenUsage| or_dash(row.backend_type.as_ref().map(BackendType::as_str));
    let months = sums(usage, |row| {
        (row.month.map_or_else(dash, in_words), agent(row))
    });
    out.title(super::Style::new().underline(), "tokens by month and agent")?;
    table(["MONTH", "AGENT"], months, out)?;

    title("by model", out)?;
    let models = sums(usage, |row| (or_dash(row.model.as_deref()), agent(row)));
    table(["MODEL", "AGENT"], most(models), out)?;

    title("by folder", out)?;
    let folders = sums(usage, |row| {
        let folder = row.working_dir.as_ref().map(|it| with_tilde(it.as_str()));
        (folder.unwrap_or_else(dash), agent(row))
    });
    table(["FOLDER", "AGENT"], most(folders), out)
}

type Sum = ((String, String), (u64, Tokens));

/// Sums up the rows with the same key, in order of the keys.
fn sums(usage: &[TokenUsage], key: impl Fn(&TokenUsage) -> (String, String)) -> Vec<Sum> {
    let mut sums = BTreeMap::<_, (u64, Tokens)>::new();
    for row in usage {
        let (answers, tokens) = sums.entry(key(row)).or_default();
        *answers += row.answers;
        *tokens += row.tokens;
    }
    sums.into_iter().collect()
}

/// Keeps the rows with the most tokens, and makes one of the others.
fn most(mut sums: Vec<Sum>) -> Vec<Sum> {
    sums.sort_by_key(|(_, (_, tokens))| std::cmp::Reverse(tokens.sum()));
    if sums.len() > SHOWN + 1 {
        let others = sums.split_off(SHOWN);
        let name = (format!("{} others", others.len()), String::new());
        let mut sum = (0, Tokens::default());
        for (_, (answers, tokens)) in others {
            sum.0 += answers;
            sum.1 += tokens;
        }
        sums.push((name, sum));
    }
    sums
}

fn table(names: [&str; 2], sums: Vec<Sum>, out: &mut Output) -> std::io::Result<()> {
    let [first, second] = names;
    let titles = [
        first,
        second,
        "ANSWERS#",
        "INPUT#",
        "CACHED#",
        "TO CACHE#",
        "OUTPUT#",
    ];
    let rows = sums.into_iter().map(|((name, agent), (answers, tokens))| {
        let numbers = [
            answers,
            tokens.input,
            tokens.cache_read,
            tokens.cache_write,
            tokens.output,
        ];
        let [answers, input, cached, to_cache, output] = numbers.map(short);
        let name = cut_left(&name, WIDEST).into_owned();
        [
            name,
            shorten(&agent),
            answers,
            input,
            cached,
            to_cache,
            output,
        ]
    });
    out.table(titles, rows)
}

/// Writes a large number with three digits: `12.3M`.
fn short(number: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    let unit = UNITS.iter().find(|(size, _)| number >= *size);
    let Some((size, unit)) = unit.filter(|_| number >= 10_000) else {
        return number.to_string();
    };
    let tenths = number / (size / 10);
    match tenths < 1_000 {
        true => format!("{}.{}{unit}", tenths / 10, tenths % 10),
        false => format!("{}{unit}", tenths / 10),
    }
}

fn in_words((year, month): (i32, u32)) -> String {
    format!("{year:04}-{month:02}")
}

fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(dash, str::to_owned)
}

fn dash() -> String {
    "-".into()
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    use super::*;

    #[test]
    fn large_numbers_have_three_digits() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (123_456, "123k"),
            (999_999, "999k"),
            (1_250_000, "1.2M"),
            (12_345_678_901, "12.3G"),
            (u64::MAX, "18446P"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
