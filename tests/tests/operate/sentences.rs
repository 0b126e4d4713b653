//! What `envoy/guides/operate.md` says outside of its tables, by how each sentence begins, and the tests that hold it. A sentence without
//! any says nothing of what the filters do: it tells the reader what to do, or leads on.

/// Sentences and their tests.
pub(crate) const SENTENCES: &[(&str, &[&str])] = &[
    ("What to expect of an upgrade", &[]),
    (
        "Each row names the test",
        &[
            "every_row_about_behaviour_names_its_test",
            "every_test_that_a_guide_names_is_there",
            "every_sentence_about_operating_has_its_test",
        ],
    ),
    (
        "`make dist` makes the files of a version",
        &[
            "a_release_is_the_same_bytes_twice_and_its_checksums_are_right",
            "an_image_is_the_same_bytes_twice_and_its_blobs_are_their_digests",
        ],
    ),
    (
        "Each filter is a module of its own: upgrade one",
        &["another_build_of_one_module_takes_over_and_gives_back"],
    ),
    ("Put the new module beside the old one", &["another_build_of_one_module_takes_over_and_gives_back"]),
    ("Never write over a file", &["a_module_that_is_written_over_is_read_with_the_next_configuration"]),
    ("A restart of Envoy", &["a_restart_of_envoy_begins_the_counts_afresh"]),
    (
        "The figures are from one machine",
        &["an_idle_envoy_takes_what_the_page_says", "the_cost_of_a_request_is_that_of_the_first_page"],
    ),
    ("Take them as ratios", &[]),
    ("The memory of WebAssembly is not in Envoy's own heap", &["an_idle_envoy_takes_what_the_page_says"]),
    ("Leave room for it below", &[]),
    ("What bounds memory:", &[]),
    ("A route costs a match no more", &["ten_thousand_routes_cost_what_ten_do"]),
    ("The alerts of [rules.yaml]", &["every_alarm_has_a_section_and_every_section_an_alarm"]),
    ("`promtool` accepts them", &["promtool_accepts_the_rules_and_their_tests_pass"]),
    (
        "A route of `slos` loses its error budget too fast.",
        &[
            "promtool_accepts_the_rules_and_their_tests_pass",
            "what_is_scraped_is_what_was_sent_and_every_query_gives_numbers",
        ],
    ),
    ("`burn` says how many times", &["the_numbers_of_the_burn_alarm_are_those_of_the_rules"]),
    ("`objective` says which promise", &["verdicts_consumers_and_promises_are_counted"]),
    ("Look at `portcullis_requests_total`", &["every_series_that_a_guide_names_is_there"]),
    ("If it is the gateway, `reason` is the word", &["verdicts_consumers_and_promises_are_counted"]),
    ("If it is latency, compare", &["every_series_that_a_guide_names_is_there"]),
    (
        "A metric has had more label values",
        &[
            "promtool_accepts_the_rules_and_their_tests_pass",
            "paths_and_subjects_that_never_repeat_leave_series_and_memory_flat",
        ],
    ),
    ("Requests are served, and sums stay exact.", &["a_million_paths_leave_series_and_memory_flat"]),
    ("Either a route's template is too fine", &[]),
    ("Name the routes and the consumers", &[]),
    ("Admin stays on loopback", &["nothing_fails_open_and_everything_is_bounded"]),
    (
        "A Prometheus on another machine",
        &["a_prometheus_elsewhere_sees_the_statistics_and_nothing_else_of_admin"],
    ),
];
