//! The address of a server, and the part of it that may be shown.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::address::is_of_database;
use crate::base::error::{Error, Result};
use crate::base::operation::OPEN;

/// A connection URI for libpq
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), possibly with
/// several hosts. Prints without user, password and parameters.
#[derive(Clone)]
pub(crate) struct Address {
    /// The scheme, and user and password if there are any.
    prefix: String,
    /// Hosts and database.
    location: String,
    /// The parameters as given, without `options`.
    parameters: Vec<String>,
    /// The `options` for the server, unless they only set the search path.
    options: String,
    /// The search path, if the `options` set nothing else. The store applies it, because a pooler may drop or
    /// refuse them.
    pub(crate) search_path: Option<String>,
    /// How many hosts may have to be tried, one after the other.
    pub(crate) host_count: u32,
}

impl Address {
    /// Parses an address. Refuses text that libpq would read in an unexpected way, or would show in an error
    /// although it is part of a password.
    pub(crate) fn parse(path: &Path) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::invalid(OPEN, "address", reason));
        let Some(text) = path.to_str() else {
            return refuse("is not UTF-8");
        };
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return refuse("has a blank or a control character; write it as %20 and the like");
        }
        let (_, rest) = text.split_once("://").unwrap_or(("", text));
        // As in libpq, user and password end with the first `@`, unless a `/` comes first.
        let credentials = rest
            .find(['@', '/'])
            .filter(|at| rest[*at..].starts_with('@'))
            .map_or(0, |at| at + 1);
        let (prefix, rest) = text.split_at(text.len() - rest.len() + credentials);
        let (location, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        if location.contains(['@', '#']) {
            return refuse("has a raw `@` or `#`; write %40 or %23 in user and password");
        }
        if !is_well_escaped(text) {
            return refuse("has a `%` that two hexadecimal digits do not follow; write it as %25");
        }
        let (servers, database) = location.split_once('/').unwrap_or((location, ""));
        if !servers.split(',').all(is_host_with_port) {
            return refuse(
                "has something that is no host or port before the database; a password ends with `@`",
            );
        }
        if database.contains(['&', '=', ';', ':']) || is_of_database(Path::new(database)) {
            return refuse(
                "has a `&`, `=`, `;` or `:` in the name of the database; write it as %26 and the \
                 like, or put a `?` before the first parameter",
            );
        }
        let mut address = Self {
            prefix: prefix.to_owned(),
            location: location.to_owned(),
            parameters: Vec::new(),
            options: String::new(),
            search_path: None,
            host_count: count(servers),
        };
        // libpq takes the last of several parameters of one name.
        for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            if !is_parameter(name) || value.contains('=') {
                return refuse("has a parameter that is not `name=value`");
            }
            let value = percent_decode(value);
            if !is_parameter_value(name, &value) {
                return refuse("has a parameter that is no host or port, or holds a password");
            }
            if name == "options" {
                address.search_path = search_path(&value).map(str::to_owned);
                address.options = value;
                continue;
            }
            if name == "host" || name == "hostaddr" {
                address.host_count = address.host_count.max(count(&value));
            }
            address.parameters.push(parameter.to_owned());
        }
        Ok(address)
    }

    /// Whether the address has `options` for the server that set more than the search path.
    pub(crate) fn has_options(&self) -> bool {
        !self.options.is_empty() && self.search_path.is_none()
    }

    /// Returns the address for libpq. `defaults` are used where the address says nothing else; `options`
    /// (of the server's command line, as `-c name=value`) are added to its own.
    pub(crate) fn with(&self, defaults: &[(&str, String)], options: Option<&str>) -> String {
        let defaults = defaults
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)));
        let mut parameters: Vec<String> = defaults.chain(self.parameters.iter().cloned()).collect();
        let own = self.has_options().then_some(&*self.options);
        let options: Vec<&str> = own.into_iter().chain(options).collect();
        if !options.is_empty() {
            parameters.push(format!("options={}", encode(&options.join(" "))));
        }
        format!("{}{}?{}", self.prefix, self.location, parameters.join("&"))
    }

    /// Replaces `given`, the address that the driver got, in a message of the driver by the address as it is
    /// shown. Words elsewhere in the message stay even if they equal the password: leaving them out would
    /// reveal that they do.
    pub(crate) fn redact(&self, text: &str, given: &str) -> String {
        text.replace(given, &self.to_string())
    }
}

/// Scheme, hosts and database.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.location)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Returns the search path of options that set nothing else
/// (<https://www.postgresql.org/docs/current/app-postgres.html>).
fn search_path(options: &str) -> Option<&str> {
    let setting = options.strip_prefix("-c")?.trim_start();
    let path = setting.strip_prefix("search_path=")?;
    // A blank ends the setting, unless it follows a backslash.
    let is_special = |c: char| c == '\\' || c.is_ascii_whitespace();
    (!path.contains(is_special)).then_some(path)
}

fn is_well_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    })
}

fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn count(hosts: &str) -> u32 {
    u32::try_from(hosts.split(',').count()).unwrap_or(u32::MAX)
}

/// Whether this is a host with or without a port. libpq's errors repeat hosts and ports, so neither may be a
/// misplaced password.
fn is_host_with_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    is_host(&percent_decode(host)) && is_port(port)
}

/// Whether this is a name, an address, the folder of a socket, or nothing (libpq's default).
fn is_host(host: &str) -> bool {
    let in_brackets = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    in_brackets.map_or_else(|| is_name(host) || host.starts_with('/'), is_ip_address)
}

fn is_name(text: &str) -> bool {
    let text = text.strip_prefix('@').unwrap_or(text);
    text.chars()
        .all(|c| c.is_alphanumeric() || "-._".contains(c))
}

/// Whether this is an IP address, of IPv6 with a zone (`%eth0`) or without.
fn is_ip_address(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, ""));
    address.parse::<IpAddr>().is_ok() && is_name(zone)
}

fn is_port(port: &str) -> bool {
    port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+')
}

fn is_parameter(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
    !name.is_empty() && name.chars().all(is_letter)
}

/// Whether a parameter may have this value. Only a parameter named for it may hold a password.
fn is_parameter_value(name: &str, value: &str) -> bool {
    match name {
        "host" => value
            .split(',')
            .all(|host| is_host(host) || is_ip_address(host)),
        "hostaddr" => value
            .split(',')
            .all(|host| host.is_empty() || is_ip_address(host)),
        "port" => value.split(',').all(is_port),
        _ => name.contains("password") || !is_of_database(Path::new(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

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
            "postgres://u:pass",
            "postgres://u:pass/db",
            "postgres://u:65536",
            "postgres://u:+1",
            "postgres://h,u:pass/db",
            "postgres://::1/db",
            "postgres://[u:pass]/db",
            "postgres://[::1]pass/db",
            "postgres://[::1]1/db",
            "postgres://u%3Apass%40h/db",
            "postgres://u:pass%40h/db",
            "postgres://h/db&password=pass",
            "postgres://h/db;password=pass",
            "postgres://h/db%26password%3Dpass",
            "postgres://h/u:pass",
            "postgres://h/db?u:pass@h=x",
            "postgres://h/db?host=u:pass",
            "postgres://h/db?host=u%3Apass%40h",
            "postgres://h/db?hostaddr=pass",
            "postgres://h/db?port=pass",
            "postgres://h/db?dbname=host%3Dh%20password%3Dpass",
            "postgres://h/db?dbname=postgres://u:pass@h",
        ] {
            let error = parse(address).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::InvalidInput { .. }),
                "{address}"
            );
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("ss@") && !shown.contains("pass\""),
                "{shown}"
            );
            assert!(
                !shown.contains("pass/") && !shown.contains("=pass"),
                "{shown}"
            );
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
            "postgres://u@h/db?connect_timeout=5&target_session_attrs=read%2Dwrite&connect_timeout=9\
             &options=%2Dc%20a%3Db"
        );
        let address = parse("postgres://h").unwrap();
        assert_eq!(
            address.with(&defaults[..1], None),
            "postgres://h?connect_timeout=5"
        );
    }

    #[test]
    fn a_search_path_alone_is_taken_out_of_the_options() {
        for (options, path) in [
            ("-csearch_path%3Da", Some("a")),
            ("-c%20search_path%3D%22a%22,b", Some("\"a\",b")),
            ("-csearch_paths%3Da", None),
            ("-csearch_path%3Da%20-c%20b%3D1", None),
            ("-c%20b%3Dsearch_path%3Da%20-c", None),
            ("-csearch_path%3Da,%5C%20b", None),
        ] {
            let address = parse(&format!("postgres://h?options={options}")).unwrap();
            assert_eq!(address.search_path.as_deref(), path, "{options}");
            assert_eq!(address.has_options(), path.is_none(), "{options}");
            let others = match path {
                Some(_) => String::new(),
                None => format!("options={}", encode(&percent_decode(options))),
            };
            assert_eq!(address.with(&[], None), format!("postgres://h?{others}"));
        }
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
            assert_eq!(parse(address).unwrap().host_count, count, "{address}");
        }
    }

    #[test]
    fn hosts_of_every_kind_are_taken() {
        for address in [
            "postgres://db.example.com,10.0.0.1:5433,[::1]:5434,[fe80::1%25eth0]/db",
            "postgres://%2Frun%2Fpostgresql:5432/db",
            "postgres://u:p%3A%40@:5432/db",
            "postgres://,/db",
            "postgres://bücher.example/d%3Ab",
            "postgres:///db?host=/run/pg,@abstract,::1,h_1&port=1,,3&hostaddr=,::1",
            "postgres://u:p:a,s]s?w[@h/db?password=p%3Da:ss@h&passfile=/x&user=u:v",
        ] {
            assert!(parse(address).is_ok(), "{address}: {:?}", parse(address));
        }
    }

    #[test]
    fn the_place_of_the_address_is_redacted_and_no_guess() {
        let address = parse("postgres://u:p%40ss@h/db?sslpassword=other").unwrap();
        let given = address.with(&[("connect_timeout", "5".into())], None);
        assert_eq!(
            address.redact(&format!("no \"{given}\", no p@ss, no other"), &given),
            "no \"postgres://h/db\", no p@ss, no other"
        );
    }
}
