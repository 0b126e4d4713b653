//! The command line.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ask::{self, Asked};
use crate::attached::Which;
use crate::evaluate::{Scene, evaluate};
use crate::fetched::Fetched;
use crate::find::File;
use crate::import::wrap::{self, Form};
use crate::import::{self, Kind};
use crate::report;
use crate::say::say;
use crate::time;

const USAGE: &str = "\
portcullis-check [OPTIONS] FILE... [-- METHOD PATH -H 'NAME: VALUE'...]

Checks Envoy configurations, WasmPlugins, TrafficExtensions, EnvoyExtensionPolicies and configurations of single plugins, without
Envoy. A folder stands for its .yaml, .yml and .json files, and - for standard input. With a request, it says what that would get, plugin after plugin. The
status is 0 without errors, 1 with errors or if what is imported does not load, 2 if nothing was checked.

  --request LINE         the request as one line: GET /orders/1 -H 'authorization: Bearer ...'
  --time TIME            when it comes: seconds since 1970, or 2026-01-31T12:00:00Z; default now
  --client-ip ADDRESS    from where, as Envoy would trust it; default 127.0.0.1
  --keys ISSUER=FILE     the keys of an issuer, where they would be fetched
  --fetched URL=FILE     any document that would be fetched: keys, metadata, a deny list
  --import               write the file's jwt_authn, local_ratelimit or RequestAuthentication as configurations of ours, and say on
                         stderr what could not be carried over
  --as FORM              what --import writes: config (alone, the default), http_filters or wasmplugin
  --filter NAME          the filter of a configuration that stands alone; else its fields tell
";

/// Runs the program with these arguments.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match parse(arguments).and_then(|options| options.map_or_else(|| Ok(help()), |options| run(&options))) {
        Ok(code) => code,
        Err(problem) => {
            show(&mut io::stderr(), &format!("portcullis-check: {problem}\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn help() -> ExitCode {
    show(&mut io::stdout(), USAGE);
    ExitCode::SUCCESS
}

/// Writes it. Whoever reads it may stop before its end, as `head` does; that is no failure.
fn show(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

#[derive(Default)]
struct Options {
    names: Vec<String>,
    bare: Option<Which>,
    import: bool,
    form: Form,
    request: Option<Asked>,
    time: Option<u64>,
    client_ip: Option<String>,
    fetched: Fetched,
}

/// `None` asks for help.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument}: nothing follows"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--" => {
                let words: Vec<String> = arguments.by_ref().collect();
                options.request = Some(ask::request(&words)?);
            }
            "--import" => options.import = true,
            "--as" => {
                let name = value()?;
                let forms = "config, http_filters or wasmplugin";
                options.form = Form::named(&name).ok_or_else(|| format!("--as {name}: write {forms}"))?;
            }
            "--request" => options.request = Some(ask::request(&ask::words(&value()?)?)?),
            "--time" => {
                let text = value()?;
                let time = time::seconds(&text);
                options.time = Some(
                    time.ok_or_else(|| format!("--time {text}: write 2026-01-31T12:00:00Z or seconds"))?,
                );
            }
            "--client-ip" => {
                let text = value()?;
                if text.parse::<std::net::IpAddr>().is_err() {
                    return Err(format!("--client-ip {text}: write an address"));
                }
                options.client_ip = Some(text);
            }
            "--keys" => options.fetched.keys.push(document(&value()?)?),
            "--fetched" => options.fetched.documents.push(document(&value()?)?),
            "--filter" => {
                let name = value()?;
                let names = Which::ALL.map(Which::module).join(", ");
                let which = Which::ALL.into_iter().find(|which| which.module() == name);
                options.bare = Some(which.ok_or_else(|| format!("--filter {name}: write one of {names}"))?);
            }
            option if option.starts_with("--") => return Err(format!("there is no option {option}")),
            _ => options.names.push(argument),
        }
    }
    if options.names.is_empty() {
        let write = if options.import { "make import FROM=FILE" } else { "make check CONFIG=FILE" };
        return Err(format!("no file; write {write}, or name one here"));
    }
    Ok(Some(options))
}

/// `NAME=FILE`, where the name may have `=` itself.
fn document(text: &str) -> Result<(String, Vec<u8>), String> {
    let (name, file) = text.rsplit_once('=').ok_or_else(|| format!("{text}: write NAME=FILE"))?;
    let content = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    Ok((name.to_owned(), content))
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let mut files = Vec::new();
    for name in &options.names {
        let stdin = || {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        };
        match report::read(name, stdin) {
            Ok(read) => files.extend(read),
            Err(problem) => {
                show(&mut io::stderr(), &format!("{problem}\n"));
                return Ok(ExitCode::from(2));
            }
        }
    }
    if options.import {
        return import(&files, options.form);
    }
    let report = report::check(&files, options.bare);
    let mut out = String::new();
    for finding in &report.findings {
        let _ = writeln!(out, "{finding}");
    }
    let _ = writeln!(out, "{}", report.summary());
    if let Some(asked) = &options.request {
        let scene = Scene {
            time: options.time.unwrap_or_else(now),
            client_ip: options.client_ip.clone().unwrap_or_else(|| "127.0.0.1".into()),
            fetched: options.fetched.clone(),
        };
        for (chain, loaded) in &report.chains {
            let _ = writeln!(out, "\n{} {}, through {}:", asked.method, asked.target, chain.name);
            match evaluate(chain, loaded, asked, &scene) {
                Ok(evaluation) => out.push_str(&say(&evaluation)),
                Err(problem) => {
                    let _ = writeln!(out, "{problem}");
                }
            }
        }
    }
    show(&mut io::stdout(), &out);
    if report.is_about_nothing() {
        return Ok(ExitCode::from(2));
    }
    Ok(if report.is_refused() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes our configurations for those of others. What is left behind is no failure: it is said. What does not load is one.
fn import(files: &[File], form: Form) -> Result<ExitCode, String> {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let (found, lefts) = import::import(file)?;
        let mut said = String::new();
        if lefts.iter().any(|left| left.kind == Kind::Broken) {
            code = ExitCode::FAILURE;
        }
        for left in lefts {
            let _ = writeln!(
                said,
                "{}:{}: {}: {}: {}",
                file.name,
                left.line,
                left.kind.word(),
                left.field,
                left.why
            );
        }
        show(&mut io::stderr(), &said);
        show(&mut io::stdout(), &wrap::text(&found, &file.name, form));
    }
    Ok(code)
}

#[allow(clippy::disallowed_methods, reason = "the program's edge: from here on, time is an argument")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}
