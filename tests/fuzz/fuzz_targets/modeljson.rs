//! Models as JSON: no panic, and what is read prints as JSON that reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_rebac::engine::Engine;
use portcullis_rebac::model::{json, print};

fuzz_target!(|text: &str| {
    let Ok(model) = json::parse(text) else { return };
    let again = json::model(&json::print(&model)).expect("what was printed");
    assert_eq!(model, again);
    let _ = print::print(&model, true);
    let _ = Engine::new(&model, &[]);
});
