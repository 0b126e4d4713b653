use super::*;
use proptest::prelude::*;

fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    super::object(bytes, 4096)
}

#[test]
fn a_member_stands_once_at_every_depth_and_in_every_spelling() {
    assert!(object(br#"{"a":{"b":[1,2.5,-3,null,true,"x"]}}"#).is_ok());
    let many = (0..50).map(|n| format!(r#""m{n}":{n},"#)).collect::<String>();
    for bad in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":[{"b":1,"b":2}]}"#,
        r#"{"b":{"a":1},"b":2}"#,
        &format!(r#"{{{many}"m7":0}}"#),
        "[]",
        "1",
        "",
        "{} {}",
        r#"{"a":1e999}"#,
        r#"{"a":NaN}"#,
    ] {
        assert!(object(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(object(b"{\"a\":\"\xff\"}").is_err());
    assert!(object(br#"{"a":{"a":1},"b":{"a":2}}"#).is_ok(), "the same name in two objects");
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    assert!(object(nested(31).as_bytes()).is_ok());
    assert!(object(nested(32).as_bytes()).is_err());
    assert!(object(nested(100_000).as_bytes()).is_err());
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(5_000));
    assert!(object(wide.as_bytes()).is_err());
}

#[test]
fn values_are_found_without_a_tree() {
    let document =
        Document::parse(&br#"{"a":[{"b":"x\ty"},[],{}],"c":{"d":-1},"e":null,"\u0066":2.5}"#[..], 99)
            .unwrap();
    let root = document.root();
    let items: Vec<_> = root.get("a").unwrap().items().collect();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0].get("b").unwrap().text(), Some("x\ty"));
    assert_eq!(root.get("c").unwrap().get("d").unwrap().kind(), Kind::Signed(-1));
    assert!(root.get("e").unwrap().is_null());
    assert_eq!(root.get("f").unwrap().kind(), Kind::Float(2.5));
    assert!(root.get("b").is_none());
    assert_eq!(root.get("a").unwrap().to_json(), r#"[{"b":"x\ty"},[],{}]"#);
}

proptest! {
    #[test]
    fn what_is_read_is_what_serde_json_reads(
        text in r#"\{"a":(1|-2|3\.5|"x"|"\\n\\u00e9"|\[1,\["y"\],\{\}\]|\{"b":null,"d":\[\]\})(,"c":(true|0))?\}"#
    ) {
        let loose: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), loose);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Document::parse(bytes, 4096).map(|d| d.root().to_json());
    }
}
