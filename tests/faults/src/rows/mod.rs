//! The rows of `docs/faults.md`, a file each: the part of the driver and the part of its children.

use anyhow::bail;

use crate::driver::Row;

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod damage;
pub(crate) mod growth;
pub(crate) mod kill;
pub(crate) mod locks;
pub(crate) mod planted;
pub(crate) mod power;
pub(crate) mod readers;
pub(crate) mod restore;
pub(crate) mod space;
pub(crate) mod tests;
pub(crate) mod upgrade;

/// In the order of the document.
pub(crate) const ROWS: &[Row] = &[
    kill::ROW,
    power::ROW,
    calls::ROW,
    space::ROW,
    locks::ROW,
    clock::ROW,
    damage::ROW,
    planted::ROW,
    tests::PATHS,
    tests::TEXTS,
    tests::LOST,
    growth::ROW,
    readers::ROW,
    upgrade::ROW,
    restore::ROW,
];

/// Runs this process as the child that `args` describe.
pub(crate) fn run_child(args: &[String]) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["write", path, name, seed] => kill::write(path, name, seed.parse()?)?,
        ["fail", folder, sweep, at] => calls::fail(folder, sweep.parse()?, at.parse()?)?,
        ["fill", folder, kib] => space::fill(folder, kib.parse()?)?,
        ["grow", path, appends, opens] => {
            growth::grow(path, appends.parse()?, opens.parse()?)?;
        }
        ["hold", path, millis] => locks::hold(path, millis.parse()?)?,
        ["open", path] => locks::open(path)?,
        ["append", path, bytes] => readers::append_beside(path, bytes.parse()?)?,
        ["reread", path] => readers::reread(path)?,
        ["step", path, name, seed] => clock::append(path, name, seed.parse()?)?,
        ["lease", path, seconds] => clock::lease(path, seconds.parse()?)?,
        ["read", path] => damage::read(path)?,
        ["upgrade", folder, at] => upgrade::upgrade(folder, at.parse()?)?,
        ["restorable", folder] => restore::make(folder)?,
        ["restore", folder, at] => restore::restore(folder, at.parse()?)?,
        ["record-restore", folder, log, renames, what] => {
            restore::record(folder, log, renames.parse()?, what)?;
        }
        ["fixture", path] => upgrade::make_fixture(path)?,
        ["record", folder, log, durability, renames, name, seed] => {
            let (renames, seed) = (renames.parse()?, seed.parse()?);
            power::record(folder, log, durability, renames, name, seed)?;
        }
        _ => bail!("unknown arguments {args:?}"),
    }
    Ok(())
}
