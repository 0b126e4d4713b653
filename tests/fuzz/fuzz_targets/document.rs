//! Documents of tuples: no panic, the same in whatever pieces, and an end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_rebac::document::{Loading, Piece, Problem};
use portcullis_rebac::engine::schema::Schema;
use portcullis_rebac::model::parser;

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member, user with late]
    define owner: [user]
condition late(hour: int, days: list<string>) {
  hour > 20 && \"mon\" in days
}
";

thread_local! {
    static SCHEMA: Schema = Schema::new(&parser::parse(MODEL).expect("a model")).expect("a schema");
}

fn load(schema: &Schema, content: &[u8], piece: Piece) -> Result<usize, Problem> {
    let mut loading = Loading::default();
    // A piece reads a byte at least, or sorts a tuple.
    for _ in 0..content.len() * 40 + 100 {
        if let Some(store) = loading.go_on(schema, content, piece)? {
            return Ok(store.len());
        }
    }
    panic!("it never ends");
}

fuzz_target!(|content: &[u8]| {
    SCHEMA.with(|schema| {
        let whole = load(schema, content, Piece { bytes: usize::MAX, tuples: usize::MAX });
        assert_eq!(whole, load(schema, content, Piece { bytes: 1, tuples: 1 }));
        if whole.is_ok() && content.trim_ascii_start().starts_with(b"[") {
            // What breaks off is not a document.
            let cut = content.trim_ascii_end().len() - 1;
            assert!(load(schema, &content[..cut], Piece { bytes: 100, tuples: 100 }).is_err());
        }
    });
});
