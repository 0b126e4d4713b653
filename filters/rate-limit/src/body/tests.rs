//! The shapes are those of the providers' own documentation, with the texts that a client could have talked a model into.

use super::*;

/// OpenAI's chat completions with `stream_options: {include_usage: true}`.
const OPENAI: &str = concat!(
    "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"}],\\\"usage\\\":{\\\"completion_tokens\\\":0}}\\n\\ndata: [DONE]\\n\\n\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"completion_tokens_details\":{\"completion_tokens\":99}}}\n\n",
    "data: [DONE]\n\n",
    "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n",
);
const OPENAI_WANTS: [(&str, Option<u64>); 2] =
    [("/usage/prompt_tokens", Some(19)), ("/usage/completion_tokens", Some(10))];

/// Anthropic's messages: the input stands in the first event, the output counts up to the last.
const ANTHROPIC: &str = concat!(
    "event: message_start\r\n",
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m-1\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\r\n\r\n",
    "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n",
    ": a comment\r\n",
    "event: content_block_delta\r\n",
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"{\\\"usage\\\":{\\\"output_tokens\\\":0}}\"}}\r\n\r\n",
    "event: message_delta\r\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\r\n\r\n",
    "event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n",
);
const ANTHROPIC_WANTS: [(&str, Option<u64>); 3] = [
    ("/message/usage/input_tokens", Some(25)),
    ("/usage/output_tokens", Some(15)),
    ("/message/usage/output_tokens", Some(1)),
];

fn headers(kind: &str, encoding: Option<&str>) -> Headers {
    let pairs = [("content-type", Some(kind)), ("content-encoding", encoding)];
    let pairs = pairs.iter().filter_map(|(n, v)| Some((n.as_bytes(), (*v)?.as_bytes())));
    Headers::parse(Headers::encode(pairs)).unwrap()
}

fn reader(kind: &str, pointers: &[&str], window: usize) -> Option<Reader> {
    let pointers = pointers.iter().map(|p| Pointer::parse(p).unwrap()).collect();
    Reader::new(&headers(kind, None), pointers, window)
}

fn numbers(kind: &str, pointers: &[&str], pieces: &[&[u8]]) -> Vec<Option<u64>> {
    let mut reader = reader(kind, pointers, usize::MAX).unwrap();
    pieces.iter().for_each(|piece| reader.feed(piece));
    (0..pointers.len()).map(|n| reader.number(&(n..n + 1))).collect()
}

fn in_json(text: &str, pointer: &str) -> Option<u64> {
    numbers("application/json", &[pointer], &[text.as_bytes()])[0]
}

#[test]
fn the_answers_of_two_providers_say_their_tokens_wherever_they_are_cut() {
    for (text, wants) in [(OPENAI, &OPENAI_WANTS[..]), (ANTHROPIC, &ANTHROPIC_WANTS[..])] {
        let pointers: Vec<&str> = wants.iter().map(|(pointer, _)| *pointer).collect();
        let want: Vec<Option<u64>> = wants.iter().map(|(_, number)| *number).collect();
        let check = |how: &str, pieces: &[&[u8]]| {
            assert_eq!(numbers("text/event-stream; charset=utf-8", &pointers, pieces), want, "{how}");
        };
        let text = text.as_bytes();
        check("whole", &[text]);
        check("byte by byte", &text.chunks(1).collect::<Vec<_>>());
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            check(&format!("cut at {cut}"), &[front, back]);
        }
        let marked = ["\u{feff}".as_bytes(), text].concat();
        check("with a byte order mark", &[&marked]);
        let returns = String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n").replace('\n', "\r");
        check("with lines that end by a carriage return", &[returns.as_bytes()]);
    }
}

#[test]
fn the_answer_of_a_provider_in_one_piece_says_the_same() {
    let text = r#"{"id":"c","choices":[{"message":{"content":"\"usage\":{"}}],"usage":{"prompt_tokens":7,"completion_tokens":8}}"#;
    for cut in 0..=text.len() {
        let (front, back) = text.as_bytes().split_at(cut);
        let got = numbers(
            "application/json",
            &["/usage/prompt_tokens", "/usage/completion_tokens"],
            &[front, back],
        );
        assert_eq!(got, [Some(7), Some(8)], "cut at {cut}");
    }
}

#[test]
fn a_pointer_finds_what_rfc_6901_says() {
    let text = r#" { "a/b" : {"m~n":[1,[2,3],{"x":4}]}, "":5, "k\u0065y":6, "\"":7, "deep":{"deep":{"deep":8}}, "twice":1, "twice":9 } "#;
    for (pointer, number) in [
        ("/a~1b/m~0n/0", Some(1)),
        ("/a~1b/m~0n/1/1", Some(3)),
        ("/a~1b/m~0n/2/x", Some(4)),
        ("/a~1b/m~0n/3", None),
        ("/a~1b/m~0n/00", None),
        ("/", Some(5)),
        ("/key", Some(6)),
        ("/ke", None),
        ("/keys", None),
        ("/\"", Some(7)),
        ("/deep/deep/deep", Some(8)),
        ("/deep/deep", None),
        ("/x", None),
        ("/twice", Some(9)),
    ] {
        assert_eq!(in_json(text, pointer), number, "{pointer}");
    }
}

#[test]
fn a_number_is_whole_or_rounded_up_and_never_negative() {
    for (number, want) in [
        ("0", Some(0)),
        ("12", Some(12)),
        ("12.0", Some(12)),
        ("12.01", Some(13)),
        ("99999999999999999999", Some(u64::MAX)),
        ("-3", None),
        ("1e3", None),
        ("1.5E1", None),
        ("\"12\"", None),
        ("null", None),
        ("true", None),
        ("[12]", None),
        ("{\"n\":12}", None),
    ] {
        assert_eq!(in_json(&format!("{{\"n\":{number}}}"), "/n"), want, "{number}");
        assert_eq!(in_json(&format!("{{\"n\":{number} ,\"o\":null}}"), "/n"), want, "{number}");
    }
}

#[test]
fn what_is_cut_off_or_no_json_has_no_number() {
    for text in [
        "",
        "{",
        "{\"n\":5",
        "{\"n\":5,",
        "{\"n\":5]",
        "{\"n\" 5}",
        "{n:5}",
        "{,\"n\":5}",
        "{\"n\":5,}",
        "[\"n\",5]",
        "5",
        "\u{1}{\"n\":5}",
    ] {
        assert_eq!(in_json(text, "/n"), None, "{text}");
    }
}

#[test]
fn depth_and_length_of_an_answer_are_nothing_that_is_remembered() {
    let deep = format!("{{\"a\":{}1{},\"n\":5}}", "[{\"b\":".repeat(100_000), "}]".repeat(100_000));
    assert_eq!(in_json(&deep, "/n"), Some(5));
    let name = format!("{{\"{}\":1,\"n\":5}}", "x".repeat(1 << 20));
    assert_eq!(in_json(&name, "/n"), Some(5));
    let mut small = reader("application/json", &["/n"], usize::MAX).unwrap();
    small.feed(b"{\"a\":\"");
    for _ in 0..1_000 {
        small.feed(&[b'x'; 10_000]);
    }
    small.feed(b"\",\"n\":5}");
    assert_eq!((small.number(&(0..1)), small.is_over()), (Some(5), true));
}

#[test]
fn a_number_behind_the_window_is_absent() {
    let text = b"{\"a\":1,\"n\":5}";
    for (window, number) in [(text.len(), Some(5)), (text.len() - 1, None), (0, None)] {
        for pieces in [vec![&text[..]], text.chunks(1).collect()] {
            let mut reader = reader("application/json", &["/n"], window).unwrap();
            pieces.iter().for_each(|piece| reader.feed(piece));
            assert_eq!((reader.number(&(0..1)), reader.is_over()), (number, true), "{window}");
        }
    }
}

#[test]
fn of_several_pointers_the_first_that_has_a_number_counts() {
    let mut reader = reader("application/json", &["/none", "/b", "/a"], usize::MAX).unwrap();
    reader.feed(b"{\"a\":1,\"b\":2}");
    assert_eq!(
        (reader.number(&(0..3)), reader.number(&(2..3)), reader.number(&(0..1)), reader.number(&(3..4))),
        (Some(2), Some(1), None, None)
    );
}

#[test]
fn only_plain_json_and_events_of_it_are_read() {
    let read = |kind: &str, encoding: Option<&str>| {
        Reader::new(&headers(kind, encoding), vec![Pointer::parse("/n").unwrap()], 1).is_some()
    };
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "text/event-stream",
    ] {
        assert!(read(kind, None) && read(kind, Some("identity")), "{kind}");
        assert!(!read(kind, Some("gzip")) && !read(kind, Some("br")), "{kind}");
    }
    for kind in ["text/html", "application/jsonp", "application/grpc", ""] {
        assert!(!read(kind, None), "{kind}");
    }
}

#[test]
fn lines_of_data_are_one_text_and_an_event_that_is_no_json_does_not_matter() {
    let of = |text: &str| numbers("text/event-stream", &["/n"], &[text.as_bytes()])[0];
    assert_eq!(of("data: {\"n\":\ndata: 5}\n\n"), Some(5));
    assert_eq!(of("data:{\"n\":5}\n\n"), Some(5), "no space");
    assert_eq!(of("data: {\"n\":5}\n\ndata: oops\n\ndata: {\"m\":1}\n\n"), Some(5));
    assert_eq!(of("data: {\"n\":5\n\ndata: }\n\n"), None, "two events");
    assert_eq!(of("dat: {\"n\":5}\n\ndatax: {\"n\":5}\n\n data: {\"n\":5}\n\n"), None);
    assert_eq!(of("data: [DONE]\n\ndata: {\"n\":5}\n\n"), None);
    assert_eq!(of("data: [DONE] \n\ndata: {\"n\":5}\n\n"), Some(5), "not what ends a stream");
    assert_eq!(of("data: [DO\ndata: NE]\n\ndata: {\"n\":5}\n\n"), Some(5), "nor is this");
}
