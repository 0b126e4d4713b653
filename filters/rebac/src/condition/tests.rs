use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::{Condition, Failure};
use crate::model::{self, Name, ParameterType};

fn condition(expression: &str, parameters: &[(&str, ParameterType)]) -> Result<Condition, String> {
    Condition::new(&model::Condition {
        name: Name::new("c"),
        parameters: parameters.iter().map(|(name, kind)| (Name::new(name), kind.clone())).collect(),
        expression: expression.into(),
        source: model::Source::default(),
    })
}

fn object(value: Json) -> Map<String, Json> {
    value.as_object().cloned().unwrap()
}

fn all_types() -> Vec<(&'static str, ParameterType)> {
    vec![
        ("any", ParameterType::Any),
        ("b", ParameterType::Bool),
        ("s", ParameterType::String),
        ("i", ParameterType::Int),
        ("u", ParameterType::Uint),
        ("d", ParameterType::Double),
        ("span", ParameterType::Duration),
        ("t", ParameterType::Timestamp),
        ("ip", ParameterType::IpAddress),
        ("list", ParameterType::List(Box::new(ParameterType::String))),
        ("map", ParameterType::Map(Box::new(ParameterType::Int))),
    ]
}

fn context() -> Map<String, Json> {
    object(json!({
        "any": {"k": [1, "two"]}, "b": true, "s": "Ünder", "i": 7, "u": "8", "d": 1.5, "span": "1h30m",
        "t": "2024-02-29T23:30:00.5+02:00", "ip": "::ffff:10.1.2.3", "list": ["a", "b"], "map": {"x": 1, "y": 2},
    }))
}

#[test]
fn expressions_mean_what_cel_says() {
    for (expression, expected) in [
        ("b && !false", true),
        ("i / 2 == 3 && -i % 4 == -3", true),
        ("u + 1u == 9u && d * 2.0 == 3.0", true),
        ("s.startsWith('Ü') && s.endsWith(\"r\") && s.contains('nd') && size(s) == 5", true),
        ("s.matches('^Ü[a-z]+$') && matches(s, 'der')", true),
        ("'a' in list && !('c' in list) && list[1] == 'b' && list.size() == 2", true),
        ("map.x + map['y'] == 3 && has(map.x) && !has(map.z) && 'x' in map", true),
        ("list.exists(x, x == 'b') && list.all(x, x < 'c') && list.exists_one(x, x == 'a')", true),
        ("list.map(x, x + '!') == ['a!', 'b!'] && list.filter(x, x != 'a') == ['b']", true),
        ("span > duration('1h') && span + duration('30m') == duration('2h')", true),
        ("span.getMinutes() == 90 && span.getHours() == 1 && span.getMilliseconds() == 5400000", true),
        ("t.getFullYear() == 2024 && t.getMonth() == 1 && t.getDate() == 29 && t.getHours() == 21", true),
        ("t.getHours('+03:00') == 0 && t.getDayOfWeek('UTC') == 4 && t.getMilliseconds() == 500", true),
        ("t - timestamp('2024-02-29T21:00:00Z') == duration('30m0.5s') && int(t) == 1709242200", true),
        ("string(t) == '2024-02-29T21:30:00.5Z' && string(span) == '5400s' && string(d) == '1.5'", true),
        ("ip.in_cidr('10.0.0.0/8') && ip.in_cidr('::ffff:10.1.0.0/112') && !ip.in_cidr('::/0')", true),
        ("ip == ipaddress('10.1.2.3') && ip != null && t != null", true),
        ("any.k[0] == 1.0 && any.k[0] == 1 && any.k[1] == 'two' && any.k.size() == 2", true),
        ("int('12') == 12 && uint(3) == 3u && double('2.5') == 2.5 && bool('true') && type(i) == int", true),
        ("false && 1 / 0 == 1 || true || 1 / 0 == 1", true),
        ("1 / 0 == 1 || b", true),
        ("i > 5 ? false : true", false),
        ("b'abc' == bytes('abc') && {'a': 1}['a'] == 1", true),
    ] {
        let compiled = condition(expression, &all_types()).unwrap_or_else(|e| panic!("{expression}: {e}"));
        assert_eq!(compiled.holds(&context(), &Map::new()), Ok(expected), "{expression}");
    }
}

#[test]
fn expressions_whose_types_do_not_fit_are_refused() {
    for expression in [
        "i",
        "i + 1",
        "i == 1.0",
        "i < u",
        "s + 1 == ''",
        "s == null",
        "b && s",
        "b ? 1 : 's' == 1",
        "nobody == 1",
        "nothing(i)",
        "i.startsWith('a')",
        "list[0] == 1",
        "1 in list",
        "map['x'] == 'a'",
        "map[1] == 1",
        "ip.in_cidr(ip)",
        "s.in_cidr('10.0.0.0/8')",
        "span.getFullYear() == 1",
        "t + t == t",
        "s.matches('(')",
        "s.matches('(a{100}){100}')",
        "t.getHours('Europe/Nowhere') == 1",
        "list.all(x, x)",
        "i.all(x, true)",
        "string(ip) == 'a'",
        "b &&",
        "",
        "'unterminated",
    ] {
        assert!(condition(expression, &all_types()).is_err(), "{expression}");
    }
    let long = format!("s == '{}'", "a".repeat(600));
    assert!(condition(&long, &all_types()).is_err());
}

/// As OpenFGA's server has it, asked for each of these.
#[test]
fn what_is_written_and_cannot_be_converted_is_refused_with_the_model() {
    for expression in [
        "t > timestamp('x')",
        "t > timestamp('2020-13-01T00:00:00Z')",
        "t > timestamp('2020-01-01T00:00:00+25:00')",
        "t > timestamp('2020-01-01T00:00:00')",
        "t > timestamp('0000-01-01T00:00:00Z')",
        "t > timestamp('10000-01-01T00:00:00Z')",
        "t > timestamp(99999999999999)",
        "t > timestamp(string('x'))",
        "true || t > timestamp('x')",
        "t - t > duration('1x')",
        "t - t > duration('')",
        "t - t > duration('1s1')",
        "t - t > duration(' 1s')",
        "int('x') > 1",
        "int('99999999999999999999') > 1",
        "int(1e30) > 1",
        "int(timestamp('x')) > 1",
        "uint('-1') > 1u",
        "uint(-1) > 1u",
        "double('x') > 1.0",
        "bool('x')",
        "string(b'\\xff') == 'a'",
        "'a'.matches(string('('))",
    ] {
        assert!(condition(expression, &all_types()).is_err(), "{expression}");
    }
    for expression in [
        "t > timestamp('2020-01-01T00:00:00Z')",
        "timestamp(s) > t",
        "t - t > duration('1h30m')",
        "t - t > duration('400000h')",
        "bool('TRUE')",
        "1 / 0 > 1",
        "ipaddress('x').in_cidr('10.0.0.0/8')",
        "type('x') == string",
    ] {
        assert!(condition(expression, &all_types()).is_ok(), "{expression}");
    }
}

#[test]
fn nesting_as_deep_as_an_expression_is_long_does_no_harm() {
    for (open, inner, close) in [
        ("(", "b", ")"),
        ("[", "b", "]"),
        ("!", "b", ""),
        ("-", "i", ""),
        ("{b:", "b", "}"),
        ("b?b:", "b", ""),
    ] {
        let times = (super::compile::MAX_BYTES - 1) / (open.len() + close.len());
        let deep = format!("{}{inner}{}", open.repeat(times), close.repeat(times));
        let _ = condition(&deep, &all_types());
    }
}

#[test]
fn a_pattern_is_bounded_wherever_it_comes_from() {
    let longer = format!("s.matches('{}')", "a".repeat(257));
    assert!(condition(&longer, &all_types()).is_err());
    let holds = |expression: &str, s: String, pattern: &str| {
        let mut context = context();
        context.insert("s".into(), json!(s));
        context.insert("list".into(), json!([pattern]));
        condition(expression, &all_types()).unwrap().holds(&context, &Map::new())
    };
    let (constant, given) = ("s.matches('^a+$')", "s.matches(list[0])");
    for expression in [constant, given] {
        assert_eq!(holds(expression, "a".repeat(4096), "^a+$"), Ok(true));
        assert_eq!(holds(expression, "a".repeat(4097), "^a+$"), Err(Failure::Cost));
        let again = [expression; 6].join(" && ");
        assert_eq!(holds(&again, "a".repeat(4096), "^a+$"), Err(Failure::Cost));
    }
    assert_eq!(holds(given, "a".into(), "("), Err(Failure::Evaluation));
    assert_eq!(holds(given, "a".into(), "(a{100}){100}"), Err(Failure::Evaluation));
}

#[test]
fn what_has_no_value_is_a_failure() {
    for expression in ["1 / i == 1", "list[9] == 'a'", "map.z == 1", "int(s) == 1", "ip.in_cidr('nowhere')"] {
        let compiled = condition(expression, &all_types()).unwrap();
        let mut context = context();
        context.insert("i".into(), json!(0));
        assert_eq!(compiled.holds(&context, &Map::new()), Err(Failure::Evaluation), "{expression}");
    }
    let all = format!("{} > 0", ["list.size()"; 20].join(" + "));
    let compiled = condition(&all, &all_types()).unwrap();
    assert_eq!(compiled.holds(&context(), &Map::new()), Ok(true));
}

#[test]
fn a_long_way_is_cut_short() {
    let types = [("list", ParameterType::List(Box::new(ParameterType::Int)))];
    let compiled = condition("list.all(a, list.all(b, list.all(c, a + b + c >= 0)))", &types).unwrap();
    let context = |n: i64| object(json!({"list": (0..n).collect::<Vec<_>>()}));
    assert_eq!(compiled.holds(&context(5), &Map::new()), Ok(true));
    assert_eq!(compiled.holds(&context(100), &Map::new()), Err(Failure::Cost));
}

#[test]
fn parameters_are_read_as_openfga_reads_them() {
    for (kind, good, bad) in [
        (
            ParameterType::Int,
            vec![json!(1), json!(-1.0), json!("12"), json!("1e3"), json!("+4")],
            vec![json!(1.5), json!("a"), json!(true), json!("1.5"), json!(null), json!("")],
        ),
        (ParameterType::Uint, vec![json!(1), json!("3")], vec![json!(-1), json!("-1")]),
        (
            ParameterType::Double,
            vec![json!(1), json!(0.1), json!("0.5"), json!("2e10")],
            vec![json!("0.1"), json!("x"), json!(true)],
        ),
        (ParameterType::Bool, vec![json!(true)], vec![json!("true"), json!(1)]),
        (ParameterType::String, vec![json!(""), json!("a")], vec![json!(1), json!(null)]),
        (
            ParameterType::Duration,
            vec![json!("1h"), json!("-1.5s"), json!("0"), json!("1h2m3s4ms5us6ns")],
            vec![json!("1"), json!(""), json!("1d"), json!(1), json!("s"), json!("9999999h")],
        ),
        (
            ParameterType::Timestamp,
            vec![json!("2024-01-01T00:00:00Z"), json!("2024-01-01T00:00:00.123456789-07:00")],
            vec![
                json!("2024-01-01"),
                json!("2023-02-29T00:00:00Z"),
                json!("2024-01-01T24:00:00Z"),
                json!("2024-01-01 00:00:00Z"),
            ],
        ),
        (
            ParameterType::IpAddress,
            vec![json!("1.2.3.4"), json!("::1")],
            // OpenFGA takes a zone, and then says that the address is in no network.
            vec![json!("1.2.3"), json!("01.2.3.4"), json!("fe80::1%eth0"), json!(1)],
        ),
        (
            ParameterType::List(Box::new(ParameterType::Int)),
            vec![json!([]), json!([1, "2"])],
            vec![json!([1, "a"]), json!({})],
        ),
        (
            ParameterType::Map(Box::new(ParameterType::Bool)),
            vec![json!({}), json!({"a": true})],
            vec![json!({"a": 1}), json!([])],
        ),
    ] {
        for json in good {
            assert!(super::value::Value::read(&json, &kind).is_ok(), "{json} is no {kind}");
        }
        for json in bad {
            assert!(super::value::Value::read(&json, &kind).is_err(), "{json} is a {kind}");
        }
    }
}

#[test]
fn every_parameter_is_needed_and_the_tuple_speaks_first() {
    let types = [("a", ParameterType::Int), ("b", ParameterType::Int)];
    let compiled = condition("a == 1 || b == 1", &types).unwrap();
    let holds = |request: Json, tuple: Json| compiled.holds(&object(request), &object(tuple));
    assert_eq!(holds(json!({"a": 1}), json!({})), Err(Failure::Missing(vec![Rc::from("b")])));
    assert_eq!(holds(json!({"a": 1}), json!({"b": 2})), Ok(true));
    assert_eq!(holds(json!({"a": 1, "b": 1}), json!({"a": 2, "b": 2})), Ok(false));
    assert_eq!(holds(json!({"a": "x", "b": 1}), json!({})), Err(Failure::Unfit(Rc::from("a"))));
    assert_eq!(holds(json!({"a": 1, "b": 1, "c": 1}), json!({})), Ok(true));
    assert_eq!(compiled.takes(&object(json!({"a": 1}))), Ok(()));
    let none = condition("true", &[]).unwrap();
    assert_eq!(none.holds(&Map::new(), &Map::new()), Ok(true));
    assert_eq!(none.holds(&object(json!({"a": 1})), &Map::new()), Err(Failure::NoParameters));
}

#[test]
fn a_context_that_does_not_fit_is_named_without_its_value() {
    let types = [
        ("end", ParameterType::Timestamp),
        ("for", ParameterType::Duration),
        ("from", ParameterType::IpAddress),
        ("level", ParameterType::Uint),
        ("roles", ParameterType::List(Box::new(ParameterType::String))),
    ];
    let compiled = condition("true", &types).unwrap();
    for (context, problem) in [
        (json!({"ends": "2026-12-01T00:00:00Z"}), " has no parameter ends"),
        (json!({"end": "2026-12-01"}), " is not a timestamp such as 2026-12-01T00:00:00Z"),
        (json!({"for": "1 day"}), " is not a duration such as 1h30m"),
        (json!({"from": "localhost"}), " is not an IP address"),
        (json!({"level": -1}), " is not a whole number of 0 or more"),
        (json!({"roles": ["a", 1]}), " is not a list of the parameter's type"),
    ] {
        let error = compiled.takes(&object(context.clone())).unwrap_err();
        assert!(error.ends_with(problem), "{context}: {error}");
        let name = context.as_object().unwrap().keys().next().unwrap();
        assert!(error.contains(name), "{context}: {error}");
    }
}
