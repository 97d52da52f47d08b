//! The address of a store, and what of it may be shown.

use std::fmt;
use std::path::Path;

use super::OPEN;
use crate::error::{Error, Result};

/// A connection URI as libpq reads it
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), several
/// hosts included. Prints without user, password and parameters.
#[derive(Clone)]
pub(crate) struct Address {
    /// All before the parameters.
    base: String,
    /// Where in `base` the hosts begin.
    hosts: usize,
    /// The parameters, as given.
    parameters: Vec<(String, String)>,
}

impl Address {
    /// Takes an address apart. What libpq would read in an unexpected way, or show in an error
    /// although it is part of a password, is refused.
    pub(crate) fn parse(path: &Path) -> Result<Self> {
        let refuse = |reason: &str| {
            Err(Error::InvalidInput {
                operation: OPEN,
                field: "address",
                reason: reason.into(),
            })
        };
        let Some(text) = path.to_str() else {
            return refuse("is not UTF-8");
        };
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return refuse("has a blank or a control character; write it as %20 and the like");
        }
        let Some((_, rest)) = text.split_once("://") else {
            return refuse("has no `://`");
        };
        // As libpq does: up to the first `@` it is user and password, unless a `/` comes first.
        let credentials = rest
            .find(['@', '/'])
            .filter(|at| rest[*at..].starts_with('@'))
            .map_or(0, |at| at + 1);
        let hosts = text.len() - rest.len() + credentials;
        let (base, parameters) = match text[hosts..].find('?') {
            Some(at) => (&text[..hosts + at], &text[hosts + at + 1..]),
            None => (text, ""),
        };
        if base[hosts..].contains(['@', '#']) {
            return refuse("has a raw `@` or `#`; write %40 or %23 in user and password");
        }
        if !is_well_escaped(text) {
            return refuse("has a `%` that two hexadecimal digits do not follow; write it as %25");
        }
        let mut pairs = Vec::new();
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) if !name.is_empty() && !value.contains('=') => {
                    pairs.push((name.to_owned(), value.to_owned()));
                }
                _ => return refuse("has a parameter that is not `name=value`"),
            }
        }
        Ok(Self {
            base: base.to_owned(),
            hosts,
            parameters: pairs,
        })
    }

    /// Returns the address for libpq. `defaults` count where the address does not say otherwise;
    /// `options` (for the server's own command line, as `-c name=value`) are added to those it has.
    pub(crate) fn with(&self, defaults: &[(&str, String)], options: Option<&str>) -> String {
        let given = |name: &str| self.parameters.iter().any(|(given, _)| given == name);
        let mut parameters: Vec<(String, String)> = defaults
            .iter()
            .filter(|(name, _)| !given(name))
            .map(|(name, value)| ((*name).to_owned(), escape(value)))
            .collect();
        parameters.extend(self.parameters.iter().cloned());
        if let Some(options) = options {
            let options = escape(options);
            match parameters.iter_mut().find(|(name, _)| name == "options") {
                Some((_, value)) => *value = format!("{value}%20{options}"),
                None => parameters.push(("options".into(), options)),
            }
        }
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{}?{}", self.base, parameters.join("&"))
    }

    /// Returns how many hosts may have to be asked, one after the other.
    pub(crate) fn count_hosts(&self) -> u32 {
        let hosts = self.base[self.hosts..].split('/').next();
        let in_parameters = self.parameters.iter();
        let count = in_parameters
            .filter(|(name, _)| name == "host" || name == "hostaddr")
            .map(|(_, value)| unescape(value))
            .chain(hosts.map(str::to_owned))
            .map(|hosts| hosts.split(',').count())
            .max();
        count.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Takes what is secret out of a text of the driver's.
    pub(crate) fn redact(&self, text: &str) -> String {
        let credentials = self.base[..self.hosts].split_once("://");
        let password = credentials
            .and_then(|(_, credentials)| credentials.trim_end_matches('@').split_once(':'))
            .map(|(_, password)| password);
        let in_parameters = self.parameters.iter();
        let secrets = in_parameters
            .filter(|(name, _)| name.contains("password"))
            .map(|(_, value)| value.as_str())
            .chain(password);
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret, "…").replace(&unescape(secret), "…")
            })
    }
}

/// Scheme, hosts and database.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", &self.base[self.hosts..])
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn is_well_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    })
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = &after[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address> {
        Address::parse(Path::new(text))
    }

    #[test]
    fn only_hosts_and_database_are_shown() {
        for (address, shown) in [
            ("postgres://h/db", "postgres://h/db"),
            ("postgresql://u:secret@h:5432/db", "postgres://h:5432/db"),
            (
                "postgres://u:secret@a:1,b:2/db?password=secret&sslmode=require",
                "postgres://a:1,b:2/db",
            ),
            ("postgres:///db?host=/run/pg", "postgres:///db"),
            ("postgres://u:se?cret@h/db", "postgres://h/db"),
            ("postgres://", "postgres://"),
        ] {
            let address = parse(address).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("\"{shown}\""));
        }
    }

    #[test]
    fn what_would_be_read_otherwise_is_refused() {
        for address in [
            "postgres://u:p@ss@h/db",
            "postgres://u:pass@h/db#",
            "postgres://u:100%@h/db",
            "postgres://u:%00@h/db",
            "postgres://h/db?sslmode",
            "postgres://h/db?password=a=b",
            "postgres://h/db?=x",
            "postgres://h/d b",
            "postgres://h/d\nb",
        ] {
            let error = parse(address).unwrap_err();
            assert!(matches!(error, Error::InvalidInput { .. }), "{address}");
            assert!(!error.to_string().contains("ss@"), "{error}");
        }
    }

    #[test]
    fn parameters_of_the_address_win() {
        let defaults = [
            ("connect_timeout", "5".to_owned()),
            ("target_session_attrs", "read-write".to_owned()),
        ];
        let address = parse("postgres://u@h/db?connect_timeout=9&options=-csearch_path%3Dx");
        assert_eq!(
            address.unwrap().with(&defaults, Some("-c a=b")),
            "postgres://u@h/db?target_session_attrs=read-write&connect_timeout=9\
             &options=-csearch_path%3Dx%20-c%20a%3Db"
        );
        let address = parse("postgres://h").unwrap();
        assert_eq!(
            address.with(&defaults[..1], None),
            "postgres://h?connect_timeout=5"
        );
    }

    #[test]
    fn hosts_are_counted_wherever_they_stand() {
        for (address, count) in [
            ("postgres://", 1),
            ("postgres://u,v:p@h/a,b", 1),
            ("postgres://a:1,b:2,c/db", 3),
            ("postgres:///db?host=a%2Cb", 2),
            ("postgres://a,b?hostaddr=::1,::2,::3", 3),
        ] {
            assert_eq!(parse(address).unwrap().count_hosts(), count, "{address}");
        }
    }

    #[test]
    fn secrets_are_taken_out_of_messages() {
        let address = parse("postgres://u:p%40ss@h/db?sslpassword=other").unwrap();
        assert_eq!(
            address.redact("no p@ss, no p%40ss, no other, but h"),
            "no …, no …, no …, but h"
        );
    }
}
