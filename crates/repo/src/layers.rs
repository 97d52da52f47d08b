//! Holds the layers of this crate: a file imports its own layer and lower ones, and no files import each other
//! in a circle. `ops` is a module of each engine, so `super::super` in it means the engine that compiles it: its
//! clock, its free space and its locks on written files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the bottom to the top. The engines stand side by side, and each compiles `ops` for itself.
const LAYERS: [&[&str]; 6] = [
    &["base"],
    &["commit"],
    &["ops"],
    &["sqlite", "postgres"],
    &["store"],
    &["api"],
];

/// The imports of each module, by the path below `src` without `mod` and `.rs`.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn layer(module: &str) -> Option<usize> {
    let folder = module.split('/').next().unwrap();
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

fn read_modules(folder: &Path, root: &Path, modules: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_modules(&path, root, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = path.strip_prefix(root).unwrap().with_extension("");
            let module = module.to_str().unwrap().replace('\\', "/");
            if !module.contains("tests") && module != "layers" {
                let source = fs::read_to_string(&path).unwrap();
                let shipped = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
                modules.insert(module.trim_end_matches("/mod").to_owned(), shipped.into());
            }
        }
    }
}

fn imports() -> Imports {
    let modules: BTreeMap<_, _> = sources(|_| true).into_iter().collect();
    let imports_of = |(module, source): (&String, &String)| {
        let mut imports = BTreeSet::new();
        for line in source.lines() {
            let words = line.trim_start().trim_start_matches("pub(crate) ");
            let path = words.trim_start_matches("pub ").strip_prefix("use ");
            let Some(path) = path.map(|path| path.trim_end_matches(';').replace("::", "/")) else {
                continue;
            };
            let (prefix, names) = path.split_once('{').unwrap_or((&path, ""));
            let (mut base, mut rest) = (module.as_str(), prefix);
            if let Some(below_root) = rest.strip_prefix("crate/") {
                (base, rest) = ("", below_root);
            }
            while let Some(below_parent) = rest.strip_prefix("super/") {
                (base, rest) = (
                    base.rsplit_once('/').map_or("", |(base, _)| base),
                    below_parent,
                );
            }
            for name in names.trim_end_matches('}').split(", ") {
                let mut full = format!("{base}/{rest}{name}").trim_matches('/').to_owned();
                while !modules.contains_key(&full) && !full.is_empty() {
                    full.truncate(full.rfind('/').unwrap_or(0));
                }
                if !full.is_empty() && full != *module {
                    imports.insert(full);
                }
            }
        }
        (module.clone(), imports)
    };
    modules.iter().map(imports_of).collect()
}

/// Returns these modules with their sources.
fn sources(is_meant: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    read_modules(&root, &root, &mut modules);
    modules
        .into_iter()
        .filter(|(module, _)| is_meant(module))
        .collect()
}

#[test]
fn base_and_commit_know_no_engine() {
    let files = sources(|module| layer(module) < layer("ops") && layer(module).is_some());
    assert!(files.len() > 10);
    for (module, source) in files {
        assert!(!source.contains("feature = \"postgres\""), "{module}");
    }
}

#[test]
fn only_the_store_asks_which_engine_it_has() {
    for (module, source) in sources(|module| module != "store") {
        for question in [
            "Store::Sqlite",
            "Store::Postgres",
            "Conn::Sqlite",
            "Conn::Postgres",
        ] {
            assert!(!source.contains(question), "{module} has {question}");
        }
    }
}

#[test]
fn no_file_imports_a_higher_layer() {
    let imports = imports();
    let pairs = imports
        .iter()
        .flat_map(|(module, imported)| imported.iter().map(move |it| (module, it)));
    let upward: Vec<_> = pairs
        .filter(|(module, imported)| layer(module).is_some() && layer(imported) > layer(module))
        .collect();
    assert!(upward.is_empty(), "{upward:?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut left = imports();
    // Removes files without an import among the others. The rest is in a circle or above one.
    while let Some(leaf) = left.iter().find_map(|(module, imported)| {
        let is_leaf = imported.iter().all(|it| !left.contains_key(it));
        is_leaf.then(|| module.clone())
    }) {
        left.remove(&leaf);
    }
    assert!(left.is_empty(), "{left:?}");
}
