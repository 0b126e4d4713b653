//! One model out of several files, each a module or a part of one (schema 1.2).

use super::parser;
use super::{Kind, Model, ModelError, Name, Span, TypeDef};

/// Joins modules. Each file is its name and its text.
///
/// # Errors
/// What is wrong in the files, each with its file's name.
pub fn join(files: &[(&str, &str)], schema: &str) -> Result<Model, Vec<ModelError>> {
    let mut model = Model { schema: Some(Name::new(schema)), ..Model::default() };
    let (mut errors, mut extensions) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let found = match parser::parse(text) {
            Ok(found) => found,
            Err(problems) => {
                errors.extend(problems.into_iter().map(|e| in_file(e, file)));
                continue;
            }
        };
        if found.schema.is_some() {
            let problem = "no module; begin with `module` and its name";
            errors.push(in_file(ModelError::new(Kind::Module, Span::default(), problem), file));
            continue;
        }
        for mut type_def in found.types {
            if type_def.extends {
                extensions.push((*file, type_def));
            } else if model.types.iter().any(|t| t.name == type_def.name) {
                errors.push(in_file(twice(&type_def.name, "the type is defined in another file too"), file));
            } else {
                type_def.source.file = Some((*file).into());
                model.types.push(type_def);
            }
        }
        for mut condition in found.conditions {
            if model.conditions.iter().any(|c| c.name == condition.name) {
                errors.push(in_file(
                    twice(&condition.name, "the condition is defined in another file too"),
                    file,
                ));
            } else {
                condition.source.file = Some((*file).into());
                model.conditions.push(condition);
            }
        }
    }
    for (file, extension) in extensions {
        errors.extend(extend(&mut model, file, extension).into_iter().map(|e| in_file(e, file)));
    }
    if errors.is_empty() {
        return Ok(model);
    }
    // Whoever mends a model likes to see all that is wrong with it.
    super::validate::names(&model, &mut errors);
    Err(errors)
}

fn extend(model: &mut Model, file: &str, extension: TypeDef) -> Vec<ModelError> {
    let Some(original) = model.types.iter_mut().find(|t| t.name == extension.name) else {
        let problem =
            format!("{}: no file defines this type; define it, or write `type`", extension.name.text);
        return vec![ModelError::new(Kind::Module, extension.name.span, problem)];
    };
    let mut errors = Vec::new();
    for mut relation in extension.relations {
        if original.relation(&relation.name.text).is_some() {
            errors.push(twice(&relation.name, "the type has a relation of this name already; rename one"));
        } else {
            relation.source.file = Some(file.into());
            original.relations.push(relation);
        }
    }
    errors
}

fn twice(name: &Name, problem: &str) -> ModelError {
    ModelError::new(Kind::Module, name.span, format!("{}: {problem}", name.text))
}

fn in_file(error: ModelError, file: &str) -> ModelError {
    ModelError { file: Some(file.into()), ..error }
}
