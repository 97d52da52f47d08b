//! The first commands of README, as a new user types them.

use std::path::Path;
use std::process::Command;
use std::{env, fs, iter};

use crate::support::{Sandbox, run};

const TRANSCRIPT: &str = "projects/-home-ada-shop/7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70.jsonl";

#[test]
fn the_first_commands_of_readme_bring_a_lost_recording_back() {
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(clone.join("README.md")).unwrap();
    let block = readme.split("```sh\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let script = block
        .strip_prefix("cargo install --path crates/cli\n")
        .unwrap();

    let sandbox = Sandbox::new();
    let recordings = clone.join("examples/recordings").canonicalize().unwrap();
    fs::create_dir(sandbox.path("examples")).unwrap();
    std::os::unix::fs::symlink(&recordings, sandbox.path("examples/recordings")).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_turnkeep")).parent().unwrap();
    let path = env::var_os("PATH").unwrap();
    let path = iter::once(programs.to_owned()).chain(env::split_paths(&path));
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", script])
        .current_dir(sandbox.path(""))
        .env("HOME", sandbox.path(""))
        .env("PATH", env::join_paths(path).unwrap());

    let run = run(&mut shell);
    assert_eq!(run.code, Some(0), "{run:?}");
    let home = sandbox.path("").canonicalize().unwrap().join("try/home");
    let (home, transcript) = (home.display(), home.join(TRANSCRIPT));
    let command = format!(
        "CLAUDE_CONFIG_DIR={home} claude --resume {}",
        transcript.display()
    );
    assert_eq!(run.stdout.lines().last(), Some(&*command));
    let original = fs::read(recordings.join("claude").join(TRANSCRIPT)).unwrap();
    assert_eq!(fs::read(transcript).unwrap(), original);
}
