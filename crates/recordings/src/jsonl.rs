use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::open::open;
use crate::surrogates;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The longest line that is read. Lines with images have some megabytes.
const MAX_LINE: u64 = 256 * 1024 * 1024;

/// Parses the JSON objects of a file as `T`, in order, and returns the number of damaged lines. A file
/// `*.zst` is decompressed.
///
/// A line may hold several objects, after a lost newline. In a damaged line the objects before the damage
/// are read. Blank lines and values other than objects are skipped. `visit` returns `false` to stop.
pub(crate) fn for_each_object<T: DeserializeOwned>(
    path: &Path,
    mut visit: impl FnMut(T) -> bool,
) -> Result<u64, Error> {
    let mut file = lines(path)?;
    let mut unparsable_lines = 0;
    let mut buffer = Vec::new();
    let mut is_first = true;
    loop {
        buffer.clear();
        let mut bounded = (&mut file).take(MAX_LINE);
        let length = bounded
            .read_until(b'\n', &mut buffer)
            .map_err(Error::io(path))?;
        if length == 0 {
            return Ok(unparsable_lines);
        }
        if bounded.limit() == 0 && !buffer.ends_with(b"\n") {
            file.skip_until(b'\n').map_err(Error::io(path))?;
            unparsable_lines += 1;
            continue;
        }
        let mut line = buffer.as_slice();
        if std::mem::take(&mut is_first) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let mut is_damaged = false;
        for value in serde_json::Deserializer::from_slice(line).into_iter::<&RawValue>() {
            let Ok(value) = value else {
                is_damaged = true;
                break;
            };
            if !value.get().starts_with('{') {
                continue;
            }
            match parse(value.get()) {
                Some(object) => {
                    if !visit(object) {
                        return Ok(unparsable_lines);
                    }
                }
                None => is_damaged = true,
            }
        }
        unparsable_lines += u64::from(is_damaged);
    }
}

fn lines(path: &Path) -> Result<Box<dyn BufRead>, Error> {
    let file = open(path)?;
    if path.extension() == Some(OsStr::new("zst")) {
        let decoder = zstd::Decoder::new(file).map_err(Error::io(path))?;
        return Ok(Box::new(BufReader::new(decoder)));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// Parses one object. A lone surrogate is read as U+FFFD.
pub(crate) fn parse<T: DeserializeOwned>(object: &str) -> Option<T> {
    let parsed = serde_json::from_str(object);
    let parsed = parsed.or_else(|_| serde_json::from_str(&surrogates::replace_lone(object)));
    parsed.ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(bytes: &[u8]) -> (Vec<Value>, u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut objects = Vec::new();
        let unparsable = for_each_object(file.path(), |object: Value| {
            objects.push(object);
            true
        });
        (objects, unparsable.unwrap())
    }

    #[test]
    fn blank_lines_a_byte_order_mark_and_other_values_are_skipped() {
        let (objects, unparsable) =
            read(b"\xEF\xBB\xBF{\"a\":1}\r\n\n  \n123\n[{\"b\":2}]\nnull\n");
        assert_eq!(objects, [json!({"a": 1})]);
        assert_eq!(unparsable, 0);
    }

    #[test]
    fn all_objects_of_a_line_are_read() {
        let (objects, unparsable) = read(b"{\"a\":1}{\"a\":2} {\"a\":3}\n{\"a\":4}");
        assert_eq!(objects.len(), 4);
        assert_eq!(unparsable, 0);
    }

    #[test]
    fn a_damaged_line_counts_once_and_keeps_the_objects_before_the_damage() {
        let (objects, unparsable) =
            read(b"{\"a\":1}{\"a\":\nnonsense {\"a\":2}\n\0\0\0\n{\"a\":3}\n{\"a");
        assert_eq!(objects, [json!({"a": 1}), json!({"a": 3})]);
        assert_eq!(unparsable, 4);
    }

    #[test]
    fn bytes_that_are_not_utf_8_damage_only_their_line() {
        let (objects, unparsable) = read(b"{\"a\":\"\xff\"}\n{\"a\":1}\n{\"a\":\"\xc3\n");
        assert_eq!(objects, [json!({"a": 1})]);
        assert_eq!(unparsable, 2);
    }

    #[test]
    fn a_lone_surrogate_becomes_a_replacement_character() {
        let (objects, unparsable) = read(b"{\"a\":\"x\\ud82dy \\ud83d\\ude80\"}\n");
        assert_eq!(objects, [json!({"a": "x\u{fffd}y \u{1f680}"})]);
        assert_eq!(unparsable, 0);
    }
}
