//! The option `--metadata`. Its errors do not repeat the value, which may be secret.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use turnkeep_model::visible;
use turnkeep_repo::Metadata;

/// Parses a JSON object, or `@FILE` with one in it.
#[derive(Clone)]
pub(crate) struct MetadataParser;

impl TypedValueParser for MetadataParser {
    type Value = Metadata;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Metadata, clap::Error> {
        parse(value).map_err(|reason| refused(command, "JSON", &reason))
    }
}

/// Parses a key and a text with `=` between them.
#[derive(Clone)]
pub(crate) struct KeyAndTextParser;

impl TypedValueParser for KeyAndTextParser {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<(String, String), clap::Error> {
        let refused = |reason| refused(command, "KEY=TEXT", reason);
        let pair = value.to_str().ok_or_else(|| refused("is not UTF-8"))?;
        let (key, text) = (pair.split_once('=')).ok_or_else(|| refused("`=` is missing"))?;
        Ok((key.to_owned(), text.to_owned()))
    }
}

fn refused(command: &clap::Command, value_name: &str, reason: &str) -> clap::Error {
    let message = format!("invalid value for '--metadata <{value_name}>': {reason}\n");
    clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
}

fn parse(value: &OsStr) -> Result<Metadata, String> {
    let value = value.to_str().ok_or("is not UTF-8")?;
    let json = match value.strip_prefix('@') {
        Some(path) => read(path)
            .map_err(|error| format!("cannot read the file `{}`: {error}", visible(path)))?,
        None => value.to_owned(),
    };
    Metadata::new(json).map_err(|error| error.reason.to_string())
}

/// Reads a file, which may be endless, up to one byte above the limit.
fn read(path: &str) -> std::io::Result<String> {
    let mut json = String::new();
    let limit = Metadata::MAX_BYTES as u64 + 1;
    File::open(path)?.take(limit).read_to_string(&mut json)?;
    Ok(json)
}
