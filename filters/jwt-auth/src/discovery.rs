//! Documents that say where an issuer's keys are: OpenID Connect Discovery 1.0, section 4.3; RFC 8414, section 3.3.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_common::json;
use portcullis_common::snapshot::Unfit;
use portcullis_common::snapshot::target::{Target, Url};
use serde_json::Value;

/// The most values that a document may have.
const MAX_VALUES: u32 = 4096;

/// Envoy's cluster for each host that may be asked.
#[derive(Debug, Default)]
pub struct Clusters(Vec<(String, Rc<str>)>);

impl Clusters {
    /// What was written.
    #[must_use]
    pub fn new(raw: BTreeMap<String, String>) -> Clusters {
        Clusters(raw.into_iter().map(|(host, cluster)| (host.to_ascii_lowercase(), cluster.into())).collect())
    }

    /// The hosts and their clusters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(host, cluster)| (&**host, &**cluster))
    }

    /// The target of a URL, if its host may be asked.
    #[must_use]
    pub fn target(&self, url: Url) -> Option<Target> {
        // A port that a URL need not write may be written here as well.
        let port = Url::own_port(url.secure);
        let is_it = |host: &str| host.strip_suffix(port).unwrap_or(host) == &*url.authority;
        let (_, cluster) = self.0.iter().find(|(host, _)| is_it(host))?;
        let cluster = Rc::clone(cluster);
        Some(Target { url, cluster })
    }
}

/// How a document is read.
#[derive(Debug)]
pub struct Discovery {
    /// The issuers that it may be of.
    pub issuers: Vec<String>,
    /// Whom it may send us to.
    pub clusters: Rc<Clusters>,
    /// Whether it was asked for by `https`; then it cannot send us to `http`.
    pub secure: bool,
}

impl Discovery {
    /// Where the keys are.
    ///
    /// # Errors
    /// If the document is another issuer's, or names no place that may be asked.
    pub fn follow(&self, body: &[u8]) -> Result<Target, Unfit> {
        let document =
            json::object(body, MAX_VALUES).map_err(|_| Unfit("the metadata are no JSON object"))?;
        // Else whoever can answer for one issuer could hand in its keys for another.
        let issuer = document.get("issuer").and_then(Value::as_str);
        if !issuer.is_some_and(|issuer| self.issuers.iter().any(|own| own == issuer)) {
            return Err(Unfit("the metadata are another issuer's"));
        }
        let url = document.get("jwks_uri").and_then(Value::as_str).and_then(Url::parse);
        let url = url.ok_or(Unfit("the metadata name no jwks_uri"))?;
        if self.secure && !url.secure {
            return Err(Unfit("jwks_uri is http, and the metadata came by https"));
        }
        self.clusters.target(url).ok_or(Unfit("jwks_uri has a host that is not in clusters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_its_issuers_and_sends_nobody_elsewhere() {
        let clusters = [("keys.test".to_owned(), "c".to_owned())];
        let discovery = |secure| Discovery {
            issuers: vec!["https://id.test".into()],
            clusters: Rc::new(Clusters::new(clusters.clone().into())),
            secure,
        };
        let document =
            |issuer: &str, keys: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}","x":[1]}}"#);
        let follow = |secure, body: &str| discovery(secure).follow(body.as_bytes());
        let target = follow(true, &document("https://id.test", "https://Keys.test/a")).unwrap();
        assert_eq!((&*target.cluster, &*target.url.authority, &*target.url.path), ("c", "keys.test", "/a"));
        assert!(follow(false, &document("https://id.test", "http://keys.test/a")).is_ok());
        for same in ["HTTPS://keys.test/a", "https://KEYS.test:443/a"] {
            assert_eq!(follow(true, &document("https://id.test", same)), Ok(target.clone()), "{same}");
        }
        let written = Clusters::new([("keys.test:443".to_owned(), "c".to_owned())].into());
        assert_eq!(written.target(target.url.clone()), Some(target));
        assert_eq!(written.target(Url::parse("http://keys.test/a").unwrap()), None);
        for (issuer, keys) in [
            ("https://id.test/", "https://keys.test/a"),
            ("https://other.test", "https://keys.test/a"),
            ("", "https://keys.test/a"),
            ("https://id.test", "http://keys.test/a"),
            ("HTTPS://id.test", "https://keys.test/a"),
            ("https://id.test:443", "https://keys.test/a"),
            ("https://id.test", "HTTP://keys.test/a"),
            ("https://id.test", "https://keys.test:80/a"),
            ("https://id.test", "https://keys.test:8443/a"),
            ("https://id.test", "https://evil.test/a"),
            ("https://id.test", "https://keys.test@evil.test/a"),
            ("https://id.test", "/a"),
        ] {
            assert!(follow(true, &document(issuer, keys)).is_err(), "{issuer} {keys}");
        }
        for body in
            ["", "<html>", "[]", "{}", r#"{"issuer":"https://id.test"}"#, r#"{"issuer":["https://id.test"]}"#]
        {
            assert!(follow(true, body).is_err(), "{body}");
        }
        let twice =
            r#"{"issuer":"https://id.test","issuer":"https://id.test","jwks_uri":"https://keys.test/a"}"#;
        assert!(follow(true, twice).is_err(), "a member that stands twice says two things");
    }
}
