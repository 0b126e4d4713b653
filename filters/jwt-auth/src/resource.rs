//! The metadata of the protected resource: RFC 9728.

use std::rc::Rc;

use portcullis_common::answer::Reply;
use portcullis_common::facts::Verdict;
use portcullis_common::request::Request;
use serde_json::{Map, Value};

use crate::config::RawResource;

/// Where the document of a resource without a path lies (section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A checked resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The URL of the document, for challenges (section 5.1).
    pub url: Rc<str>,
    /// The path that is answered; `None` if somebody else serves the document.
    pub path: Option<Box<str>>,
    /// The document.
    pub document: Rc<[u8]>,
}

/// The name that stands for a rule in the verdict of a request for the document.
const RULE: &str = "_resource_metadata";

impl Resource {
    /// The document, if this is a request for it. The path is compared to the byte: any other spelling is for the rules.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Reply> {
        let path = self.path.as_ref()?;
        let asked = matches!(request.method(), b"GET" | b"HEAD") && request.path() == Some(path.as_bytes());
        asked.then(|| {
            let verdict = Verdict::skip(RULE.into());
            Reply::document("resource_metadata", "application/json", self.document.to_vec(), verdict)
        })
    }

    /// Checks what was written. `issuers` are those of the providers, `methods` how tokens may be sent (section 2,
    /// `bearer_methods_supported`).
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn new(
        raw: RawResource,
        issuers: Vec<String>,
        methods: Vec<&str>,
    ) -> Result<Resource, (&'static str, String)> {
        const RESOURCE: &str = "write the URL that clients use, such as https://api.example.com";
        let bad = |what: &str| ("resource", format!("{what}; {RESOURCE}"));
        let id = raw.resource.ok_or_else(|| bad("missing"))?;
        let rest = id.strip_prefix("https://").ok_or_else(|| bad("not an https URL"))?;
        // What stands in a challenge has to stay inside its quotes.
        let plain = |text: &str| text.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\');
        if !plain(rest) || rest.contains(['#', '?', '@']) {
            return Err(bad("a URL with a query, a fragment, a user or characters outside of ASCII"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(bad("a URL without a host"));
        }
        let servers = raw.authorization_servers.unwrap_or(issuers);
        if servers.is_empty()
            || servers.iter().any(|server| !server.starts_with("https://") || !plain(server))
        {
            let problem = "not https URLs; list the issuers whose tokens this API takes".to_owned();
            return Err(("authorization_servers", problem));
        }
        let empty = |field, text: &Option<Vec<String>>| match text {
            Some(list) if list.is_empty() || list.iter().any(String::is_empty) => {
                Err((field, "empty; write something, or leave it out".to_owned()))
            }
            _ => Ok(()),
        };
        empty("scopes_supported", &raw.scopes_supported)?;
        empty("resource_name", &raw.resource_name.clone().map(|text| vec![text]))?;
        empty("resource_documentation", &raw.resource_documentation.clone().map(|text| vec![text]))?;
        // The well-known part goes between host and path (section 3.1).
        let path = format!("{WELL_KNOWN}{}", path.strip_suffix('/').unwrap_or(path));
        let url = format!("https://{authority}{path}");
        let mut document = Map::new();
        document.insert("resource".into(), id.into());
        document.insert("authorization_servers".into(), servers.into());
        document.insert("bearer_methods_supported".into(), methods.into());
        for (name, value) in [
            ("scopes_supported", raw.scopes_supported.map(Value::from)),
            ("resource_name", raw.resource_name.map(Value::from)),
            ("resource_documentation", raw.resource_documentation.map(Value::from)),
        ] {
            if let Some(value) = value {
                document.insert(name.into(), value);
            }
        }
        let document = format!("{}\n", Value::Object(document)).into_bytes().into();
        let served = raw.serve.unwrap_or(true);
        Ok(Resource { url: url.into(), path: served.then(|| path.into()), document })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(json: &str) -> Result<Resource, (&'static str, String)> {
        Resource::new(serde_json::from_str(json).unwrap(), vec!["https://id.test".into()], vec!["header"])
    }

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        for (id, want) in [
            ("https://api.test", "https://api.test/.well-known/oauth-protected-resource"),
            ("https://api.test/", "https://api.test/.well-known/oauth-protected-resource"),
            ("https://api.test:8443/v1", "https://api.test:8443/.well-known/oauth-protected-resource/v1"),
        ] {
            let resource = resource(&format!(r#"{{"resource":"{id}"}}"#)).unwrap();
            assert_eq!(&*resource.url, want);
            let document: Value = serde_json::from_slice(&resource.document).unwrap();
            assert_eq!(document["resource"], id);
            assert_eq!(document["authorization_servers"][0], "https://id.test");
        }
        assert_eq!(resource(r#"{"resource":"https://a.test","serve":false}"#).unwrap().path, None);
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        for bad in [
            "{}",
            r#"{"resource":"http://api.test"}"#,
            r#"{"resource":"https://"}"#,
            r#"{"resource":"https://api.test/#a"}"#,
            r#"{"resource":"https://api.test/?a"}"#,
            r#"{"resource":"https://api.test/\""}"#,
            r#"{"resource":"https://api.test","authorization_servers":["id.test"]}"#,
        ] {
            assert!(resource(bad).is_err(), "{bad}");
        }
    }
}
