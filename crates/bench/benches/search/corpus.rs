//! Sessions as Claude Code records them: words, and about thirty times as much of tool calls and results.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

/// The words of a session.
const TURNS: usize = 60;
const TURN_BYTES: usize = 580;

/// The parts of a word of the vocabulary.
const SYLLABLES: [&str; 24] = [
    "ba", "con", "de", "er", "fi", "gra", "hal", "in", "jo", "ker", "lis", "men", "no", "or",
    "pre", "qui", "re", "sta", "tor", "ul", "ver", "win", "xy", "zed",
];

/// The numbers of a linear congruential generator, so that the corpus is the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number from 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() * limit as f64) as usize
    }
}

/// Returns the word of this rank in a vocabulary of 60,000. The first ones are short.
pub(crate) fn word(rank: usize) -> String {
    let mut word = SYLLABLES[rank % SYLLABLES.len()].to_owned();
    let mut rest = rank / SYLLABLES.len();
    while rest > 0 {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
    }
    word
}

/// Adds about so many bytes of sentences. The frequency of a word falls with its rank, as in a language. Every twentieth
/// word is a name of code, a path or a number.
fn sentences(random: &mut Random, bytes: usize, text: &mut String) {
    let end = text.len() + bytes;
    while text.len() < end {
        let rank = 60_000_f64.powf(random.next()) as usize - 1;
        match random.below(60) {
            0 => text.push_str(&format!("{}_{}()", word(rank), word(random.below(5_000)))),
            1 => text.push_str(&format!(
                "src/{}/{}.rs:{}",
                word(rank),
                word(random.below(5_000)),
                random.below(900)
            )),
            2 => text.push_str(&format!("{:08x}", random.below(1 << 32))),
            _ => text.push_str(&word(rank)),
        }
        text.push_str(match random.below(12) {
            0 => ". ",
            1 => ",\n",
            _ => " ",
        });
    }
}

/// Returns the text of a turn. Every fiftieth is Japanese.
pub(crate) fn turn(random: &mut Random) -> String {
    let mut text = String::new();
    if random.below(50) == 0 {
        while text.len() < TURN_BYTES {
            text.extend(char::from_u32(0x4e00 + random.below(3_000) as u32));
        }
    } else {
        let bytes = TURN_BYTES / 4 + random.below(TURN_BYTES * 3 / 2);
        sentences(random, bytes, &mut text);
    }
    text
}

/// Writes a session into a home of Claude Code, with so many bytes of tool results. Returns the bytes of its words.
pub(crate) fn write_session(home: &Path, number: usize, tool_bytes: usize) -> Result<usize> {
    let mut random = Random::new(number as u64);
    let project = number % 20;
    let folder = home.join(format!("projects/-srv-project{project}"));
    fs::create_dir_all(&folder)?;
    let session = format!("{number:08x}-4a59-4e68-8f70-1b2c3d4e5f60");
    let mut file = BufWriter::new(File::create(folder.join(format!("{session}.jsonl")))?);
    let mut words = 0;
    for turn_number in 0..TURNS {
        let mut line = |kind: &str, part: &str, content: Value| -> Result<()> {
            let minutes = number * 7 + turn_number;
            let (day, hour, minute) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
            let time = format!(
                "2026-{:02}-{:02}T{hour:02}:{minute:02}:00.000Z",
                day / 28 + 1,
                day % 28 + 1
            );
            let line = json!({
                "type": kind, "uuid": format!("{session}-{turn_number}{part}"), "sessionId": session,
                "cwd": format!("/srv/project{project}"), "timestamp": time,
                "message": {"role": kind, "id": format!("msg-{turn_number}{part}"), "content": content},
            });
            Ok(writeln!(file, "{line}")?)
        };
        let text = turn(&mut random);
        words += text.len();
        let kind = if turn_number % 4 == 0 {
            "user"
        } else {
            "assistant"
        };
        line(kind, "", json!([{"type": "text", "text": text}]))?;
        if kind == "assistant" {
            let id = format!("tool-{turn_number}");
            line(
                "assistant",
                "a",
                json!([{"type": "tool_use", "id": id, "name": "Read", "input": {"file_path": word(turn_number)}}]),
            )?;
            let mut result = String::new();
            sentences(&mut random, tool_bytes / (TURNS * 3 / 4), &mut result);
            line(
                "user",
                "b",
                json!([{"type": "tool_result", "tool_use_id": id, "content": result}]),
            )?;
        }
    }
    file.flush()?;
    Ok(words)
}
