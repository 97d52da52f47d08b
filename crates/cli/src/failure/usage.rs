//! Wrong usage, as clap reports it, and addresses among the arguments.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;
use turnkeep_model::visible;
use turnkeep_repo::may_be_address;

use super::{Code, Kind, Record, is_json, write_json};

/// Prints a usage error or the help.
pub(crate) fn end_usage(mut error: clap::Error) -> ExitCode {
    show_arguments(&mut error);
    if error.use_stderr() && is_json() {
        write_json(&json!({ "error": record(&error) }));
        return Code::Usage.into();
    }
    let text = error.render().ansi().to_string();
    // A closed output is not an error.
    let _ = match error.use_stderr() {
        true => anstream::stderr().write_all(text.as_bytes()),
        false => anstream::stdout().write_all(text.as_bytes()),
    };
    match error.use_stderr() {
        true => Code::Usage.into(),
        false => ExitCode::SUCCESS,
    }
}

/// Makes a line of the text of clap: what is wrong, and its tip.
fn record(error: &clap::Error) -> Record {
    let kind = Kind::USAGE.name;
    let is_incomplete = matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_incomplete {
        let mut record = Record::new(kind, "a command is missing".to_owned());
        record.hint = Some("`--help` lists the commands".to_owned());
        return record;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let wrong = text.split("\n\n").next().unwrap_or_default();
    let wrong: Vec<_> = wrong.split_whitespace().collect();
    let mut record = Record::new(kind, wrong.join(" "));
    let mut tips = text.lines().map(str::trim_start);
    record.hint = tips.find_map(|line| Some(line.strip_prefix("tip: ")?.to_owned()));
    record
}

/// Escapes the arguments in an error of clap and hides addresses. Its own colours and line breaks stay.
fn show_arguments(error: &mut clap::Error) {
    let is_plain = |arg: &OsString| {
        let text = arg.to_string_lossy();
        !may_be_address(&*text) && matches!(visible(&text), Cow::Borrowed(_))
    };
    if std::env::args_os().all(|arg| is_plain(&arg)) {
        return;
    }
    let show = |text: &str| visible(&without_addresses(text.to_owned())).into_owned();
    let values = error.context().filter_map(|(kind, value)| {
        let shown = match value {
            // The usage contains no argument, but line breaks.
            _ if kind == ContextKind::Usage => return None,
            ContextValue::String(text) => ContextValue::String(show(text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| show(text)).collect())
            }
            ContextValue::StyledStr(text) => {
                ContextValue::StyledStr(show(&text.to_string()).into())
            }
            ContextValue::StyledStrs(texts) => ContextValue::StyledStrs(
                texts
                    .iter()
                    .map(|text| show(&text.to_string()).into())
                    .collect(),
            ),
            _ => return None,
        };
        Some((kind, shown))
    });
    for (kind, value) in values.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
}

/// Hides the arguments that may be addresses, because an address may contain a password.
pub(super) fn without_addresses(text: String) -> String {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    hide_addresses(text, &args)
}

fn hide_addresses(text: String, args: &[String]) -> String {
    let values = args.iter().flat_map(|arg| {
        let value = arg.strip_prefix("--").and_then(|arg| arg.split_once('='));
        [Some(arg.as_str()), value.map(|(_, value)| value)]
    });
    let addresses = values.flatten().filter(|value| may_be_address(value));
    addresses.fold(text, |text, address| {
        // Errors of the libraries contain it escaped.
        let text = text.replace(address, "<an address>");
        text.replace(&*visible(address), "<an address>")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_not_repeated() {
        let hidden = |text: &str, arg: &str| hide_addresses(text.into(), &[arg.into()]);
        for address in [
            "postgres://u:secret@h/db",
            "postgres://u:s/e c\"ret@h",
            "postgres:/u:secret",
            "mysql://secret@",
            "host=h password=secret",
            "\tpostgres:/u:secret\u{202e}",
        ] {
            for (text, option) in [("no `ARG`.", ""), ("ARG, ARG", "--dü=")] {
                let repeated = text.replace("ARG", address);
                for repeated in [&*repeated, &visible(&repeated)] {
                    let shown = hidden(repeated, &format!("{option}{address}"));
                    assert_eq!(shown, text.replace("ARG", "<an address>"));
                }
            }
        }
        let without = "no store at store.db, https://example.com";
        for arg in ["store.db", "https://example.com", "://", "", "--db="] {
            assert_eq!(hidden(without, arg), without);
        }
    }
}
