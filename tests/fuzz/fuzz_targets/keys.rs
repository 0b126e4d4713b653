//! Key sets: no panic, and every key that is kept is strong and bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_common::json;
use portcullis_jwt_auth::algorithm::Algorithm;
use portcullis_jwt_auth::keys::{KeySet, Material};
use serde_json::{Map, Value};

fuzz_target!(|set: &[u8]| {
    let Ok(set) = json::object(set, 4096) else { return };
    let Some(Value::Array(keys)) = set.get("keys") else { return };
    let keys: Vec<Map<String, Value>> = keys.iter().filter_map(|k| k.as_object().cloned()).collect();
    let Ok((set, skipped)) = KeySet::load(&keys) else { return };
    assert!(set.len() + skipped.len() <= keys.len());
    for key in set.iter() {
        let allowed = Algorithm::ALL.into_iter().filter(|a| key.allows(*a)).count();
        assert!((1..=6).contains(&allowed));
        match &key.material {
            Material::Rsa(key) => assert!((256..=512).contains(&key.bytes())),
            Material::Hmac(secret) => assert!(secret.len() >= 32),
            _ => {}
        }
    }
});
