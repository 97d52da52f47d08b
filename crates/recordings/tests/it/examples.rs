use std::path::Path;

use turnkeep_model::Role;

use crate::support::read_all;

#[test]
fn the_sample_recordings_have_the_documented_turns() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recordings");
    let recordings = read_all(&folder).unwrap();
    let shown: Vec<_> = recordings
        .iter()
        .map(|r| {
            let (user, assistant) = (r.count(Role::User), r.count(Role::Assistant));
            assert_eq!(r.unparsable_lines, 0);
            assert_eq!(r.working_dir.as_ref().unwrap().as_str(), "/home/ada/shop");
            format!("{} {user}/{assistant}", r.task_id().unwrap())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "claude:7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70 2/3",
            "codex:019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03 1/1",
            "goose:20261005_1 2/2",
        ]
    );
}
