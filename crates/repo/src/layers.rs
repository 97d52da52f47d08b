//! Holds the layers of this crate: a file imports its own layer and lower ones.

use std::fs;
use std::path::Path;

/// From the bottom to the top. The engines stand side by side.
const LAYERS: [&[&str]; 6] = [
    &["base"],
    &["commit"],
    &["ops"],
    &["sqlite", "postgres"],
    &["store"],
    &["api"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn upward_imports(folder: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            upward_imports(&path, root, found);
        } else if !name.contains("tests") {
            let module = name.split(['/', '.']).next().unwrap();
            for line in fs::read_to_string(&path).unwrap().lines() {
                let Some(import) = line.trim_start().strip_prefix("use crate::") else {
                    continue;
                };
                let imported = import.split("::").next().unwrap();
                if layer(imported) > layer(module) && layer(module).is_some() {
                    found.push(format!("{name} imports {imported}"));
                }
            }
        }
    }
}

#[test]
fn no_file_imports_a_higher_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    upward_imports(&root, &root, &mut found);
    assert_eq!(found, [""; 0]);
}
