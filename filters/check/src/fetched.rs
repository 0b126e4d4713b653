//! Documents that a plugin would fetch, from files.

use portcullis_common::filter::{Answer, Callout};
use serde_json::{Value, json};

/// What stands in for what would be fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Documents by their URL.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Key sets by the issuer whose keys they are.
    pub keys: Vec<(String, Vec<u8>)>,
}

/// The URL of a call, without its scheme, which a call does not tell.
#[must_use]
pub fn url(callout: &Callout) -> Option<String> {
    let Callout::Http { headers, .. } = callout else { return None };
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    Some(format!("{}{}", header(":authority")?, header(":path")?))
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

impl Fetched {
    /// The answer to a call of the plugin with this configuration, if there is a document for it.
    #[must_use]
    pub fn answer(&self, callout: &Callout, config: &Value) -> Option<Answer> {
        let wanted = url(callout)?;
        let given = self.documents.iter().find(|(url, _)| without_scheme(url) == wanted);
        let body = given.map(|(_, document)| document.clone()).or_else(|| self.of_issuer(&wanted, config))?;
        let response = vec![(b":status".to_vec(), b"200".to_vec())];
        Some(Answer::Http { response, status: 200, body })
    }

    /// The keys of the issuer whose provider would ask this URL. Where it asks for metadata first, they name the keys.
    fn of_issuer(&self, wanted: &str, config: &Value) -> Option<Vec<u8>> {
        for provider in config.get("providers")?.as_object()?.values() {
            let listed = provider.get("issuers").and_then(Value::as_array).into_iter().flatten();
            let mut issuers = provider.get("issuer").into_iter().chain(listed).filter_map(Value::as_str);
            let Some((issuer, keys)) = issuers.find_map(|i| self.keys.iter().find(|(known, _)| known == i))
            else {
                continue;
            };
            let keys_at = provider.get("keys")?;
            let several = keys_at.get("jwks_urls").and_then(Value::as_array).into_iter().flatten();
            let mut urls = keys_at.get("jwks_url").into_iter().chain(several).filter_map(Value::as_str);
            if urls.any(|url| without_scheme(url) == wanted) {
                return Some(keys.clone());
            }
            let Some(metadata) = keys_at.get("discovery").and_then(Value::as_str) else { continue };
            let host = metadata
                .find("://")
                .and_then(|at| metadata.get(at.saturating_add(3)..))?
                .split('/')
                .next()?;
            let named = format!(
                "{}{host}/portcullis-check/keys",
                metadata.split("://").next().map(|s| format!("{s}://"))?
            );
            if without_scheme(metadata) == wanted {
                return Some(json!({"issuer": issuer, "jwks_uri": named}).to_string().into_bytes());
            }
            if without_scheme(&named) == wanted {
                return Some(keys.clone());
            }
        }
        None
    }
}
