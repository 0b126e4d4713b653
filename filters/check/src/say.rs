//! An evaluation, for people.

use std::fmt::Write;

use crate::evaluate::{End, Evaluation, Pairs};

/// The evaluation as text.
#[must_use]
pub fn say(evaluation: &Evaluation) -> String {
    let mut out = String::new();
    let width = evaluation.passages.iter().map(|p| p.plugin.len()).max().unwrap_or_default();
    for passage in &evaluation.passages {
        let mut line = format!("{:width$}", passage.plugin);
        if let Some(verdict) = &passage.verdict {
            let reason = verdict.reason.map(|r| format!(" {}", r.word())).unwrap_or_default();
            let _ = write!(line, "  {}{reason}, by {}", verdict.outcome.word(), verdict.rule);
        }
        let _ = writeln!(out, "{}", line.trim_end());
        for note in &passage.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    match &evaluation.end {
        End::Upstream { request, response } => {
            out.push_str("to the upstream:\n");
            headers(&mut out, request);
            if !response.is_empty() {
                out.push_str("added to its answer:\n");
                headers(&mut out, response);
            }
        }
        End::Answer { status, headers: pairs, body, reason } => {
            let _ = writeln!(out, "answer: {status} {reason}");
            headers(&mut out, pairs);
            if !body.is_empty() {
                let _ = writeln!(out, "  {}", body.trim_end());
            }
        }
        End::Open => out.push_str("not decided here\n"),
    }
    out
}

fn headers(out: &mut String, pairs: &Pairs) {
    for (name, value) in pairs {
        let _ = writeln!(out, "  {name}: {value}");
    }
}
