//! Models as text: no panic, and what is read prints as text that reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_rebac::engine::schema::Schema;
use portcullis_rebac::model::{json, parser, print, validate};

fuzz_target!(|text: &str| {
    let Ok(model) = parser::parse(text) else { return };
    let _ = json::model(&json::print(&model));
    if validate::validate(&model).is_err() {
        return;
    }
    let printed = print::print(&model, false).expect("a model from text can be said");
    // A word that is an operator inside an expression may be a remark in front of it.
    if let Ok(again) = parser::parse(&printed) {
        assert_eq!(print::print(&again, false).as_ref(), Ok(&printed));
    }
    let _ = Schema::new(&model);
});
