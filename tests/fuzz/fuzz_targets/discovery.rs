//! What servers answer: metadata, key sets and deny lists. No panic, nobody is sent elsewhere, and what is kept is strong.

#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use portcullis_common::snapshot::target::Url;
use portcullis_jwt_auth::deny::Deny;
use portcullis_jwt_auth::discovery::{Clusters, Discovery};
use portcullis_jwt_auth::keys::{MAX_KEYS, Material};
use portcullis_jwt_auth::servers::read_keys;

fuzz_target!(|body: &[u8]| {
    let hosts = [("keys.test".to_owned(), "keys".to_owned()), ("id.test:8443".to_owned(), "id".to_owned())];
    let discovery = Discovery {
        issuers: vec!["https://id.test".into()],
        clusters: Rc::new(Clusters::new(hosts.into())),
        secure: true,
    };
    if let Ok(target) = discovery.follow(body) {
        let text = std::str::from_utf8(body).expect("JSON is text");
        assert!(target.url.secure && ["keys", "id"].contains(&&*target.cluster));
        assert!(["keys.test", "id.test:8443"].contains(&&*target.url.authority) && text.contains("issuer"));
        assert!(target.url.path.starts_with('/') && target.url.path.bytes().all(|b| b.is_ascii_graphic()));
    }
    let mut mistake = None;
    let read = read_keys(body, &["sig"], &mut mistake);
    assert!(mistake.is_none_or(|(at, _)| at < MAX_KEYS));
    if let Ok((set, skipped)) = read {
        assert!((1..=MAX_KEYS).contains(&set.len()) && set.len() + skipped <= MAX_KEYS);
        assert!(set.iter().all(|key| !matches!(key.material, Material::Hmac(_))), "a secret from a server");
    }
    let _ = Deny::read(body);
    if let Some(url) = std::str::from_utf8(body).ok().and_then(Url::parse) {
        assert!(!url.authority.contains('@') && !url.path.contains('#'));
    }
});
