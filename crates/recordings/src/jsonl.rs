use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::open::open;
use crate::surrogates;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The longest line that is read. Lines with images have some megabytes.
const MAX_LINE: u64 = 256 * 1024 * 1024;

/// A compressed file may be this many times larger than it is, but at least as large as the small limit, and
/// at most as the large one. Real files have a ratio of about 10.
const MAX_RATIO: u64 = 200;
const MAX_SMALL: u64 = 16 * 1024 * 1024;
const MAX_LARGE: u64 = 4 * 1024 * 1024 * 1024;

/// The window of a decoder takes at most 32 MiB. Level 19 of Zstandard has 8 MiB.
const MAX_WINDOW_LOG: u32 = 25;

/// Parses the JSON objects of a file as `T`, in order, and returns the number of damaged lines. A file
/// `*.zst` is decompressed.
///
/// A line may hold several objects, after a lost newline. In a damaged line the objects before the damage
/// are read. A compressed file that is cut or damaged after its first line ends there, with a damaged line. Blank
/// lines and values other than objects are skipped. `visit` returns `false` to stop.
pub(crate) fn for_each_object<T: DeserializeOwned>(
    path: &Path,
    mut visit: impl FnMut(T) -> bool,
) -> Result<u64, Error> {
    for_each_object_from(path, 0, |object, _| visit(object))
}

/// Like [`for_each_object`], from the line at an offset on. `visit` gets the offset of the line with the first
/// object of each line.
///
/// A compressed file is read from its start, and has no offsets.
pub(crate) fn for_each_object_from<T: DeserializeOwned>(
    path: &Path,
    offset: u64,
    mut visit: impl FnMut(T, Option<u64>) -> bool,
) -> Result<u64, Error> {
    let mut file = open(path)?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    if offset > 0 && !is_compressed(path) {
        file.seek(SeekFrom::Start(offset))
            .map_err(Error::io(path))?;
    }
    for_each_text_from(path, file, size, offset, |text, at| match parse(text) {
        Some(object) => match visit(object, at) {
            true => Next::Object,
            false => Next::End,
        },
        None => Next::Damaged,
    })
}

/// Passes the texts of the JSON objects of a file to `visit`, in order, as [`for_each_object`] finds them. The path is
/// that of errors, and tells whether the file is compressed; `size` is its length. `visit` returns `false` to stop.
pub(crate) fn for_each_text(
    path: &Path,
    file: impl Read,
    size: u64,
    mut visit: impl FnMut(&str) -> bool,
) -> Result<u64, Error> {
    for_each_text_from(path, file, size, 0, |text, _| match visit(text) {
        true => Next::Object,
        false => Next::End,
    })
}

/// The result of a visit.
enum Next {
    Object,
    /// The object could not be parsed.
    Damaged,
    End,
}

fn for_each_text_from(
    path: &Path,
    file: impl Read,
    size: u64,
    offset: u64,
    mut visit: impl FnMut(&str, Option<u64>) -> Next,
) -> Result<u64, Error> {
    let is_compressed = is_compressed(path);
    let mut file = lines(path, file, size)?;
    let mut next = offset;
    let mut unparsable_lines = 0;
    let mut buffer = Vec::new();
    let mut is_first = offset == 0;
    loop {
        buffer.clear();
        let mut start = Some(next).filter(|_| !is_compressed);
        let mut bounded = (&mut file).take(MAX_LINE);
        match bounded.read_until(b'\n', &mut buffer) {
            Ok(0) => return Ok(unparsable_lines),
            Ok(length) => next += length as u64,
            // A frame that is cut or damaged ends the file, as a cut plain file ends.
            Err(error) if !is_first && is_compressed && is_of_decoder(&error) => {
                return Ok(unparsable_lines + 1);
            }
            Err(error) => return Err(failed(path, error)),
        }
        if bounded.limit() == 0 && !buffer.ends_with(b"\n") {
            let skipped = file.skip_until(b'\n');
            next += skipped.map_err(|error| failed(path, error))? as u64;
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
                start = None;
                continue;
            }
            match visit(value.get(), start) {
                Next::Object => start = None,
                Next::Damaged => is_damaged = true,
                Next::End => return Ok(unparsable_lines),
            }
        }
        unparsable_lines += u64::from(is_damaged);
    }
}

fn lines<'f>(path: &Path, file: impl Read + 'f, size: u64) -> Result<Box<dyn BufRead + 'f>, Error> {
    if is_compressed(path) {
        let mut decoder = zstd::Decoder::new(Compressed(file)).map_err(Error::io(path))?;
        let window = decoder.window_log_max(MAX_WINDOW_LOG);
        window.map_err(Error::io(path))?;
        let left = size.saturating_mul(MAX_RATIO).clamp(MAX_SMALL, MAX_LARGE);
        return Ok(Box::new(BufReader::new(Bounded { decoder, left })));
    }
    Ok(Box::new(BufReader::new(file)))
}

fn is_compressed(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("zst"))
}

/// Whether the decoder failed, and not the file or a limit.
fn is_of_decoder(error: &io::Error) -> bool {
    let is_of_file = error.get_ref().is_some_and(|it| it.is::<FileError>());
    !is_of_file && error.kind() != io::ErrorKind::FileTooLarge
}

fn failed(path: &Path, error: io::Error) -> Error {
    let error = match error.downcast() {
        Ok(FileError(error)) | Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::FileTooLarge => Error::TooLarge {
            path: path.to_owned(),
        },
        _ => Error::io(path)(error),
    }
}

/// A file below a decoder, which marks its errors.
struct Compressed<R>(R);

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct FileError(io::Error);

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        read.map_err(|error| io::Error::new(error.kind(), FileError(error)))
    }
}

/// A decoder that fails after so many bytes.
struct Bounded<R> {
    decoder: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(buffer)?;
        let left = self.left.checked_sub(length as u64);
        self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(length)
    }
}

/// Parses one object. A lone surrogate is read as U+FFFD.
pub(crate) fn parse<T: DeserializeOwned>(object: &str) -> Option<T> {
    let parsed = serde_json::from_str(object);
    let parsed = parsed.or_else(|_| {
        let object = surrogates::replace_lone(object);
        serde_json::from_str(&object).or_else(|error| last_fields(&object).ok_or(error))
    });
    parsed.ok()
}

/// The longest object in which a field may stand twice, in bytes. Such an object takes much memory.
const MAX_REPEATED: usize = 256 * 1024;

/// Parses an object in which a field stands twice. The last one counts, as in JavaScript.
fn last_fields<T: DeserializeOwned>(object: &str) -> Option<T> {
    let value = Some(object).filter(|object| object.len() <= MAX_REPEATED);
    let value: serde_json::Value = serde_json::from_str(value?).ok()?;
    T::deserialize(value).ok()
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

    fn read_compressed(bytes: &[u8]) -> Result<(usize, u64), Error> {
        let file = tempfile::Builder::new().suffix(".zst").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut objects = 0;
        let unparsable = for_each_object(file.path(), |_: Value| {
            objects += 1;
            true
        })?;
        Ok((objects, unparsable))
    }

    #[test]
    fn a_compressed_file_that_is_cut_or_damaged_keeps_the_lines_before_it() {
        let lines: String = (0..100_000).map(|n| format!("{{\"a\":{n}}}\n")).collect();
        let mut compressed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
        assert_eq!(read_compressed(&compressed).unwrap(), (100_000, 0));
        let (objects, unparsable) = read_compressed(&compressed[..compressed.len() / 2]).unwrap();
        assert!(objects > 1_000 && objects < 100_000, "{objects}");
        assert_eq!(unparsable, 1);
        let half = compressed.len() / 2;
        compressed[half..].fill(0xff);
        let (objects, unparsable) = read_compressed(&compressed).unwrap();
        assert!(objects > 1_000 && objects < 100_000, "{objects}");
        assert_eq!(unparsable, 1);
        for nothing in [&compressed[..20], b"no frame", b""] {
            assert!(matches!(read_compressed(nothing), Err(Error::Io { .. })));
        }
    }

    /// Unlike a damaged frame, after which the file ends.
    #[test]
    fn an_error_of_a_compressed_file_is_one() {
        struct Failing;

        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }

        let lines: String = (0..100_000).map(|n| format!("{{\"a\":{n}}}\n")).collect();
        let compressed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
        let size = compressed.len() as u64;
        let file = compressed[..compressed.len() / 2].chain(Failing);
        let mut objects = 0;
        let read = for_each_text("a.zst".as_ref(), file, size, |_| {
            objects += 1;
            true
        });
        assert!(objects > 1_000 && objects < 100_000, "{objects}");
        match read {
            Err(Error::Io { source, .. }) => assert_eq!(source.to_string(), "gone"),
            read => panic!("{read:?}"),
        }
    }

    #[test]
    fn a_compressed_file_may_not_be_a_bomb() {
        let bomb = zstd::encode_all(io::repeat(b' ').take(MAX_SMALL + 1), 3).unwrap();
        assert!(matches!(
            read_compressed(&bomb),
            Err(Error::TooLarge { .. })
        ));
        let large = zstd::encode_all(io::repeat(b' ').take(MAX_SMALL), 3).unwrap();
        assert_eq!(read_compressed(&large).unwrap(), (0, 0));
    }

    #[test]
    fn of_a_field_that_stands_twice_the_last_one_counts() {
        #[derive(serde::Deserialize)]
        struct Object {
            a: u8,
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(MAX_REPEATED);
        let lines = format!(
            "{{\"a\":1,\"b\":\"\\ud83d\",\"a\":2}}\n{{\"a\":1,\"b\":\"{long}\",\"a\":2}}\n"
        );
        std::fs::write(file.path(), lines).unwrap();
        let mut found = Vec::new();
        let unparsable = for_each_object(file.path(), |object: Object| {
            found.push(object.a);
            true
        });
        assert_eq!((found.as_slice(), unparsable.unwrap()), (&[2][..], 1));
    }
}
