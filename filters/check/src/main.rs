//! `portcullis-check`: checks configurations, and says what a request would get.

use std::process::ExitCode;

use portcullis_check::attached::Which;
use portcullis_check::report::{self, Report};

const USAGE: &str = "\
portcullis-check [OPTIONS] FILE...

Checks Envoy configurations, WasmPlugins, TrafficExtensions, EnvoyExtensionPolicies and configurations of single plugins, without
Envoy. A folder stands for its .yaml, .yml and .json files. The status is 0 without errors, 1 with errors, 2 if nothing was checked.

  --filter NAME          the filter of a configuration that stands alone; else its fields tell
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("portcullis-check: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    let (mut names, mut bare) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            "--filter" => {
                let name = arguments.next().unwrap_or_default();
                let names = Which::ALL.map(Which::module).join(", ");
                let which = Which::ALL.into_iter().find(|which| which.module() == name);
                bare = Some(which.ok_or_else(|| format!("--filter {name}: write one of {names}"))?);
            }
            option if option.starts_with("--") => return Err(format!("there is no option {option}")),
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        return Err("no file; write CONFIG=FILE behind make check, or name one here".into());
    }
    let mut files = Vec::new();
    for name in names {
        files.extend(report::read(&name)?);
    }
    let report = report::check(&files, bare);
    print(&report);
    Ok(if report.is_refused() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report) {
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{}", report.summary());
}
