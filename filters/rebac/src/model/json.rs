//! Models as JSON: what OpenFGA's API takes and gives.
//!
//! Names in both spellings, `type_definitions` and `typeDefinitions`, as protobuf's JSON has it. JSON does not keep the order of
//! relations, and has no places that an error could name: it names the path instead.

use serde_json::{Map, Value, json};

use super::parser::{MAX_BYTES, MAX_NESTING};
use super::{
    Condition, Facet, Kind, Model, ModelError, Name, PLAIN_TYPES, ParameterType, Relation, Restriction,
    Rewrite, Source, Span, TypeDef,
};

/// Reads a model.
///
/// # Errors
/// Where it is not what a model looks like.
pub fn parse(text: &str) -> Result<Model, ModelError> {
    if text.len() > MAX_BYTES {
        return Err(ModelError::new(Kind::TooLarge, Span::default(), "the model is larger than 256 KiB"));
    }
    let value: Value = serde_json::from_str(text).map_err(|problem| {
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_sub(1);
        let (line, column) = (at(problem.line()), at(problem.column()));
        let span = Span { line, start: column, end: column };
        ModelError::new(Kind::Syntax, span, format!("not JSON: {problem}"))
    })?;
    if let Some(conditions) = value.get("conditions").and_then(Value::as_object) {
        for (key, condition) in conditions {
            let name = condition.get("name").and_then(Value::as_str).unwrap_or(key);
            if name != key {
                let problem = format!("conditions.{key}.name: {name}; write {key}");
                return Err(ModelError::new(Kind::ConditionName, Span::default(), problem));
            }
        }
    }
    model(&value).map_err(|problem| ModelError::new(Kind::Syntax, Span::default(), problem))
}

type Read<T> = Result<T, String>;

/// The model in a JSON value.
///
/// # Errors
/// Where it is not what a model looks like.
pub fn model(value: &Value) -> Read<Model> {
    let model = Object::new(value, "")?;
    let schema = model.text("schema_version", "schemaVersion")?;
    let mut types = Vec::new();
    for (n, item) in model.list("type_definitions", "typeDefinitions")?.iter().enumerate() {
        types.push(type_def(&Object::new(item, &format!("type_definitions[{n}]"))?)?);
    }
    let mut conditions = Vec::new();
    for (key, value) in model.entries("conditions", "conditions")? {
        let condition = condition(&Object::new(value, &format!("conditions.{key}"))?)?;
        conditions.push(condition);
    }
    Ok(Model { schema: schema.map(Name::new), types, conditions })
}

/// An object, and where it stands.
struct Object<'a> {
    fields: &'a Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    fn new(value: &'a Value, path: &str) -> Read<Object<'a>> {
        let fields = value.as_object().ok_or_else(|| format!("{path}: not an object"))?;
        Ok(Object { fields, path: path.to_owned() })
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&self, name: &str, camel: &str) -> Option<&'a Value> {
        self.fields.get(name).or_else(|| self.fields.get(camel)).filter(|v| !v.is_null())
    }

    fn text(&self, name: &str, camel: &str) -> Read<Option<&'a str>> {
        let Some(value) = self.get(name, camel) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| format!("{}: not a text", self.at(name)))?;
        Ok(Some(text).filter(|t| !t.is_empty()))
    }

    fn needed(&self, name: &str, camel: &str) -> Read<&'a str> {
        self.text(name, camel)?.ok_or_else(|| format!("{}: missing", self.at(name)))
    }

    fn list(&self, name: &str, camel: &str) -> Read<&'a [Value]> {
        let Some(value) = self.get(name, camel) else { return Ok(&[]) };
        value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{}: not a list", self.at(name)))
    }

    fn object(&self, name: &str, camel: &str) -> Read<Option<Object<'a>>> {
        self.get(name, camel).map(|value| Object::new(value, &self.at(name))).transpose()
    }

    fn part(&self, name: &str, camel: &str) -> Read<Object<'a>> {
        self.object(name, camel)?.ok_or_else(|| format!("{}: missing", self.at(name)))
    }

    fn entries(&self, name: &str, camel: &str) -> Read<Vec<(&'a String, &'a Value)>> {
        Ok(self.object(name, camel)?.map(|o| o.fields.iter().collect()).unwrap_or_default())
    }
}

fn source(metadata: Option<&Object<'_>>) -> Read<Source> {
    let Some(metadata) = metadata else { return Ok(Source::default()) };
    let file = match metadata.object("source_info", "sourceInfo")? {
        Some(info) => info.text("file", "file")?,
        None => None,
    };
    Ok(Source { module: metadata.text("module", "module")?.map(Into::into), file: file.map(Into::into) })
}

fn type_def(object: &Object<'_>) -> Read<TypeDef> {
    let name = Name::new(object.needed("type", "type")?);
    let metadata = object.object("metadata", "metadata")?;
    let of_relations = match &metadata {
        Some(metadata) => metadata.object("relations", "relations")?,
        None => None,
    };
    let mut relations = Vec::new();
    for (key, value) in object.entries("relations", "relations")? {
        let path = object.at(&format!("relations.{key}"));
        let rewrite = rewrite(&Object::new(value, &path)?, MAX_NESTING)?;
        let own = match &of_relations {
            Some(all) => all.object(key, key)?,
            None => None,
        };
        let mut restrictions = Vec::new();
        if let Some(own) = &own {
            let list = own.list("directly_related_user_types", "directlyRelatedUserTypes")?;
            for (n, item) in list.iter().enumerate() {
                let path = own.at(&format!("directly_related_user_types[{n}]"));
                restrictions.push(restriction(&Object::new(item, &path)?)?);
            }
        }
        if !restrictions.is_empty() && !rewrite.is_direct() {
            return Err(format!(
                "{path}: cannot be given directly, but has types; remove them, or add this: {{}}"
            ));
        }
        relations.push(Relation {
            name: Name::new(key),
            rewrite,
            restrictions,
            source: source(own.as_ref())?,
        });
    }
    Ok(TypeDef { name, relations, source: source(metadata.as_ref())?, extends: false })
}

fn restriction(object: &Object<'_>) -> Read<Restriction> {
    let relation = object.text("relation", "relation")?;
    if relation.is_none() && object.get("relation", "relation").is_some() {
        return Err(format!("{}: empty; write a relation, or leave it out", object.at("relation")));
    }
    let wildcard = object.get("wildcard", "wildcard").is_some();
    let facet = match (relation, wildcard) {
        (Some(relation), false) => Facet::Related(Name::new(relation)),
        (None, true) => Facet::Everybody,
        (None, false) => Facet::One,
        (Some(_), true) => return Err(format!("{}: relation and wildcard; write one of them", object.path)),
    };
    let condition = object.text("condition", "condition")?.map(Name::new);
    Ok(Restriction { subject: Name::new(object.needed("type", "type")?), facet, condition })
}

fn rewrite(object: &Object<'_>, depth: u32) -> Read<Rewrite> {
    let deeper = depth.checked_sub(1).ok_or_else(|| format!("{}: nested too deep", object.path))?;
    let children = |inner: &Object<'_>, least: usize| {
        let list = inner.list("child", "child")?;
        if list.len() < least {
            return Err(format!("{}: fewer than {least} children", inner.path));
        }
        let one = |(n, item): (usize, &Value)| {
            rewrite(&Object::new(item, &inner.at(&format!("child[{n}]")))?, deeper)
        };
        list.iter().enumerate().map(one).collect::<Read<Vec<_>>>()
    };
    let relation = |inner: &Object<'_>| Ok::<_, String>(Name::new(inner.needed("relation", "relation")?));
    if object.get("this", "this").is_some() {
        return Ok(Rewrite::This);
    }
    if let Some(inner) = object.object("computed_userset", "computedUserset")? {
        return relation(&inner).map(Rewrite::Computed);
    }
    if let Some(inner) = object.object("tuple_to_userset", "tupleToUserset")? {
        let computed = relation(&inner.part("computed_userset", "computedUserset")?)?;
        let tupleset = relation(&inner.part("tupleset", "tupleset")?)?;
        return Ok(Rewrite::FromTupleset { computed, tupleset });
    }
    if let Some(inner) = object.object("union", "union")? {
        return children(&inner, 1).map(Rewrite::Union);
    }
    if let Some(inner) = object.object("intersection", "intersection")? {
        return children(&inner, 2).map(Rewrite::Intersection);
    }
    if let Some(inner) = object.object("difference", "difference")? {
        let part = |name: &str| rewrite(&inner.part(name, name)?, deeper);
        return Ok(Rewrite::Difference(Box::new((part("base")?, part("subtract")?))));
    }
    Err(format!(
        "{}: no definition; write one of this, computedUserset, tupleToUserset, union, intersection, difference",
        object.path
    ))
}

fn condition(object: &Object<'_>) -> Read<Condition> {
    let mut parameters = Vec::new();
    for (key, value) in object.entries("parameters", "parameters")? {
        let path = object.at(&format!("parameters.{key}"));
        parameters.push((Name::new(key), parameter_type(&Object::new(value, &path)?, 2)?));
    }
    Ok(Condition {
        name: Name::new(object.needed("name", "name")?),
        parameters,
        expression: object.needed("expression", "expression")?.into(),
        source: source(object.object("metadata", "metadata")?.as_ref())?,
    })
}

const PREFIX: &str = "TYPE_NAME_";

fn parameter_type(object: &Object<'_>, depth: u32) -> Read<ParameterType> {
    let text = object.needed("type_name", "typeName")?;
    let unknown = || format!("{}: {text} is no type; write TYPE_NAME_STRING, say", object.path);
    let name = text.strip_prefix(PREFIX).ok_or_else(unknown)?.to_ascii_lowercase();
    if let Some((_, plain)) = PLAIN_TYPES.iter().find(|(plain, _)| **plain == name) {
        return Ok(plain.clone());
    }
    let deeper = depth.checked_sub(1).ok_or_else(|| format!("{}: nested too deep", object.path))?;
    let inner = || {
        let [one] = object.list("generic_types", "genericTypes")? else {
            return Err(format!(
                "{}.generic_types: not one type; write [{{type_name: TYPE_NAME_STRING}}], say",
                object.path
            ));
        };
        parameter_type(&Object::new(one, &object.at("generic_types[0]"))?, deeper).map(Box::new)
    };
    match name.as_str() {
        "list" => inner().map(ParameterType::List),
        "map" => inner().map(ParameterType::Map),
        _ => Err(unknown()),
    }
}

/// The model as JSON.
#[must_use]
pub fn print(model: &Model) -> Value {
    let types: Vec<Value> = model.types.iter().map(print_type).collect();
    let conditions: Map<String, Value> =
        model.conditions.iter().map(|c| (c.name.text.to_string(), print_condition(c))).collect();
    let schema = model.schema.as_ref().map_or("", |s| &s.text);
    let mut all = json!({"schema_version": schema, "type_definitions": types});
    if !conditions.is_empty() {
        insert(&mut all, "conditions", Value::Object(conditions));
    }
    all
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

fn print_source(source: &Source) -> Value {
    let mut out = json!({});
    if let Some(module) = &source.module {
        insert(&mut out, "module", json!(module));
    }
    if let Some(file) = &source.file {
        insert(&mut out, "source_info", json!({ "file": file }));
    }
    out
}

fn print_type(type_def: &TypeDef) -> Value {
    let mut relations = Map::new();
    let mut metadata = Map::new();
    for relation in &type_def.relations {
        let name = relation.name.text.to_string();
        relations.insert(name.clone(), print_rewrite(&relation.rewrite));
        let subjects: Vec<Value> = relation.restrictions.iter().map(print_restriction).collect();
        let mut own = print_source(&relation.source);
        insert(&mut own, "directly_related_user_types", Value::Array(subjects));
        metadata.insert(name, own);
    }
    let mut own = print_source(&type_def.source);
    if !metadata.is_empty() {
        insert(&mut own, "relations", Value::Object(metadata));
    }
    let own = if own == json!({}) { Value::Null } else { own };
    json!({"type": type_def.name.text, "relations": relations, "metadata": own})
}

fn print_restriction(restriction: &Restriction) -> Value {
    let mut out = json!({"type": restriction.subject.text});
    match &restriction.facet {
        Facet::One => {}
        Facet::Everybody => insert(&mut out, "wildcard", json!({})),
        Facet::Related(relation) => insert(&mut out, "relation", json!(relation.text)),
    }
    if let Some(condition) = &restriction.condition {
        insert(&mut out, "condition", json!(condition.text));
    }
    out
}

fn print_rewrite(rewrite: &Rewrite) -> Value {
    let all = |children: &[Rewrite]| children.iter().map(print_rewrite).collect::<Vec<_>>();
    match rewrite {
        Rewrite::This => json!({"this": {}}),
        Rewrite::Computed(name) => json!({"computedUserset": {"relation": name.text}}),
        Rewrite::FromTupleset { computed, tupleset } => json!({"tupleToUserset": {
            "computedUserset": {"relation": computed.text},
            "tupleset": {"relation": tupleset.text},
        }}),
        Rewrite::Union(children) => json!({"union": {"child": all(children)}}),
        Rewrite::Intersection(children) => json!({"intersection": {"child": all(children)}}),
        Rewrite::Difference(both) => json!({"difference": {
            "base": print_rewrite(&both.0),
            "subtract": print_rewrite(&both.1),
        }}),
    }
}

fn print_condition(condition: &Condition) -> Value {
    let parameters: Map<String, Value> = condition
        .parameters
        .iter()
        .map(|(name, kind)| (name.text.to_string(), print_parameter(kind)))
        .collect();
    let mut out = json!({
        "name": condition.name.text,
        "expression": condition.expression,
        "parameters": parameters,
    });
    let source = print_source(&condition.source);
    if source != json!({}) {
        insert(&mut out, "metadata", source);
    }
    out
}

fn print_parameter(kind: &ParameterType) -> Value {
    let named = |name: &str| format!("{PREFIX}{}", name.to_ascii_uppercase());
    match kind {
        ParameterType::List(inner) => {
            json!({"type_name": named("list"), "generic_types": [print_parameter(inner)]})
        }
        ParameterType::Map(inner) => {
            json!({"type_name": named("map"), "generic_types": [print_parameter(inner)]})
        }
        plain => json!({"type_name": named(&plain.to_string())}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a restriction to users.
    fn wrong(restriction: &Value) -> Option<String> {
        let mut user = json!({"type": "user"});
        let object = user.as_object_mut().unwrap();
        object.extend(restriction.as_object().unwrap().clone());
        let model = json!({"schema_version": "1.1", "type_definitions": [{"type": "user"}, {
            "type": "document",
            "relations": {"viewer": {"this": {}}},
            "metadata": {"relations": {"viewer": {"directly_related_user_types": [user]}}},
        }]});
        parse(&model.to_string()).err().map(|e| e.to_string())
    }

    #[test]
    fn a_restriction_has_a_relation_or_a_wildcard_or_neither() {
        assert_eq!(wrong(&json!({})), None);
        assert_eq!(wrong(&json!({"wildcard": {}, "condition": ""})), None);
        // OpenFGA's server refuses it too.
        let empty = wrong(&json!({"relation": ""})).unwrap();
        assert!(empty.contains("relation: empty; write a relation, or leave it out"), "{empty}");
        let both = wrong(&json!({"relation": "member", "wildcard": {}})).unwrap();
        assert!(both.contains("relation and wildcard; write one of them"), "{both}");
    }
}
