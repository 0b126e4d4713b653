//! Stores, models, tuples and checks of OpenFGA.

use serde_json::{Value, json};

use super::Engine;
use super::start::Kind;

/// A server with one store and one model.
pub struct Openfga {
    /// The server.
    pub server: Engine,
    /// The store's id.
    pub store: String,
    /// The model's id.
    pub model: String,
}

impl Openfga {
    /// Starts a server, with a store that has this model. Options such as those for its caches go to the server.
    ///
    /// # Panics
    /// If it does not start, or does not take the model.
    pub async fn start(model: &str, options: &[&str]) -> Openfga {
        let mut openfga = Openfga {
            server: Engine::start(Kind::Openfga, options),
            store: String::new(),
            model: String::new(),
        };
        openfga.fill(model).await;
        openfga
    }

    /// Makes a store with this model; the ids are new.
    ///
    /// # Panics
    /// If the server does not take it.
    pub async fn fill(&mut self, model: &str) {
        let model = portcullis_rebac::model::parser::parse(model).expect("a model");
        let model = portcullis_rebac::model::json::print(&model);
        self.store = text(&self.done("/stores", &json!({"name": "portcullis"})).await, "id");
        let path = format!("/stores/{}/authorization-models", self.store);
        self.model = text(&self.done(&path, &model).await, "authorization_model_id");
    }

    async fn done(&self, path: &str, body: &Value) -> Value {
        let answer = self.server.post(path, None, body).await;
        assert!(answer.status < 300, "{path}: {} {}\n{body}", answer.status, answer.text());
        answer.json()
    }

    /// Writes tuples, each as `document:1#viewer@user:ann` or as an object.
    pub async fn write(&self, tuples: &[Value]) {
        let keys: Vec<Value> = tuples.iter().map(key).collect();
        let path = format!("/stores/{}/write", self.store);
        self.done(&path, &json!({"writes": {"tuple_keys": keys}, "authorization_model_id": self.model}))
            .await;
    }

    /// Deletes tuples.
    pub async fn delete(&self, tuples: &[Value]) {
        let keys: Vec<Value> = tuples.iter().map(key).collect();
        let path = format!("/stores/{}/write", self.store);
        self.done(&path, &json!({"deletes": {"tuple_keys": keys}, "authorization_model_id": self.model}))
            .await;
    }

    /// Asks, and gives its answer without its caches; `None` if it has none.
    pub async fn check(&self, subject: &str, relation: &str, object: &str, context: &Value) -> Option<bool> {
        let body = json!({
            "tuple_key": {"user": subject, "relation": relation, "object": object},
            "authorization_model_id": self.model,
            "context": context,
            "consistency": "HIGHER_CONSISTENCY"
        });
        let answer = self.server.post(&format!("/stores/{}/check", self.store), None, &body).await;
        (answer.status == 200).then(|| answer.json()["allowed"].as_bool().unwrap_or(false))
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer}")).to_owned()
}

fn key(tuple: &Value) -> Value {
    let Some(text) = tuple.as_str() else { return tuple.clone() };
    let (object, rest) = text.split_once('#').expect("object#relation@subject");
    let (relation, subject) = rest.split_once('@').expect("object#relation@subject");
    json!({"user": subject, "relation": relation, "object": object})
}
