//! The parts of a schema, and how a database differs from the schema that the migrations make. The engines
//! read the parts. Each part has a [`Bearing`]: how much goes wrong when it differs.

use std::fmt;

use turnkeep_model::visible;
use turnkeep_schema::MIGRATIONS_TABLE;

/// The advice for a part of the store that is missing or changed, when the store can be read.
const REPAIR: &str =
    "make it again as the migrations do, or export the store and import it into a new one";

/// The advice when such a part keeps the store from being opened, and so from being exported.
pub(crate) const REPAIR_OR_RESTORE: &str =
    "make it again as the migrations do, or restore a backup";

/// A part of a schema: a table, an index, a trigger, a function and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// `table`, `index`, `trigger`, as SQL has it.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The table that it belongs to, its own name for a table, empty for a part that belongs to none.
    pub(crate) table: String,
    /// The statement that makes it, or the properties that the catalogues of a server list.
    pub(crate) definition: String,
    pub(crate) bearing: Bearing,
}

/// How much goes wrong when a part is missing, changed or foreign, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bearing {
    /// Reads and writes stay right: an index that only makes reads fast, a view for people.
    Nothing,
    /// A write may not be stored, or not as it was meant.
    Writes,
    /// A read may return anything, and may never end.
    Reads,
}

/// A part that is not as the migrations make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) part: Part,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Missing,
    Changed,
    /// A trigger, or the triggers of a constraint, of a server.
    Disabled,
    /// The migrations make none of that name.
    Foreign,
}

/// Kind, name, table and definition of a part.
pub(crate) type PartText = (String, String, String, String);

/// Returns the bearing of a part by its kind, name and definition. Each engine has its own.
pub(crate) type BearingOf = fn(&str, &str, &str) -> Bearing;

impl Part {
    pub(crate) fn new((kind, name, table, definition): PartText, bearing_of: BearingOf) -> Self {
        Self {
            bearing: bearing_of(&kind, &name, &definition),
            kind,
            name,
            table,
            definition,
        }
    }

    fn key(&self) -> (&str, &str) {
        (&self.kind, &self.name)
    }
}

impl Difference {
    pub(crate) fn bearing(&self) -> Bearing {
        self.part.bearing
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self.how {
            How::Disabled => {
                "enable it again (`ALTER TABLE … ENABLE TRIGGER …`, for a constraint `ENABLE TRIGGER ALL`)"
            }
            How::Foreign => "drop it, or keep it in a database of its own",
            _ if self.bearing() == Bearing::Reads => REPAIR_OR_RESTORE,
            How::Missing | How::Changed => REPAIR,
        }
    }
}

/// The difference in words, with the name of the part.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part {
            kind, name, table, ..
        } = &self.part;
        // Another program may have named it.
        write!(f, "{} `{}` ", visible(kind), visible(name))?;
        if table != name && !table.is_empty() {
            write!(f, "on `{}` ", visible(table))?;
        }
        f.write_str(match self.how {
            How::Missing => "is missing",
            How::Changed => "is not the one that the migrations make",
            How::Disabled => "is disabled",
            How::Foreign => "is not of the store",
        })
    }
}

/// Reads the parts of a schema that were written down: each as a line `-- kind name table length` and its
/// definition, of that many bytes.
pub(crate) fn read_parts(mut text: &str, bearing_of: BearingOf) -> Vec<Part> {
    let mut parts = Vec::with_capacity(128);
    while let Some((row, rest)) = next_part(text) {
        parts.push(Part::new(row, bearing_of));
        text = rest.trim_start();
    }
    parts
}

fn next_part(text: &str) -> Option<(PartText, &str)> {
    let (head, rest) = text.strip_prefix("-- ")?.split_once('\n')?;
    let mut words = head.split(' ').map(str::to_owned);
    let (kind, name, table) = (words.next()?, words.next()?, words.next()?);
    let (definition, rest) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    Some(((kind, name, table, definition.to_owned()), rest))
}

/// Writes down the parts of a schema, by kind and name.
#[cfg(test)]
pub(crate) fn write_parts(mut parts: Vec<Part>) -> String {
    parts.sort_by(|a, b| a.key().cmp(&b.key()));
    let mut text = String::new();
    for part in parts {
        let Part {
            kind,
            name,
            table,
            definition,
            ..
        } = part;
        let length = definition.len();
        text.push_str(&format!(
            "-- {kind} {name} {table} {length}\n{definition}\n\n"
        ));
    }
    text
}

/// Returns how the parts of a database differ from the expected ones, by kind and name.
pub(crate) fn compare(expected: Vec<Part>, mut found: Vec<Part>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for part in expected {
        let place = found.iter().position(|it| it.key() == part.key());
        match place.map(|place| found.swap_remove(place)) {
            Some(found) if found == part => {}
            Some(found) => differences.push(changed(part, &found)),
            None => differences.push(Difference {
                part,
                how: How::Missing,
            }),
        }
    }
    differences.extend(found.into_iter().map(|part| Difference {
        part,
        how: How::Foreign,
    }));
    differences.sort_by(|a, b| a.part.key().cmp(&b.part.key()));
    differences
}

/// Returns a difference from the expected part, with the greater bearing of the two.
fn changed(mut part: Part, found: &Part) -> Difference {
    part.bearing = part.bearing.max(found.bearing);
    // So postgres/catalogue.sql marks a trigger and a constraint.
    let marked = &found.definition;
    let enabled = marked
        .strip_prefix("DISABLED ")
        .or_else(|| marked.strip_suffix(" DISABLED"));
    let how = match found.table == part.table && enabled == Some(&part.definition) {
        true => How::Disabled,
        false => How::Changed,
    };
    Difference { part, how }
}

/// Returns how the list of migrations differs from the one that Diesel makes. The list must not be read before.
/// Triggers on it do not matter to a read.
pub(crate) fn differences_of_list(expected: Vec<Part>, found: &[Part]) -> Vec<Difference> {
    let of_list = |part: &Part| part.table == MIGRATIONS_TABLE && part.bearing == Bearing::Reads;
    let expected = expected.into_iter().filter(of_list).collect();
    let found = found.iter().filter(|part| of_list(part)).cloned();
    compare(expected, found.collect())
}

/// Returns the first difference that forbids this much, in words.
pub(crate) fn forbids(differences: &[Difference], bearing: Bearing) -> Option<String> {
    let mut differences = differences.iter();
    let first = differences.find(|it| it.bearing() >= bearing)?;
    Some(first.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, definition: &str) -> Part {
        Part {
            kind: "trigger".into(),
            name: name.into(),
            table: "tasks".into(),
            definition: definition.into(),
            bearing: Bearing::Writes,
        }
    }

    #[test]
    fn parts_are_compared_by_name_whatever_their_order() {
        let expected = vec![part("c", "1"), part("a", "1"), part("b", "1")];
        let found = vec![part("d", "1"), part("b", "2"), part("c", "1")];
        assert_eq!(compare(expected.clone(), expected.clone()), []);
        let differences = compare(expected, found);
        let told: Vec<_> = differences.iter().map(Difference::to_string).collect();
        assert_eq!(
            told,
            [
                "trigger `a` on `tasks` is missing",
                "trigger `b` on `tasks` is not the one that the migrations make",
                "trigger `d` on `tasks` is not of the store",
            ]
        );
        assert_eq!(
            forbids(&differences, Bearing::Writes).as_deref(),
            Some(&*told[0])
        );
        assert_eq!(forbids(&differences, Bearing::Reads), None);
    }

    #[test]
    fn a_part_that_is_only_disabled_is_told_and_how_to_enable_it() {
        for (definition, how) in [
            ("DISABLED 1", How::Disabled),
            ("1 DISABLED", How::Disabled),
            ("DISABLED 2", How::Changed),
            ("ALWAYS 1", How::Changed),
        ] {
            let difference = &compare(vec![part("a", "1")], vec![part("a", definition)])[0];
            assert_eq!(difference.how, how, "{definition}");
            assert_eq!(difference.bearing(), Bearing::Writes);
            let says_enable = difference.advice().starts_with("enable it again");
            assert_eq!(says_enable, how == How::Disabled, "{definition}");
        }
    }
}
