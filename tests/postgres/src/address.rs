//! The parts of a `postgres://` address.

use std::path::Path;

use anyhow::{Context, bail};

/// An address with percent-encoded parts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    user: Option<String>,
    password: Option<String>,
    hosts: String,
    database: Option<String>,
    parameters: Vec<String>,
}

impl Address {
    /// Parses an address. Errors do not show it, since it may contain a password.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .context("the address doesn't begin with postgres:// or postgresql://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority
            .split_once('@')
            .map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, password)) => (non_empty(user), non_empty(password)),
            None => (None, None),
        };
        let mut address = Self {
            user,
            password,
            hosts: hosts.to_owned(),
            database: non_empty(database),
            parameters: Vec::new(),
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("password", value)) => address.password = non_empty(value),
                Some(("dbname", value)) => address.database = non_empty(value),
                Some(_) => address.parameters.push(parameter.to_owned()),
                None => bail!("the address has a parameter without a value"),
            }
        }
        Ok(address)
    }

    /// Returns the address of a socket in a folder.
    pub(crate) fn of_socket(folder: &Path, port: u16) -> anyhow::Result<Self> {
        let folder = folder.to_str().context("a folder that is not UTF-8")?;
        Self::parse(&format!("postgres://postgres@{}:{port}", encode(folder)))
    }

    /// Returns the address of a port on this machine.
    pub(crate) fn of_port(password: &str, port: u16) -> anyhow::Result<Self> {
        Self::parse(&format!("postgres://postgres:{password}@127.0.0.1:{port}"))
    }

    /// Returns the address with another database.
    pub(crate) fn with_database(&self, name: &str) -> Self {
        Self {
            database: Some(encode(name)),
            ..self.clone()
        }
    }

    /// Returns the address without its password.
    pub(crate) fn without_password(&self) -> Self {
        Self {
            password: None,
            ..self.clone()
        }
    }

    /// Returns an address with two servers, from which a client picks the one that accepts writes.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.hosts = format!("{},{}", self.hosts, other.hosts);
        both.parameters
            .push("target_session_attrs=read-write".to_owned());
        both
    }

    pub(crate) fn user(&self) -> Option<String> {
        self.user.as_deref().map(decode)
    }

    pub(crate) fn password(&self) -> Option<String> {
        self.password.as_deref().map(decode)
    }

    /// Returns the only host and its port.
    pub(crate) fn host_and_port(&self) -> anyhow::Result<(String, u16)> {
        let hosts = &self.hosts;
        // The colons inside of `[::1]` do not separate a port.
        let (host, port) = match hosts.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (hosts.as_str(), "5432"),
        };
        anyhow::ensure!(
            !hosts.contains(',') && !host.is_empty(),
            "the address must name one host"
        );
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((decode(host), port.parse().context("not a port")?))
    }

    pub(crate) fn url(&self) -> String {
        let mut url = "postgres://".to_owned();
        if let Some(user) = &self.user {
            url += user;
        }
        if let Some(password) = &self.password {
            url += &format!(":{password}");
        }
        if self.user.is_some() || self.password.is_some() {
            url += "@";
        }
        url += &self.hosts;
        if let Some(database) = &self.database {
            url += &format!("/{database}");
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            url += if index == 0 { "?" } else { "&" };
            url += parameter;
        }
        url
    }
}

/// Hides the password.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.without_password().url())
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend(plain.bytes());
        match after.get(..2).map(|code| u8::from_str_radix(code, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn another_database_leaves_the_rest_alone() {
        for (given, expected) in [
            ("postgres://h", "postgres://h/x%20y"),
            ("postgres://", "postgres:///x%20y"),
            ("postgresql://u@h:1/db", "postgres://u@h:1/x%20y"),
            (
                "postgres://u:p%40@h1:1,h2:2/db?sslmode=require&connect_timeout=2",
                "postgres://u:p%40@h1:1,h2:2/x%20y?sslmode=require&connect_timeout=2",
            ),
            (
                "postgres:///db?host=/run&dbname=other&user=u",
                "postgres:///x%20y?host=/run&user=u",
            ),
            ("postgres://h?password=p", "postgres://:p@h/x%20y"),
        ] {
            assert_eq!(parse(given).with_database("x y").url(), expected, "{given}");
        }
    }

    #[test]
    fn parts_are_decoded() {
        let address = parse("postgres://u%20ser:p%40%25ss@%2Fvar%2Frun:5433/db");
        assert_eq!(address.user().as_deref(), Some("u ser"));
        assert_eq!(address.password().as_deref(), Some("p@%ss"));
        assert_eq!(address.host_and_port().unwrap(), ("/var/run".into(), 5433));
        assert_eq!(
            parse("postgres://[::1]").host_and_port().unwrap(),
            ("::1".into(), 5432)
        );
        assert_eq!(
            parse("postgres://[::1]:1/db").host_and_port().unwrap(),
            ("::1".into(), 1)
        );
        assert!(parse("postgres://a,b/db").host_and_port().is_err());
        assert!(parse("postgres:///db").host_and_port().is_err());
    }

    #[test]
    fn a_password_does_not_show() {
        let address = parse("postgres://u:secret@h/db");
        assert_eq!(address.without_password().url(), "postgres://u@h/db");
        assert_eq!(format!("{address:?}"), "postgres://u@h/db");
        for wrong in [
            "host=h password=secret",
            "mysql://u:secret@h",
            "postgres://u:secret@h/db?x",
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn sockets_and_two_hosts() {
        let first = Address::of_socket(Path::new("/tmp/tk-a"), 5432).unwrap();
        let second = Address::of_socket(Path::new("/tmp/tk-b"), 5433).unwrap();
        assert_eq!(
            first.with_database("db").or(&second).url(),
            "postgres://postgres@%2Ftmp%2Ftk-a:5432,%2Ftmp%2Ftk-b:5433/db\
             ?target_session_attrs=read-write"
        );
    }
}
