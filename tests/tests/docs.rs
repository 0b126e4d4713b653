//! What the READMEs say is what the code says: fields, reasons, causes, facts, headers, metrics; and links lead somewhere.
//! `docs_run.rs` runs what they show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis_common::facts::Outcome;
use portcullis_common::host::MetricKind;
use portcullis_common::metrics::{Family, Label};
use portcullis_common::reason::Reason;
use portcullis_tests::markdown::{self, Page, codes};
use portcullis_tests::wasm::{Vm, Went, World};
use portcullis_tests::{examples, paths, schema};
use serde_json::{Value, json};

/// Each filter, and the metrics that it has.
fn filters() -> [(&'static str, &'static [&'static Family]); 4] {
    [
        ("jwt-auth", &portcullis_jwt_auth::counters::FAMILIES),
        ("metrics", &portcullis_metrics::counters::FAMILIES),
        ("rate-limit", &portcullis_rate_limit::counters::FAMILIES),
        ("rebac", &portcullis_rebac::counters::FAMILIES),
    ]
}

fn readme(filter: &str) -> Page {
    Page::read(format!("filters/{filter}/README.md"))
}

/// The first word in backticks of each row.
fn names(page: &Page, section: &str) -> BTreeSet<String> {
    let rows = page.rows(section);
    let names: Vec<String> =
        rows.iter().filter_map(|row| Some(codes(row.first()?).next()?.to_owned())).collect();
    let set: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), set.len(), "{}: {section}: a row stands twice: {names:?}", page.path.display());
    set
}

fn same(what: &str, code: &BTreeSet<String>, page: &BTreeSet<String>) {
    let undocumented: Vec<_> = code.difference(page).collect();
    let unknown: Vec<_> = page.difference(code).collect();
    assert!(undocumented.is_empty(), "{what}: no row for {undocumented:?}");
    assert!(unknown.is_empty(), "{what}: rows for what is not there: {unknown:?}");
}

/// The code of a filter without tests and comments.
fn source(filter: &str) -> String {
    fn collect(folder: &Path, out: &mut String) {
        for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.file_name().is_some_and(|n| n != "tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
                let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
                lines.for_each(|line| {
                    out.push_str(line);
                    out.push('\n');
                });
            }
        }
    }
    let mut out = String::new();
    collect(&paths::root().join(format!("filters/{filter}/src")), &mut out);
    out
}

#[test]
fn every_field_of_a_schema_has_a_row_and_no_row_another() {
    for (filter, _) in filters() {
        let dotted = |field: &schema::Field| field.path.join(".").replace(".[]", "[]");
        let fields = schema::fields(&schema::of(filter)).iter().map(dotted).collect();
        same(&format!("{filter}: Fields"), &fields, &names(&readme(filter), "Fields"));
        for row in readme(filter).rows("Fields") {
            let [_, kind, default, meaning] = row.as_slice() else {
                panic!("{filter}: not field, type, default, meaning: {row:?}")
            };
            assert!(!kind.is_empty() && !meaning.is_empty(), "{filter}: {row:?}");
            let name = codes(row[0]).next().unwrap();
            let fields = schema::fields(&schema::of(filter));
            let field = fields.iter().find(|f| dotted(f) == name).unwrap();
            assert_eq!(field.required, default.starts_with("required"), "{filter}: {name}: is it required?");
            let description = field.schema["description"].as_str().unwrap_or_default();
            for (word, place) in
                [("Default `", default), ("at most `", kind), ("from `", kind), ("to `", kind)]
            {
                for value in description.split(word).skip(1).filter_map(|rest| Some(rest.split_once('`')?.0))
                {
                    // `iat` is no bound.
                    let bound = word.starts_with('D') || value.starts_with(|c: char| c.is_ascii_digit());
                    assert!(
                        !bound || place.contains(value),
                        "{filter}: {name}: {word}{value}` is not in its row"
                    );
                }
            }
        }
    }
}

#[test]
fn every_reason_has_its_row_where_it_is_given_with_its_status_codes() {
    let mut documented = BTreeSet::new();
    for (filter, _) in filters() {
        let (page, code) = (readme(filter), source(filter));
        // What `strict::path` refuses is given by whoever calls it.
        let of_paths = code.contains("strict::path(");
        let ambiguous =
            [Reason::AmbiguousHost, Reason::AmbiguousMethod, Reason::AmbiguousHeader, Reason::AmbiguousPath];
        let given = |reason: Reason| {
            let name = format!("Reason::{reason:?}");
            (of_paths && ambiguous.contains(&reason))
                || code
                    .match_indices(&name)
                    .any(|(at, _)| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric()))
        };
        let exports =
            fs::read_to_string(paths::root().join(format!("filters/{filter}/abi/exports"))).unwrap();
        let refuses = exports.contains("proxy_on_request_headers");
        let of_values = code.contains("failure.reason()") || code.contains("Failure::reason");
        let rows = names(&page, "Answers");
        for reason in Reason::ALL {
            let by_shell = refuses && matches!(reason, Reason::ConfigInvalid | Reason::HostError);
            let by_value = of_values && matches!(reason, Reason::ValueMissing | Reason::ValueInvalid);
            let has_row = rows.contains(reason.word());
            assert!(has_row || !(given(reason) || by_shell), "{filter}: no row for {}", reason.word());
            assert!(
                !has_row || given(reason) || by_shell || by_value,
                "{filter}: never gives {}",
                reason.word()
            );
        }
        for row in page.rows("Answers") {
            let word = codes(row[0]).next().unwrap();
            let reason = Reason::from_word(word).unwrap_or_else(|| panic!("{filter}: {word} is no reason"));
            let spec = reason.spec();
            assert_eq!(
                (row[1], row[2]),
                (&*spec.status.to_string(), &*spec.grpc.to_string()),
                "{filter}: {word}"
            );
            documented.insert(word.to_owned());
        }
    }
    same("reasons", &Reason::ALL.iter().map(|r| r.word().to_owned()).collect(), &documented);
}

#[test]
fn every_cause_has_a_row() {
    for (filter, families) in filters() {
        let code = source(filter);
        let mut words = BTreeSet::new();
        // Where there are few causes, the metric's own sentence has them.
        let few = |f: &&&Family| f.labels.contains(&Label::Cause) && f.help.contains('`');
        for family in families.iter().filter(few) {
            let row = readme(filter)
                .rows("Metrics")
                .into_iter()
                .find(|row| row[0].contains(family.name))
                .map(|row| row[3].to_owned());
            assert_eq!(row.as_deref(), Some(family.help), "{filter}: {}", family.name);
        }
        if families.iter().any(|f| f.labels.contains(&Label::Cause) && !f.help.contains('`')) {
            for body in code.split("pub const fn word(self) -> &'static str {").skip(1) {
                let body = body.split("\n    }\n").next().unwrap_or_default();
                words.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
            }
            assert!(words.len() > 10, "{filter}: its words were not found: {words:?}");
        }
        same(&format!("{filter}: Causes"), &words, &names(&readme(filter), "Causes"));
        for row in readme(filter).rows("Causes") {
            assert!(Reason::from_word(codes(row[1]).next().unwrap()).is_some(), "{filter}: {row:?}");
        }
    }
}

#[test]
fn every_reason_that_metrics_derives_has_a_row() {
    let code = source("metrics");
    let words: BTreeSet<String> =
        code.split("word: \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    assert!(words.len() > 10, "its words were not found: {words:?}");
    let page = readme("metrics");
    let rows = page.rows("Reasons");
    let documented: BTreeSet<String> = rows.iter().flat_map(|row| codes(row[0])).map(str::to_owned).collect();
    let missing: Vec<_> = words.difference(&documented).collect();
    assert!(missing.is_empty(), "metrics: Reasons: no row for {missing:?}");
}

#[test]
fn every_metric_has_a_row_with_its_kind_and_labels() {
    for (filter, families) in filters() {
        let page = readme(filter);
        let known = families.iter().map(|f| f.name.to_owned()).collect();
        same(&format!("{filter}: Metrics"), &known, &names(&page, "Metrics"));
        for row in page.rows("Metrics") {
            let name = codes(row[0]).next().unwrap();
            let family = families.iter().find(|f| f.name == name).unwrap();
            let kind = match family.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let labels = |l: BTreeSet<&str>| l.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(row[1], kind, "{filter}: {name}");
            same(
                &format!("{filter}: labels of {name}"),
                &labels(family.labels.iter().map(|l| l.name()).collect()),
                &labels(codes(row[2]).collect()),
            );
        }
    }
}

/// The headers of each protocol's answers, and those that are put onto a response.
fn sent(filter: &str, config: &Value) -> BTreeSet<String> {
    let vm = Vm::new(&World::default(), filter);
    let plugin = vm.configure(config.to_string()).unwrap();
    let mut names = BTreeSet::new();
    for kind in ["text/plain", "application/grpc", "application/grpc-web"] {
        for path in ["/", "/a;b"] {
            let (stream, went) = plugin.request("POST", path, &[("content-type", kind), ("x-key", kind)]);
            let headers = if let Went::Answered(reply) = went { reply.headers } else { stream.respond(&[]) };
            names.extend(headers.into_iter().map(|(name, _)| name));
        }
    }
    names
}

#[test]
fn every_header_that_a_client_may_get_has_a_row() {
    for (filter, _) in filters() {
        let page = readme(filter);
        let config = examples::read(&paths::root().join(format!("tests/tests/full/{filter}.yaml")));
        let mut headers = if filter == "rate-limit" { BTreeSet::new() } else { sent(filter, &config) };
        if filter == "rate-limit" {
            for dialect in ["draft", "x-ratelimit", "none"] {
                let limit = json!({"name": "l", "key": ["{header.x-key}"], "rate": "1/hour"});
                headers.extend(sent(filter, &json!({"headers": dialect, "limits": [limit]})));
            }
        }
        // Those of answers that are hard to cause, such as an unavailable store.
        let code = source(filter);
        headers.extend(
            code.split(".header(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
        );
        if code.contains("explain::HEADER") {
            headers.insert(portcullis_common::explain::HEADER.to_owned());
        }
        let rows = page.rows("Headers");
        let sent = |row: &&Vec<&str>| !row[1].starts_with("to the upstream");
        let documented =
            rows.iter().filter(sent).filter_map(|row| Some(codes(row[0]).next()?.to_owned())).collect();
        same(&format!("{filter}: Headers"), &headers, &documented);
    }
}

#[test]
fn every_attack_has_a_row_and_every_row_a_test() {
    let code = fs::read_to_string(paths::root().join("tests/tests/attacks.rs")).unwrap();
    let tests: BTreeSet<String> = code
        .split("#[tokio::test]\nasync fn ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('(')?.0.to_owned()))
        .collect();
    let page = readme("jwt-auth");
    let rows = page.rows("Attacks");
    let named = rows.iter().filter_map(|row| Some(codes(row[2]).next()?.to_owned())).collect();
    same("jwt-auth: Attacks", &tests, &named);
}

#[test]
fn every_fact_has_a_row() {
    for (filter, _) in filters() {
        let code = source(filter);
        let mut facts: BTreeSet<String> = code
            .split("facts::key(&name, \"")
            .skip(1)
            .filter_map(|rest| Some(format!("portcullis.<name>.{}", rest.split_once('"')?.0)))
            .collect();
        let exports =
            fs::read_to_string(paths::root().join(format!("filters/{filter}/abi/exports"))).unwrap();
        if exports.contains("proxy_on_request_headers") {
            facts.insert("portcullis.<name>.verdict".into());
        }
        let rows = names(&readme(filter), "Facts");
        let missing: Vec<_> = facts.difference(&rows).collect();
        assert!(missing.is_empty(), "{filter}: Facts: no row for {missing:?}");
    }
}

#[test]
fn every_filter_is_in_the_first_table_and_every_source_in_its_own() {
    let first = Page::read("README.md");
    for (filter, _) in filters() {
        assert!(first.links().contains(&&*format!("filters/{filter}/README.md")), "README.md: {filter}");
    }
    let page = Page::read("filters/common/README.md");
    for source in names(&page, "Values of a request") {
        let parsed = portcullis_common::values::source::Source::parse(&source);
        assert!(parsed.is_ok(), "{source} is no source");
    }
    let folders: BTreeSet<String> = fs::read_dir(paths::root().join("filters"))
        .unwrap()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.join("abi/exports").exists())
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    same("filters", &folders, &filters().iter().map(|(f, _)| (*f).to_owned()).collect());
}

#[test]
fn every_outcome_and_the_examples_access_log_are_in_the_first_page() {
    let page = Page::read("README.md");
    for outcome in Outcome::ALL {
        let word = format!("`{}`", outcome.word());
        assert!(page.text().contains(&word), "README.md: no {word}");
    }
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let manager =
        &example["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let format =
        &manager["access_log"][0]["typed_config"]["log_format"]["text_format_source"]["inline_string"];
    let shown = |b: &markdown::Block| Some(&*b.text) == format.as_str();
    assert!(page.blocks().iter().any(shown), "README.md: the access log of envoy/envoy.yaml is {format}");
}

#[test]
fn what_a_request_costs_is_what_the_budgets_say() {
    let budgets = fs::read_to_string(paths::root().join("tests/tests/budgets.rs")).unwrap();
    for (filter, _) in filters() {
        let page = readme(filter);
        let (_, cost) = page.text().split_once("\n## Cost\n").unwrap();
        let numbers = cost
            .split([' ', '\n'])
            .filter(|w| w.contains(',') && w.starts_with(|c: char| c.is_ascii_digit()));
        let numbers: Vec<String> =
            numbers.map(|w| w.trim_matches(['.', ',', ';']).replace(',', "_")).collect();
        assert!(!numbers.is_empty(), "{filter}: Cost: no numbers of instructions");
        for number in numbers {
            assert!(
                budgets.contains(&number),
                "{filter}: Cost: {number} is no budget of tests/tests/budgets.rs"
            );
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut looked_at = 0;
    for page in markdown::pages() {
        let folder = page.path.parent().unwrap().to_path_buf();
        for link in page.links().into_iter().filter(|l| !l.contains("://")) {
            looked_at += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
            let at = paths::root().join(&target);
            assert!(at.exists(), "{}: {link} leads nowhere", page.path.display());
            if !anchor.is_empty() {
                let there = Page::read(at);
                let found = there.headings().any(|h| markdown::anchor(h) == anchor);
                assert!(found, "{}: {link}: no such heading", page.path.display());
            }
        }
    }
    assert!(looked_at > 10, "links were not found");
}
