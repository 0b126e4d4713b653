//! Conditions: an expression, and JSON with values behind a zero byte. No panic, whatever is compiled and evaluated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_rebac::condition::Condition;
use portcullis_rebac::model::{self, Name, ParameterType};
use serde_json::{Map, Value};

fn parameters() -> Vec<(Name, ParameterType)> {
    let list = |inner| ParameterType::List(Box::new(inner));
    let map = |inner| ParameterType::Map(Box::new(inner));
    [
        ("a", ParameterType::Any),
        ("b", ParameterType::Bool),
        ("s", ParameterType::String),
        ("i", ParameterType::Int),
        ("u", ParameterType::Uint),
        ("d", ParameterType::Double),
        ("w", ParameterType::Duration),
        ("t", ParameterType::Timestamp),
        ("p", ParameterType::IpAddress),
        ("l", list(ParameterType::String)),
        ("m", map(ParameterType::Int)),
    ]
    .into_iter()
    .map(|(name, kind)| (Name::new(name), kind))
    .collect()
}

fuzz_target!(|text: &str| {
    let (expression, values) = text.split_once('\0').unwrap_or((text, ""));
    let condition = model::Condition {
        name: Name::new("c"),
        parameters: parameters(),
        expression: expression.into(),
        source: model::Source::default(),
    };
    let Ok(condition) = Condition::new(&condition) else { return };
    let mut context: Map<String, Value> = serde_json::from_str(
        r#"{"a": {"k": [1, "x", null]}, "b": true, "s": "abc", "i": 7, "u": 3, "d": 1.5, "w": "1h30m",
            "t": "2024-02-29T12:00:00Z", "p": "10.1.2.3", "l": ["x", "y"], "m": {"x": 1}}"#,
    )
    .expect("values");
    if let Ok(Value::Object(own)) = serde_json::from_str(values) {
        let _ = condition.takes(&own);
        context.extend(own);
    }
    let _ = condition.holds(&context, &Map::new());
});
