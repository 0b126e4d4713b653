//! What a label's value may not hold.
//!
//! The bootstrap takes names apart by expressions that are not anchored, and Istio's has some of its own for parts of
//! names that never were ours: a route `/cache.json` would lose a piece and gain a label `cache`. What the operator writes is
//! refused when the configuration loads; what comes from a token or from Envoy's routes is changed.

/// Beginnings of what Istio's bootstrap cuts out of any name (its `stats_tags`).
const RESERVED: [&str; 9] = [
    "cache.",
    "component.",
    "tag.",
    "wasm_filter.",
    "rbac.allowed",
    "rbac.denied",
    ".istio_dry_run_",
    ".shadow_allowed",
    ".shadow_denied",
];

/// The reserved piece in a text, if there is one.
#[must_use]
pub fn reserved(text: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|piece| text.contains(piece))
}

/// The text without any: its dots are gone if there was one. Never empty, for an empty label says that there was nothing.
#[must_use]
pub fn defused(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.as_ref() {
        "" => "_".to_owned(),
        text if reserved(text).is_some() => text.replace('.', "_"),
        text => text.to_owned(),
    }
}

/// What is wrong with a name that the operator wrote to stand in a label.
#[must_use]
pub fn problem(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > 128 {
        return Some("not 1 to 128 characters long; write a shorter name".into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\;=".contains(&b)) {
        return Some(
            "has characters that a label cannot carry; write visible ASCII without \" \\ ; =".into(),
        );
    }
    reserved(text).map(|piece| {
        format!("contains `{piece}`, which Istio's statistics tags cut out of every name; write it without")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_pieces_are_found_and_taken_apart() {
        assert_eq!(reserved("/static/cache.js"), Some("cache."));
        assert_eq!(reserved("/v1.2/items"), None);
        assert_eq!(defused(b"cache.example.com"), "cache_example_com");
        assert_eq!(defused(b"a.b"), "a.b");
        assert_eq!(defused(b""), "_");
        for bad in ["", "a b", "a;b", "a=b", "a\"b", "\u{e4}", "stage-tag.x", &"a".repeat(129)] {
            assert!(problem(bad).is_some_and(|p| p.contains("; write")), "{bad}");
        }
        assert_eq!(problem("orders.v1.Orders/Get"), None);
    }
}
