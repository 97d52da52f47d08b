//! Filters of claims: by agent role and by metadata.

use std::time::Duration;

use turnkeep_repo::{ClaimFilter, ErrorKind, Metadata, NewTask, TaskStatus};

use super::lease::{LONG, SHORT, claimed, ids, ticking, until, worker};
use crate::{Claimed, Harness, Store};

fn save(repo: &impl Store, id: &str, role: &str, metadata: &str) -> anyhow::Result<()> {
    let task = NewTask::new(id.parse()?, "T").agent_role(role);
    Ok(repo.save_task(&task.metadata(Metadata::new(metadata)?))?)
}

/// `claim_matching` claims the oldest tasks that meet every condition, and no other.
pub fn a_filter_selects_by_role_and_metadata<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    repo.save_task(&NewTask::new("plain".parse()?, "T"))?;
    for (id, role, metadata) in [
        ("cpu", "coder", r#"{"pool":"cpu"}"#),
        ("writer", "writer", r#"{"pool":"gpu","zone":"a"}"#),
        ("far", "coder", r#"{"pool":"gpu","zone":"b"}"#),
        ("near", "coder", r#"{"zone":"a","pool":"gpu"}"#),
        ("case", "Coder", r#"{"zone":"A","pool":"GPU"}"#),
    ] {
        save(&repo, id, role, metadata)?;
    }
    let claim = |filter: &ClaimFilter, limit| -> anyhow::Result<Vec<String>> {
        let claims = repo.claim_matching(&worker("w"), filter, limit, LONG)?;
        for claim in &claims {
            assert_eq!(claim.task, repo.get_task(&claim.task.id)?);
            repo.update_task_status(&claim.task.id, TaskStatus::Pending)?;
        }
        Ok(ids(&claims).into_iter().map(str::to_owned).collect())
    };
    let (all, gpu) = (
        ClaimFilter::new(),
        ClaimFilter::new().metadata("pool", "gpu"),
    );
    let everything = ["plain", "cpu", "writer", "far", "near", "case"];
    assert_eq!(claim(&all, 9)?, everything);
    assert_eq!(claim(&gpu, 9)?, ["writer", "far", "near"]);
    assert_eq!(claim(&gpu, 2)?, ["writer", "far"], "the limit counts later");
    let coder = gpu.agent_role("coder");
    assert_eq!(claim(&coder, 9)?, ["far", "near"]);
    assert_eq!(claim(&coder.clone().metadata("zone", "a"), 9)?, ["near"]);
    assert!(claim(&coder.metadata("pool", "cpu"), 9)?.is_empty());
    assert!(claim(&all.agent_role(""), 9)?.is_empty());
    Ok(())
}

/// A key is compared as a text, whatever it means in SQL or in a path of JSON. Only a JSON string can match.
pub fn a_filter_reads_strings_at_the_top<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let keys = [
        "",
        "$",
        "$.a",
        "a.b",
        "[0]",
        "a\"b",
        "a'b",
        "') OR ('' = '",
        "%",
        "?1",
        "$1",
        "é",
        "\n",
    ];
    for (number, key) in keys.iter().enumerate() {
        let metadata = Metadata::from_serialize(&std::collections::BTreeMap::from([(key, key)]))?;
        save(&repo, &format!("k{number:02}"), "r", metadata.as_str())?;
    }
    for (id, metadata) in [
        ("string", r#"{"n":"2"}"#),
        ("escaped", r#"{"\u006e":"\u0032"}"#),
        ("number", r#"{"n":2}"#),
        ("null", r#"{"n":null}"#),
        ("true", r#"{"n":true}"#),
        ("array", r#"{"n":["2"]}"#),
        ("nested", r#"{"o":{"n":"2","true":"true"}}"#),
    ] {
        save(&repo, id, "r", metadata)?;
    }
    let claim = |key: &str, value: &str| -> anyhow::Result<Vec<String>> {
        let filter = ClaimFilter::new().metadata(key, value);
        let claims = repo.claim_matching(&worker("w"), &filter, 99, LONG)?;
        for claim in &claims {
            claimed(&repo, claim).release()?;
        }
        Ok(ids(&claims).into_iter().map(str::to_owned).collect())
    };
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(claim(key, key)?, [format!("k{number:02}")], "{key}");
        assert!(claim(key, "x")?.is_empty(), "{key}");
    }
    assert_eq!(claim("n", "2")?, ["string", "escaped"]);
    for (key, value) in [
        ("n", "true"),
        ("n", "null"),
        ("n", ""),
        ("n", r#"["2"]"#),
        ("n\0", "2"),
        ("n", "2\0"),
        ("N", "2"),
    ] {
        assert!(claim(key, value)?.is_empty(), "{key:?} {value:?}");
    }
    Ok(())
}

/// A filter changes nothing of the order, of files as locks, of `not_before`, and of expired leases.
pub fn a_filter_keeps_the_other_rules<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let coder = |id: &str| -> anyhow::Result<NewTask> {
        Ok(NewTask::new(id.parse()?, "T").agent_role("coder"))
    };
    let filter = ClaimFilter::new().agent_role("coder");
    let writer = NewTask::new("writer".parse()?, "T").agent_role("writer");
    repo.save_task(&writer.writes_files(["f"]))?;
    let later = "9000-01-01T00:00:00Z".parse()?;
    repo.save_task(&coder("later")?.not_before(later))?;
    repo.save_task(&coder("waits")?.depends_on(["later".parse()?]))?;
    repo.save_task(&coder("first")?.writes_files(["f"]))?;
    repo.save_task(&coder("second")?.writes_files(["f"]))?;
    let claim = |name: &str, lease| repo.claim_matching(&worker(name), &filter, 9, lease);

    let first = claim("w", SHORT)?;
    assert_eq!(ids(&first), ["first"], "the writer holds no file");
    // A lease that ends within a call frees its file for the next task.
    until(|| Ok(claimed(&repo, &first[0]).lost()?.then_some(())))?;
    let again = claim("x", LONG)?.remove(0);
    assert_eq!((again.task.id.as_str(), again.fence.get()), ("first", 2));
    assert!(claim("w", LONG)?.is_empty());

    claimed(&repo, &again).update_task_status(TaskStatus::Completed)?;
    let _ = repo.claim_ready(&worker("w"), 1, SHORT)?;
    assert_eq!(ids(&until(|| some(claim("x", LONG)?))?), ["second"]);
    assert_eq!(repo.get_task(&"writer".parse()?)?.fence, 1);
    Ok(())
}

fn some<T>(claims: Vec<T>) -> anyhow::Result<Option<Vec<T>>> {
    Ok((!claims.is_empty()).then_some(claims))
}

/// An error names the method, and `Debug` shows no metadata.
pub fn a_refused_filter_changes_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    save(&repo, "t", "r", r#"{"k":"secret"}"#)?;
    let filter = ClaimFilter::new().metadata("k", "secret");
    assert!(!format!("{filter:?}").contains("secret"));
    let refused = repo
        .claim_matching(&worker("w"), &filter, 1, Duration::ZERO)
        .unwrap_err();
    assert_eq!(refused.operation(), "claim_matching");
    assert!(matches!(
        refused.kind(),
        ErrorKind::InvalidInput { field: "lease", .. }
    ));
    assert_eq!(repo.get_task(&"t".parse()?)?.status, TaskStatus::Pending);
    assert!(
        repo.claim_matching(&worker("w"), &filter, 0, LONG)?
            .is_empty()
    );
    Ok(())
}
