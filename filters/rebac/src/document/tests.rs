use super::*;
use crate::model::parser;

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member]
type document
  relations
    define viewer: [user, user with early, group#member]
condition early(hour: int) {
  hour < 12
}
";

fn schema() -> Schema {
    Schema::new(&parser::parse(MODEL).unwrap()).unwrap()
}

/// Reads a document in pieces of so many bytes; how many tuples it has.
fn load(document: &str, bytes: usize) -> Result<usize, Problem> {
    let (schema, mut loading) = (schema(), Loading::default());
    for _ in 0..10_000 {
        if let Some(store) = loading.go_on(&schema, document.as_bytes(), Piece { bytes, tuples: 10 })? {
            return Ok(store.len());
        }
    }
    panic!("it never ends");
}

fn problem(document: &str) -> String {
    load(document, 7).unwrap_err().to_string()
}

#[test]
fn a_document_is_lines_or_an_array_or_an_object_with_one() {
    let lines = "# who\ndocument:1#viewer@user:ann\n\n  group:1#member@user:*\r\n\
                 {\"user\": \"user:eve\", \"relation\": \"viewer\", \"object\": \"document:1\", \"condition\": {\"name\": \"early\"}}\n";
    let array = "[\"document:1#viewer@user:ann\", {\"object\": \"group:1\", \"relation\": \"member\", \"user\": \"user:*\"},\n\
                 {\"user\": \"user:\\u0065ve\", \"relation\": \"viewer\", \"object\": \"document:1\", \
                 \"condition\": {\"name\": \"early\", \"context\": {\"hour\": 3}}}]";
    let wrapped = format!(" {{ \"tuples\" : {array} }}\n");
    for document in [lines, array, &wrapped] {
        for bytes in [1, 10, usize::MAX] {
            assert_eq!(load(document, bytes), Ok(3), "{document} by {bytes}");
        }
    }
    for none in ["[]", " [ ] ", "{\"tuples\":[]}"] {
        assert_eq!(load(none, 1), Ok(0), "{none}");
    }
}

#[test]
fn a_document_that_breaks_off_or_goes_on_is_not_one() {
    let whole = "{\"tuples\": [\"document:1#viewer@user:ann\", {\"user\": \"user:bob\", \"relation\": \"viewer\", \"object\": \"document:1\"}]}";
    assert_eq!(load(whole, 7), Ok(2));
    for length in 0..whole.len() {
        assert!(load(&whole[..length], 7).is_err(), "{}", &whole[..length]);
    }
    let lines = "document:1#viewer@user:ann\ndocument:1#viewer@user:bob\n";
    for length in (0..lines.len()).filter(|n| *n != 27) {
        assert!(load(&lines[..length], 7).is_err(), "{}", &lines[..length]);
    }
    for (document, want) in [
        ("", "empty"),
        ("\n# nobody\n", "no tuples"),
        ("[\"document:1#viewer@user:ann\" \"document:1#viewer@user:bob\"]", "comma"),
        ("[\"document:1#viewer@user:ann\",]", "tuple 2: not JSON"),
        ("[\"document:1#viewer@user:ann\"] []", "follows"),
        ("{\"tuples\": [], \"continuation_token\": \"x\"}", "more in it"),
        ("{\"tuples\": {}}", "no list"),
        ("<html>\n", "tuple 1: not a tuple"),
        ("document:1#viewer@user:ann", "has no end"),
    ] {
        assert!(problem(document).contains(want), "{document}: {}", problem(document));
    }
    assert!(problem(&format!("[\"{}\"]", "x".repeat(70_000))).contains("64 KiB"));
    assert!(problem(&format!("document:{}\n", "x".repeat(70_000))).contains("64 KiB"));
}

#[test]
fn one_tuple_that_does_not_fit_keeps_all_out_and_no_id_is_told() {
    for (tuple, want) in [
        ("document:SECRET#viewer@robot:1", "there is no type robot"),
        ("document:SECRET#owner@user:ann", "document has no relation owner"),
        ("document:SECRET#viewer@user:*", "cannot be given"),
        ("document:SECRET#viewer@user:SECRET#x", "user has no relation x"),
        ("document:SEC RET#viewer@user:SECRET", "blanks"),
        (
            "{\"user\":\"user:SECRET\",\"relation\":\"viewer\",\"object\":\"document:1\",\"more\":1}",
            "not {user",
        ),
        (
            "{\"user\":\"user:SECRET\",\"relation\":\"viewer\",\"object\":\"document:1\",\"condition\":{\"name\":\"late\"}}",
            "no condition late",
        ),
        (
            "{\"user\":\"user:SECRET\",\"relation\":\"viewer\",\"object\":\"document:1\",\"condition\":{\"name\":\"early\",\"context\":{\"hour\":\"SECRET\"}}}",
            "hour of early is not a whole number",
        ),
    ] {
        let told = problem(&format!("document:1#viewer@user:ann\n{tuple}\n"));
        assert!(told.starts_with("tuple 2: ") && told.contains(want), "{tuple}: {told}");
        assert!(!told.contains("SECRET"), "{told}");
    }
    let twice =
        "document:SECRET#viewer@user:ann\ndocument:2#viewer@user:ann\ndocument:SECRET#viewer@user:ann\n";
    assert_eq!(problem(twice), "a tuple is there twice");
}
