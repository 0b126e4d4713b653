//! What `envoy/guides/operate.md` and `security.md` promise: that the tests which they name are there, that every sentence and every row of
//! the one has its test, that every alarm has its section, and that its numbers are those of the rules. `operate_runs.rs` has the
//! tests of what no other shows.

#[path = "operate/sentences.rs"]
mod sentences;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis_common::metrics::Family;
use portcullis_tests::markdown::{Page, codes};
use portcullis_tests::{examples, paths};
use sentences::SENTENCES;

/// The names of all tests of the repository.
fn tests() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut marked = path.parent().is_some_and(|p| p.ends_with("istio/cases"));
                let case = marked;
                for line in text.lines().map(str::trim) {
                    if line.contains("fn ") && marked {
                        let name = line
                            .split("fn ")
                            .nth(1)
                            .unwrap_or_default()
                            .split('(')
                            .next()
                            .unwrap_or_default();
                        found.insert(name.to_owned());
                        marked = case;
                    }
                    marked |= line == "#[test]" || line.starts_with("#[tokio::test");
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    for folder in ["tests/tests", "tests/istio/cases", "filters"] {
        collect(&paths::root().join(folder), &mut found);
    }
    assert!(found.len() > 300, "the tests were not found: {}", found.len());
    found
}

fn is_test_name(code: &str) -> bool {
    code.matches('_').count() >= 2
        && !code.starts_with("portcullis_")
        && !code.starts_with("envoy_")
        && code.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}

#[test]
fn every_test_that_a_guide_names_is_there() {
    let known = tests();
    for guide in ["envoy/guides/operate.md", "envoy/guides/security.md"] {
        let page = Page::read(guide);
        let mut named: BTreeSet<&str> = codes(page.text()).filter(|code| is_test_name(code)).collect();
        if guide.ends_with("operate.md") {
            named.extend(SENTENCES.iter().flat_map(|(_, tests)| *tests));
        }
        assert!(named.len() > 20, "{guide}: {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{guide}: no test is called {unknown:?}");
    }
}

#[test]
fn every_row_about_behaviour_names_its_test() {
    let operate = ["Upgrades and rollback", "Sizing", "Alarms", "When things break"];
    let rows = operate.iter().map(|section| ("envoy/guides/operate.md", *section));
    for (guide, section) in rows.chain([("envoy/guides/security.md", "What happens to attacks")]) {
        let page = Page::read(guide);
        let rows = page.rows(section);
        assert!(rows.len() >= 5, "{guide}: {section}");
        for row in rows {
            let cell = row.last().unwrap();
            assert!(codes(cell).any(is_test_name), "{guide}: {section}: no test in {row:?}");
        }
    }
}

#[test]
fn every_alarm_has_a_section_and_every_section_an_alarm() {
    let rules = examples::read(&paths::root().join("envoy/observability/rules.yaml"));
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alarms: BTreeSet<&str> = rules.filter_map(|rule| rule["alert"].as_str()).collect();
    let page = Page::read("envoy/guides/operate.md");
    let sections: BTreeSet<&str> = page.headings().filter(|h| h.starts_with("Portcullis")).collect();
    assert!(!alarms.is_empty());
    assert_eq!(alarms, sections);
}

/// What stands outside of tables, headings and blocks, sentence by sentence, on one line each.
fn sentences(page: &Page) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut fenced = false;
    for line in page.text().lines() {
        fenced ^= line.starts_with("```");
        let item = line.starts_with(|c: char| c.is_ascii_digit()) || line.starts_with("- ");
        if fenced || item || line.is_empty() || line.starts_with(['#', '|', '`']) {
            paragraphs.push(String::new());
        }
        if !(fenced || line.starts_with(['#', '|']) || line.starts_with("```"))
            && let Some(last) = paragraphs.last_mut()
        {
            let line = line.trim().trim_start_matches(|c: char| c.is_ascii_digit());
            last.push_str(line.trim_start_matches(". ").trim_start_matches("- "));
            last.push(' ');
        }
    }
    let ends = |paragraph: &String| -> Vec<String> {
        let ended = paragraph.replace(". ", ".\n").replace("? ", "?\n");
        ended.lines().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
    };
    paragraphs.iter().flat_map(ends).collect()
}

#[test]
fn every_sentence_about_operating_has_its_test() {
    let said = sentences(&Page::read("envoy/guides/operate.md"));
    assert!(said.len() > 20, "{said:?}");
    let unheld: Vec<_> =
        said.iter().filter(|s| !SENTENCES.iter().any(|(start, _)| s.starts_with(start))).collect();
    assert!(unheld.is_empty(), "no test is known to hold {unheld:#?}");
    let gone: Vec<_> =
        SENTENCES.iter().filter(|(start, _)| !said.iter().any(|s| s.starts_with(start))).collect();
    assert!(gone.is_empty(), "the page does not say {gone:#?}");
}

/// The families of all filters.
fn families() -> Vec<&'static Family> {
    let all: [&[&'static Family]; 4] = [
        &portcullis_jwt_auth::counters::FAMILIES,
        &portcullis_metrics::counters::FAMILIES,
        &portcullis_rate_limit::counters::FAMILIES,
        &portcullis_rebac::counters::FAMILIES,
    ];
    all.concat()
}

#[test]
fn every_series_that_a_guide_names_is_there() {
    for guide in ["operate.md", "security.md", "migrate.md"] {
        let page = Page::read(format!("envoy/guides/{guide}"));
        for code in codes(page.text()).filter(|code| code.starts_with("portcullis_")) {
            let name = code.split('{').next().unwrap_or_default();
            assert!(families().iter().any(|f| f.name == name), "{guide}: no metric is called {name}");
        }
    }
}

#[test]
fn the_numbers_of_the_burn_alarm_are_those_of_the_rules() {
    let page = Page::read("envoy/guides/operate.md");
    let rules = examples::read(&paths::root().join("envoy/observability/rules.yaml"));
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap());
    let mut found = 0;
    for labels in rules.filter(|r| r["alert"] == "PortcullisBudgetBurn").map(|r| &r["labels"]) {
        let burn: f64 = labels["burn"].as_str().unwrap().parse().unwrap();
        let spoken = match labels["window"].as_str().unwrap() {
            "1h" => "in an hour",
            "6h" => "in six hours",
            "1d" => "in a day",
            "3d" => "in three days",
            other => panic!("{other}"),
        };
        let flat = page.text().replace('\n', " ");
        assert!(flat.contains(&format!("{burn} {spoken}")), "{burn} {spoken}");
        // How long the budget of 30 days lasts at this pace, in whole days, stands behind the pages.
        if labels["severity"] == "page" {
            let days = match (30.0 / burn).round() as u32 {
                2 => "two",
                5 => "five",
                other => panic!("{other} days"),
            };
            assert!(flat.contains(days), "{burn}: {days} days");
        }
        found += 1;
    }
    assert_eq!(found, 4);
}
