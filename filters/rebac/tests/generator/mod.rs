//! Models, tuples and questions out of a number: the same number gives the same ones.

use portcullis_rebac::model::{
    Condition, Facet, Model, Name, ParameterType, Relation, Restriction, Rewrite, Source, TypeDef, json,
    validate,
};
use portcullis_rebac::tuples::{Conditioned, Tuple};
use serde_json::{Map, Value, json};

/// The questions about one model.
pub(crate) const QUESTIONS: usize = 50;

/// A model with its tuples, and questions about them.
pub(crate) struct Case {
    pub(crate) model: Model,
    pub(crate) tuples: Vec<Tuple>,
    pub(crate) questions: Vec<Asked>,
}

/// A question.
pub(crate) struct Asked {
    pub(crate) subject: String,
    pub(crate) relation: String,
    pub(crate) object: String,
    pub(crate) tuples: Vec<Tuple>,
    pub(crate) context: Map<String, Value>,
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn word<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

const TYPES: [&str; 5] = ["user", "bot", "group", "folder", "document"];
const RELATIONS: [&str; 6] = ["member", "owner", "viewer", "editor", "parent", "blocked"];
const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// A condition, and values that its parameters may have.
type Conditions = (Condition, Vec<(&'static str, Vec<Value>)>);

/// Conditions, each with values that its parameters may have; the last of each is of another type.
fn conditions() -> Vec<Conditions> {
    let condition = |name: &str, parameters: Vec<(&str, ParameterType)>, expression: &str| Condition {
        name: Name::new(name),
        parameters: parameters.into_iter().map(|(name, kind)| (Name::new(name), kind)).collect(),
        expression: expression.into(),
        source: Source::default(),
    };
    let list = |inner| ParameterType::List(Box::new(inner));
    let map = |inner| ParameterType::Map(Box::new(inner));
    vec![
        (
            condition("early", vec![("hour", ParameterType::Int)], "hour < 12"),
            vec![("hour", vec![json!(9), json!("11"), json!(18), json!(12.0), json!("-1e2"), json!("soon")])],
        ),
        (
            condition(
                "listed",
                vec![("name", ParameterType::String), ("names", list(ParameterType::String))],
                "name in names && names.all(n, n != \"\")",
            ),
            vec![
                ("name", vec![json!("x"), json!("y"), json!(3)]),
                ("names", vec![json!(["x", "y"]), json!(["z"]), json!([]), json!(["x", 1])]),
            ],
        ),
        (
            condition(
                "current",
                vec![("now", ParameterType::Timestamp), ("grace", ParameterType::Duration)],
                "now < timestamp(\"2024-01-01T00:00:00Z\") + grace",
            ),
            vec![
                (
                    "now",
                    vec![json!("2024-01-01T00:30:00Z"), json!("2023-12-31T23:00:00-05:00"), json!("today")],
                ),
                ("grace", vec![json!("1h"), json!("0s"), json!("-1.5m"), json!(60)]),
            ],
        ),
        (
            condition("inside", vec![("ip", ParameterType::IpAddress)], "ip.in_cidr(\"10.0.0.0/8\")"),
            vec![(
                "ip",
                vec![
                    json!("10.1.2.3"),
                    json!("192.168.0.1"),
                    json!("::ffff:10.0.0.1"),
                    json!("::1"),
                    json!("ten"),
                ],
            )],
        ),
        (
            condition(
                "entry",
                vec![("table", map(ParameterType::Uint)), ("key", ParameterType::String)],
                "table[key] > 1u",
            ),
            vec![
                ("table", vec![json!({"x": 2}), json!({"x": "1", "y": 3}), json!({}), json!({"x": -1})]),
                ("key", vec![json!("x"), json!("y"), json!(null)]),
            ],
        ),
        (
            condition(
                "share",
                vec![
                    ("n", ParameterType::Int),
                    ("limit", ParameterType::Double),
                    ("open", ParameterType::Bool),
                ],
                "open || 10 / n > 2 && limit * 2.0 >= 1.0",
            ),
            vec![
                ("n", vec![json!(3), json!(0), json!(9), json!(2.5)]),
                ("limit", vec![json!(0.5), json!("0.25"), json!(0.1), json!("0.1")]),
                ("open", vec![json!(false), json!(true), json!("true")]),
            ],
        ),
        (
            condition(
                "like",
                vec![("path", ParameterType::String), ("what", ParameterType::Any)],
                "path.matches(\"^/[a-z]+$\") && what != null && size(path) > 2",
            ),
            vec![
                ("path", vec![json!("/abc"), json!("/a"), json!("ABC"), json!(1)]),
                ("what", vec![json!(1), json!("x"), json!(null), json!({"a": [true]})]),
            ],
        ),
    ]
}

/// The case of a number.
pub(crate) fn case(seed: u64) -> Case {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let model = loop {
        let model = model(&mut random);
        if validate::validate(&model).is_ok() && has_questions(&model) {
            break model;
        }
    };
    let values: Vec<_> = conditions().into_iter().filter(|(c, _)| model.conditions.contains(c)).collect();
    let values: Vec<(&str, Vec<Value>)> = values.into_iter().flat_map(|(_, values)| values).collect();
    let mut tuples: Vec<Tuple> = Vec::new();
    for _ in 0..10 + random.below(40) {
        if let Some(tuple) = tuple(&mut random, &model) {
            let same = |t: &Tuple| {
                t.object == tuple.object && t.relation == tuple.relation && t.subject == tuple.subject
            };
            if !tuples.iter().any(same) {
                tuples.push(tuple);
            }
        }
    }
    let questions = (0..QUESTIONS).map(|_| question(&mut random, &model, &tuples, &values)).collect();
    Case { model, tuples, questions }
}

fn has_questions(model: &Model) -> bool {
    model.types.iter().any(|t| !t.relations.is_empty())
}

fn model(random: &mut Random) -> Model {
    let types = 3 + random.below(TYPES.len() - 2);
    let names: Vec<&str> = TYPES[..types].to_vec();
    let mut conditions = conditions();
    while conditions.len() > 3 {
        let at = random.below(conditions.len());
        conditions.remove(at);
    }
    let conditioned = random.percent(60);
    let relations: Vec<(&str, Vec<&str>)> = names
        .iter()
        .map(|name| {
            let count = if matches!(*name, "user" | "bot") { 0 } else { 1 + random.below(RELATIONS.len()) };
            let mut own: Vec<&str> = RELATIONS.to_vec();
            while own.len() > count {
                let at = random.below(own.len());
                own.remove(at);
            }
            (*name, own)
        })
        .collect();
    let mut model = Model { schema: Some(Name::new("1.1")), ..Model::default() };
    for (name, own) in &relations {
        let mut list = Vec::new();
        for relation in own {
            let tupleset = *relation == "parent";
            let rewrite = if tupleset { Rewrite::This } else { rewrite(random, own, 2, true) };
            let mut restrictions: Vec<Restriction> = Vec::new();
            if rewrite.is_direct() {
                for _ in 0..1 + random.below(3) {
                    let restriction =
                        restriction(random, &relations, tupleset, conditioned.then_some(&conditions));
                    if !restrictions.contains(&restriction) {
                        restrictions.push(restriction);
                    }
                }
            }
            list.push(Relation {
                name: Name::new(relation),
                rewrite,
                restrictions,
                source: Source::default(),
            });
        }
        model.types.push(TypeDef {
            name: Name::new(name),
            relations: list,
            source: Source::default(),
            extends: false,
        });
    }
    let used: Vec<&str> = model
        .types
        .iter()
        .flat_map(|t| &t.relations)
        .flat_map(|r| &r.restrictions)
        .filter_map(|r| r.condition.as_ref().map(|c| &*c.text))
        .collect();
    let conditions =
        conditions.into_iter().map(|(c, _)| c).filter(|c| used.contains(&&*c.name.text)).collect();
    Model { conditions, ..model }
}

fn rewrite(random: &mut Random, own: &[&str], depth: usize, direct: bool) -> Rewrite {
    let kind = random.below(if depth == 0 { 10 } else { 20 });
    match kind {
        0..=4 if direct => Rewrite::This,
        0..=6 => Rewrite::Computed(Name::new(random.word(own))),
        7..=9 => Rewrite::FromTupleset {
            computed: Name::new(random.word(&RELATIONS)),
            tupleset: Name::new(if own.contains(&"parent") { "parent" } else { random.word(own) }),
        },
        10..=15 => {
            let count = 2 + random.below(2);
            let children = (0..count).map(|n| rewrite(random, own, depth - 1, direct && n == 0)).collect();
            if kind < 13 { Rewrite::Union(children) } else { Rewrite::Intersection(children) }
        }
        _ => Rewrite::Difference(Box::new((
            rewrite(random, own, depth - 1, direct),
            rewrite(random, own, depth - 1, false),
        ))),
    }
}

fn restriction(
    random: &mut Random,
    relations: &[(&str, Vec<&str>)],
    tupleset: bool,
    conditions: Option<&Vec<Conditions>>,
) -> Restriction {
    let (mut subject, mut facet) = (relations[0].0, Facet::One);
    if tupleset {
        subject = relations[2 + random.below(relations.len() - 2)].0;
    } else {
        match random.below(10) {
            0..=4 => subject = relations[random.below(2)].0,
            5 => facet = Facet::Everybody,
            _ => {
                let (name, own) = &relations[2 + random.below(relations.len() - 2)];
                subject = name;
                facet = Facet::Related(Name::new(random.word(own)));
            }
        }
    }
    let condition = match conditions {
        Some(list) if random.percent(35) => Some(random.pick(list).0.name.clone()),
        _ => None,
    };
    Restriction { subject: Name::new(subject), facet, condition }
}

fn tuple(random: &mut Random, model: &Model) -> Option<Tuple> {
    let with: Vec<_> = model
        .types
        .iter()
        .flat_map(|t| t.relations.iter().map(move |r| (t, r)))
        .filter(|(_, r)| !r.restrictions.is_empty())
        .collect();
    if with.is_empty() {
        return None;
    }
    let (type_def, relation) = random.pick(&with);
    let restriction = random.pick(&relation.restrictions);
    let object = format!("{}:{}", type_def.name.text, random.pick(&IDS));
    let one = format!("{}:{}", restriction.subject.text, random.pick(&IDS));
    let subject = match &restriction.facet {
        Facet::One => one,
        Facet::Everybody => format!("{}:*", restriction.subject.text),
        Facet::Related(name) => format!("{one}#{}", name.text),
    };
    if subject == format!("{object}#{}", relation.name.text) {
        return None;
    }
    let condition = restriction.condition.as_ref().map(|name| {
        let mut context = Map::new();
        let all = conditions();
        let (_, values) = all.iter().find(|(c, _)| c.name == *name).unwrap();
        for (parameter, list) in values {
            if random.percent(40) {
                // The last value is of another type: no tuple could be written with it.
                context.insert((*parameter).to_owned(), list[random.below(list.len() - 1)].clone());
            }
        }
        Conditioned { name: name.text.clone(), context }
    });
    Some(Tuple {
        object: object.into(),
        relation: relation.name.text.clone(),
        subject: subject.into(),
        condition,
    })
}

fn question(random: &mut Random, model: &Model, tuples: &[Tuple], values: &[(&str, Vec<Value>)]) -> Asked {
    let with: Vec<_> = model.types.iter().filter(|t| !t.relations.is_empty()).collect();
    let type_def = random.pick(&with);
    let relation = random.pick(&type_def.relations);
    let mut object = format!("{}:{}", type_def.name.text, random.pick(&IDS));
    let mut relation = relation.name.text.to_string();
    let mut subject = format!("user:{}", random.pick(&IDS));
    match random.below(20) {
        0 => "user:*".clone_into(&mut subject),
        1..=2 => {
            let other = random.pick(&with);
            let name = &random.pick(&other.relations).name.text;
            subject = format!("{}:{}#{name}", other.name.text, random.pick(&IDS));
        }
        3..=4 => subject = format!("{}:{}", random.pick(&model.types).name.text, random.pick(&IDS)),
        // A subject that somebody knows, and a question that is more likely to be true.
        5..=11 if !tuples.is_empty() => {
            let tuple = random.pick(tuples);
            object = tuple.object.to_string();
            relation = tuple.relation.to_string();
            subject = tuple.subject.to_string();
        }
        12 if random.percent(80) => match random.below(5) {
            0 => "robot:1".clone_into(&mut subject),
            1 => "nobody".clone_into(&mut subject),
            2 => "reader".clone_into(&mut relation),
            3 => "page:1".clone_into(&mut object),
            _ => "group:a#boss".clone_into(&mut subject),
        },
        _ => {}
    }
    let mut context = Map::new();
    let mood = random.below(10);
    for (parameter, list) in values {
        let at = match mood {
            // All there, and of their types.
            0..=5 => random.below(list.len() - 1),
            6..=7 => random.below(list.len()),
            // Some are missing.
            _ if random.percent(50) => continue,
            _ => random.below(list.len()),
        };
        context.insert((*parameter).to_owned(), list[at].clone());
    }
    let mut own: Vec<Tuple> = Vec::new();
    if random.percent(20) {
        for _ in 0..1 + random.below(3) {
            let fresh = tuple(random, model);
            let same = |a: &Tuple, b: &Tuple| {
                a.object == b.object && a.relation == b.relation && a.subject == b.subject
            };
            if let Some(fresh) = fresh.filter(|f| !own.iter().any(|t| same(t, f))) {
                own.push(fresh);
            }
        }
        if random.percent(5) {
            own.push(Tuple {
                object: object.as_str().into(),
                relation: relation.as_str().into(),
                subject: "robot:1".into(),
                condition: None,
            });
        }
    }
    Asked { subject, relation, object, tuples: own, context }
}

/// A tuple as OpenFGA's API takes it.
pub(crate) fn tuple_json(tuple: &Tuple) -> Value {
    let mut out = json!({"user": tuple.subject, "relation": tuple.relation, "object": tuple.object});
    if let Some(condition) = &tuple.condition {
        out["condition"] = json!({"name": condition.name, "context": condition.context});
    }
    out
}

/// The requests that ask about a case: the model, the tuples, and all questions at once.
pub(crate) fn requests(case: &Case) -> (Value, Vec<Value>, Value) {
    let tuples = case.tuples.iter().map(tuple_json).collect();
    let checks: Vec<Value> = case
        .questions
        .iter()
        .enumerate()
        .map(|(n, q)| {
            json!({
                "correlation_id": n.to_string(),
                "tuple_key": {"user": q.subject, "relation": q.relation, "object": q.object},
                "contextual_tuples": {"tuple_keys": q.tuples.iter().map(tuple_json).collect::<Vec<_>>()},
                "context": q.context,
            })
        })
        .collect();
    (json::print(&case.model), tuples, json!({ "checks": checks }))
}
