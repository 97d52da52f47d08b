use std::process::ExitCode;

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};
use turnkeep_admin::CheckReport;
use turnkeep_agents::{HomeCheck, check_homes};
use turnkeep_model::visible_path;
use turnkeep_repo::{Check, RepoBuilder};

use crate::environment::agent_homes;
use crate::failure::{is_closed_output, warn};
use crate::output::Output;
use crate::store::Store;

#[derive(Serialize)]
struct CheckRecord<'a> {
    check: &'a str,
    ok: bool,
    result: &'a str,
    findings: Vec<FindingRecord<'a>>,
    /// Only of the home of an agent.
    home: (),
}

#[derive(Serialize)]
struct FindingRecord<'a> {
    what: &'a str,
    advice: &'a str,
}

pub(crate) fn run(store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let builder = store.builder()?;
    let report = turnkeep_admin::check_unopened(builder.clone())?;
    let homes = match report.is_ok() {
        true => homes(builder),
        false => Vec::new(),
    };
    if out.is_json() {
        for check in &report.checks {
            out.json(&CheckRecord::from(check))?;
        }
        for home in &homes {
            out.json(&home_record(home))?;
        }
    } else {
        match print(&report, &homes, out) {
            // The exit code says whether the store is sound, also to `check | head`.
            Err(error) if is_closed_output(&error) => {}
            printed => printed?,
        }
    }
    Ok(if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Compares the homes of the agents with a sound store. A session that is not kept is no damage, so the result is the same.
fn homes(builder: RepoBuilder) -> Vec<HomeCheck> {
    let compare = || -> anyhow::Result<_> {
        let repo = builder.read_only().open()?;
        Ok(check_homes(&repo, &agent_homes()?, SystemTime::now())?)
    };
    compare().unwrap_or_else(|error| {
        warn(format_args!(
            "the homes of the agents were not compared: {error:#}"
        ));
        Vec::new()
    })
}

fn home_record(home: &HomeCheck) -> Value {
    json!({
        "check": home.backend_type.as_str(),
        "ok": true,
        "result": in_words(home),
        "findings": [],
        "home": {
            "path": home.home.to_string_lossy(),
            "sessions": home.sessions,
            "not_kept": home.not_kept,
            "words_only": home.words_only,
            "grown": home.grown,
            "expiring": home.expiring,
            "expiring_unkept": home.expiring_unkept,
        },
    })
}

fn is_kept(home: &HomeCheck) -> bool {
    home.not_kept + home.words_only + home.grown + home.expiring_unkept == 0
}

fn in_words(home: &HomeCheck) -> String {
    let parts = [
        (home.not_kept, "not kept"),
        (home.words_only, "only words kept"),
        (home.grown, "with files that are new or have grown"),
        (home.expiring, "to be deleted by the agent within 7 days"),
        (home.expiring_unkept, "of these not kept whole"),
    ];
    let mut text = format!("sessions: {}", home.sessions);
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {what}: {count}");
    }
    text
}

impl<'a> From<&'a Check> for CheckRecord<'a> {
    fn from(check: &'a Check) -> Self {
        let findings = check.findings.iter();
        Self {
            check: check.name,
            ok: check.findings.is_empty(),
            result: &check.result,
            findings: findings
                .map(|finding| FindingRecord {
                    what: &finding.what,
                    advice: finding.advice,
                })
                .collect(),
            home: (),
        }
    }
}

fn print(report: &CheckReport, homes: &[HomeCheck], out: &mut Output) -> anyhow::Result<()> {
    let home_rows = homes.iter().map(|home| {
        let is_ok = if is_kept(home) { "ok" } else { "note" };
        [
            home.backend_type.to_string(),
            is_ok.to_owned(),
            in_words(home),
        ]
    });
    let rows = report.checks.iter().map(|check| {
        let is_ok = if check.findings.is_empty() {
            "ok"
        } else {
            "WRONG"
        };
        [
            check.name.to_owned(),
            is_ok.to_owned(),
            check.result.clone(),
        ]
    });
    out.table(["CHECK", "", "FOUND"], rows.chain(home_rows))?;
    for check in &report.checks {
        for finding in &check.findings {
            out.line("")?;
            out.line(&format!("{}: {}", check.name, finding.what))?;
            out.line(&format!("  what to do: {}", finding.advice))?;
        }
    }
    for home in homes.iter().filter(|home| !is_kept(home)) {
        out.line("")?;
        out.line(&format!("{}: not everything is kept", home.backend_type))?;
        let path = visible_path(&home.home);
        out.line(&format!("  what to do: turnkeep import {path}"))?;
    }
    if report.is_ok() {
        out.line("all is well")?;
    }
    Ok(())
}
