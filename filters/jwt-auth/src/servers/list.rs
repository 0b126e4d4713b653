//! A list in a JSON object, each item as its own text: so that an item that cannot be read does not take the others with it.
//!
//! serde_json reads the names and finds where each value ends; only what stands between them is read here.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The items of the list that is the member `name` of the object `text`; of more than `max` some are left out, but more than `max`
/// are given.
///
/// `None` if it is no such object, in UTF-8 and with each name once. What the other members hold is of no concern.
pub(super) fn items<'a>(text: &'a [u8], name: &str, max: usize) -> Option<Vec<&'a [u8]>> {
    std::str::from_utf8(text).ok()?;
    let mut rest = Rest(text);
    let mut names = BTreeSet::new();
    let mut found = None;
    rest.each(b'{', b'}', |rest| {
        let (own, _) = rest.value::<String>()?;
        rest.take(b':')?;
        if own == name {
            let mut items = Vec::new();
            rest.each(b'[', b']', |rest| {
                let (_, item) = rest.value::<IgnoredAny>()?;
                if items.len() <= max {
                    items.push(item);
                }
                Some(())
            })?;
            found = Some(items);
        } else {
            rest.value::<IgnoredAny>()?;
        }
        names.insert(own.into_boxed_str()).then_some(())
    })?;
    if rest.peek().is_none() { found } else { None }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn peek(&mut self) -> Option<u8> {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', behind)) = self.0.split_first() {
            self.0 = behind;
        }
        self.0.first().copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.0 = self.0.get(1..).unwrap_or_default())
    }

    /// One value, and its text.
    fn value<T: Deserialize<'a>>(&mut self) -> Option<(T, &'a [u8])> {
        let mut values = serde_json::Deserializer::from_slice(self.0).into_iter();
        let value = values.next()?.ok()?;
        let (text, behind) = self.0.split_at_checked(values.byte_offset())?;
        self.0 = behind;
        Some((value, text))
    }

    /// What stands between `open` and `close`, with commas in between.
    fn each(&mut self, open: u8, close: u8, mut one: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            one(self)?;
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn read(text: &str) -> Option<Vec<String>> {
        let texts = items(text.as_bytes(), "keys", 4)?;
        Some(texts.into_iter().map(|t| String::from_utf8_lossy(t).trim().to_owned()).collect())
    }

    #[test]
    fn each_item_is_given_as_it_stands() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let twice = r#"{"a":1,"a":2}"#;
        for (text, want) in [
            (r#"{"keys":[]}"#.into(), vec![]),
            (r#" { "x" : [1] , "k\u0065ys" : [ 1 , "a,]" ] } "#.into(), vec!["1", r#""a,]""#]),
            (format!(r#"{{"keys":[{twice},1e999,-1],"x":{twice}}}"#), vec![twice, "1e999", "-1"]),
            (format!(r#"{{"keys":[{deep}],"x":{deep}}}"#), vec![&*deep]),
            (r#"{"keys":[1,2,3,4,5,6]}"#.into(), vec!["1", "2", "3", "4", "5"]),
        ] {
            assert_eq!(read(&text).unwrap(), want, "{text:.90}");
        }
    }

    #[test]
    fn what_is_no_list_of_an_object_is_nothing() {
        for text in [
            "",
            "{}",
            "[]",
            "7",
            r#"{"Keys":[]}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[],"k\u0065ys":[]}"#,
            r#"{"keys":[],"x":1,"x":1}"#,
            r#"{"keys":[]"#,
            r#"{"keys":[]}}"#,
            r#"{"keys":[]} {}"#,
            r#"{"keys":[],}"#,
            r#"{"keys":[1,]}"#,
            r#"{"keys":[1 2]}"#,
            r#"{"keys":[,1]}"#,
            r#"{"keys" []}"#,
            r#"{keys:[]}"#,
            r#"{7:[]}"#,
            r#"{"keys":[NaN]}"#,
            r#"{"keys":[01]}"#,
            "{\"keys\":[]}\0",
            "\u{feff}{\"keys\":[]}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(items(b"{\"keys\":[],\"x\":\"\xff\"}", "keys", 4).is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(
            text in r#" ?\{ ?("keys" ?: ?\[ ?(1|-2.5e3|"[,\]]"|\[ ?1,\{\}\]|\{"a":\[null\]\})?(,(true|"\\\\"|\{"b" :"\]\}"\}))?\] ?(,"x":\{"keys":\[1\]\})?)?[\}\]]{0,2} ?"#
        ) {
            let loose = serde_json::from_str::<Value>(&text).ok();
            let list = loose.as_ref().and_then(|v| v.get("keys")).and_then(Value::as_array);
            let own = read(&text).map(|l| l.iter().map(|t| serde_json::from_str(t).unwrap()).collect::<Vec<Value>>());
            prop_assert_eq!(own.as_ref(), list);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = items(&bytes, "keys", 4);
        }
    }
}
