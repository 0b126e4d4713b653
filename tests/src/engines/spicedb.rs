//! Schemas, relationships and checks of SpiceDB, by its HTTP gateway.

use serde_json::{Value, json};

use super::Engine;
use super::start::Kind;

/// The preshared key.
pub const KEY: &str = "a-key-of-the-tests";

/// A server.
pub struct Spicedb {
    /// The server.
    pub server: Engine,
}

impl Spicedb {
    /// Starts a server with this schema.
    ///
    /// # Panics
    /// If it does not start, or does not take the schema.
    pub async fn start(schema: &str, options: &[&str]) -> Spicedb {
        let spicedb = Spicedb { server: Engine::start(Kind::Spicedb(KEY), options) };
        spicedb.schema(schema).await;
        spicedb
    }

    /// Writes the schema.
    pub async fn schema(&self, schema: &str) {
        self.done("/v1/schema/write", &json!({"schema": schema})).await;
    }

    async fn done(&self, path: &str, body: &Value) -> Value {
        let answer = self.server.post(path, Some(KEY), body).await;
        assert!(answer.status < 300, "{path}: {} {}\n{body}", answer.status, answer.text());
        answer.json()
    }

    /// Writes relationships, each as `document:1#viewer@user:ann`; gives the ZedToken.
    pub async fn write(&self, relationships: &[&str]) -> String {
        self.change("OPERATION_TOUCH", relationships, None).await
    }

    /// Writes relationships that hold under a caveat.
    pub async fn write_with(&self, relationships: &[&str], caveat: &Value) -> String {
        self.change("OPERATION_TOUCH", relationships, Some(caveat)).await
    }

    /// Deletes relationships; gives the ZedToken.
    pub async fn delete(&self, relationships: &[&str]) -> String {
        self.change("OPERATION_DELETE", relationships, None).await
    }

    async fn change(&self, operation: &str, relationships: &[&str], caveat: Option<&Value>) -> String {
        let updates = relationships.iter().map(|text| {
            let mut relationship = parts(text);
            if let Some(caveat) = caveat {
                relationship["optionalCaveat"] = caveat.clone();
            }
            json!({"operation": operation, "relationship": relationship})
        });
        let body = json!({"updates": updates.collect::<Vec<_>>()});
        let answer = self.done("/v1/relationships/write", &body).await;
        answer["writtenAt"]["token"].as_str().expect("a token").to_owned()
    }

    /// Asks for the newest answer: `PERMISSIONSHIP_HAS_PERMISSION` and so on; the status if there is none.
    pub async fn check(&self, subject: &str, permission: &str, object: &str, context: &Value) -> String {
        let mut body = parts(&format!("{object}#{permission}@{subject}"));
        body["permission"] = permission.into();
        body.as_object_mut().expect("an object").remove("relation");
        body["consistency"] = json!({"fullyConsistent": true});
        body["context"] = context.clone();
        let answer = self.server.post("/v1/permissions/check", Some(KEY), &body).await;
        match answer.status {
            200 => answer.json()["permissionship"].as_str().unwrap_or_default().to_owned(),
            status => status.to_string(),
        }
    }
}

fn parts(text: &str) -> Value {
    let (object, rest) = text.split_once('#').expect("object#relation@subject");
    let (relation, subject) = rest.split_once('@').expect("object#relation@subject");
    let (subject, of) = subject.split_once('#').map_or((subject, ""), |(subject, of)| (subject, of));
    let reference = |text: &str| {
        let (kind, id) = text.split_once(':').expect("type:id");
        json!({"objectType": kind, "objectId": id})
    };
    json!({
        "resource": reference(object),
        "relation": relation,
        "subject": {"object": reference(subject), "optionalRelation": of}
    })
}
