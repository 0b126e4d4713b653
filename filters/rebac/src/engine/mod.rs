//! The engine: a model and tuples, made so that a question is answered with few steps and next to no memory.
//!
//! | module | one idea |
//! |---|---|
//! | [`schema`] | a model by numbers, and who can ever reach what |
//! | [`names`] | objects by numbers |
//! | [`sorting`] | sorting in pieces |
//! | [`store`] | tuples in one sorted list |
//! | [`edges`] | the tuples of one object's relation |
//! | [`numbers`] | the names of a question by numbers |
//! | [`outcome`] | what an answer says |
//! | [`check`] | the answer to a question |

mod check;
mod edges;
mod names;
mod numbers;
pub mod outcome;
pub mod schema;
mod sorting;
pub mod store;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use crate::model::{Model, ModelError};
use crate::tuples::{Given, Tuple};
use check::Run;
pub use outcome::{Answer, Fault, Hop};
use schema::Schema;
use store::Store;

/// The longest way from an object to a subject, in tuples, as in OpenFGA.
pub const MAX_DEPTH: u32 = 25;

/// A model with its tuples.
#[derive(Debug, Default)]
pub struct Engine {
    schema: Schema,
    /// Replaced as a whole while answers are given.
    store: RefCell<Rc<Store>>,
    /// Whether its tuples may be used.
    ready: Cell<bool>,
}

/// Why an engine could not be made.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadError {
    /// The model is wrong.
    Model(Vec<ModelError>),
    /// A tuple does not fit the model.
    Tuple {
        /// Which one, from 0.
        at: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Model(errors) => match errors.first() {
                Some(first) => write!(f, "{first}"),
                None => f.write_str("not a model"),
            },
            LoadError::Tuple { at, problem } => write!(f, "tuple {at}: {problem}"),
        }
    }
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `user:ann`, `user:*` or `group:1#member`
    pub subject: &'a str,
    /// `viewer`
    pub relation: &'a str,
    /// `document:1`
    pub object: &'a str,
    /// Tuples that hold for this question alone. One of these counts instead of a stored one on the same three.
    pub tuples: &'a [Tuple],
    /// Values for the parameters of conditions.
    pub context: &'a Map<String, Json>,
    /// The most steps that the answer may take.
    pub steps: u32,
    /// Whether the answer says which tuples grant.
    pub explain: bool,
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unaskable {
    /// The subject is none, or of no type or relation of the model.
    Subject(String),
    /// The relation is none of the object's type.
    Relation(String),
    /// The object is none, or of no type of the model.
    Object(String),
    /// A tuple of the question does not fit the model.
    Tuple(String),
}

impl Engine {
    /// Loads a model that was read, and its tuples.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(model: &Model, tuples: &[Tuple]) -> Result<Engine, LoadError> {
        let schema = Schema::new(model).map_err(LoadError::Model)?;
        let store = Store::new(&schema, tuples).map_err(|(at, problem)| LoadError::Tuple { at, problem })?;
        Ok(Engine { schema, store: RefCell::new(Rc::new(store)), ready: Cell::new(true) })
    }

    /// Whether it has no model: another engine is asked. What would be held to a model then is held to that engine's grammar alone.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.schema.is_empty()
    }

    /// The tuples.
    #[must_use]
    pub fn store(&self) -> Rc<Store> {
        Rc::clone(&self.store.borrow())
    }

    /// Answers from other tuples from now on. They were made with this engine's schema.
    pub fn replace(&self, store: Store) {
        *self.store.borrow_mut() = Rc::new(store);
    }

    /// Whether its tuples may be used: they are there, and not too old.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Says whether its tuples may be used.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(ready);
    }

    /// The model, by numbers.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Holds a tuple to the model.
    ///
    /// # Errors
    /// What does not fit.
    pub fn fits(&self, tuple: Given<'_>) -> Result<(), String> {
        store::fits(&self.schema, tuple).map(drop)
    }

    /// Answers a question.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn check(&self, question: Question<'_>) -> Result<Answer, Unaskable> {
        let store = self.store();
        Run::new(&self.schema, &store, question).map(Run::answer)
    }
}

#[cfg(test)]
mod tests;
