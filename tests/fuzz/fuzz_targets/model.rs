//! Models as text: no panic, and what is printed reads as the same.

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
    // What is read loses the blanks at the ends of lines, and inside an expression a word may be a remark: the second time it stays.
    let again = |text: &str| parser::parse(text).ok().and_then(|model| print::print(&model, false).ok());
    if let Some(second) = again(&printed)
        && let Some(third) = again(&second)
    {
        assert_eq!(second, third);
    }
    let _ = Schema::new(&model);
});
