//! Paths: no panic, and a normal form is its own normal form, without dot segments and empty ones.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_common::matching::path::{EncodedSlash, NormalPath};
use portcullis_common::matching::pattern::Pattern;

fuzz_target!(|path: &[u8]| {
    if let Ok(form) = NormalPath::new(path, EncodedSlash::Refuse) {
        let segments: Vec<&[u8]> = form.segments().collect();
        let (last, front) = segments.split_last().expect("at least one segment");
        assert!(front.iter().all(|s| !s.is_empty()));
        assert!(front.iter().chain([last]).all(|s| *s != b"." && *s != b".."));
        assert_eq!(NormalPath::collapsed(path).as_ref(), Some(&form));
    }
    let _ = NormalPath::new(path, EncodedSlash::Keep);
    if let Some(form) = NormalPath::collapsed(path) {
        let again = NormalPath::collapsed(form.as_bytes());
        assert!(again.is_some_and(|a| a.as_bytes() == form.as_bytes()));
    }
    if let Ok(text) = std::str::from_utf8(path) {
        let _ = Pattern::parse(text);
    }
});
