use std::process::ExitCode;

use serde::Serialize;
use turnkeep_admin::CheckReport;
use turnkeep_repo::Check;

use crate::output::Output;
use crate::store::Store;

#[derive(Serialize)]
struct CheckRecord<'a> {
    check: &'a str,
    ok: bool,
    result: &'a str,
    findings: Vec<FindingRecord<'a>>,
}

#[derive(Serialize)]
struct FindingRecord<'a> {
    what: &'a str,
    advice: &'a str,
}

pub(crate) fn run(store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let report = turnkeep_admin::check_unopened(store.builder()?)?;
    if out.is_json() {
        for check in &report.checks {
            out.json(&CheckRecord::from(check))?;
        }
    } else {
        print(&report, out)?;
    }
    Ok(if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
        }
    }
}

fn print(report: &CheckReport, out: &mut Output) -> anyhow::Result<()> {
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
    out.table(["CHECK", "", "FOUND"], rows)?;
    for check in &report.checks {
        for finding in &check.findings {
            out.line("")?;
            out.line(&format!("{}: {}", check.name, finding.what))?;
            out.line(&format!("  what to do: {}", finding.advice))?;
        }
    }
    if report.is_ok() {
        out.line("all is well")?;
    }
    Ok(())
}
