//! Bodies of answers in pieces: what is read does not depend on where they are cut, and is what serde_json reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_common::headers::Headers;
use portcullis_rate_limit::body::Reader;
use portcullis_rate_limit::body::pointer::Pointer;
use serde_json::Value;

const POINTERS: [&str; 6] = ["/n", "/usage/n", "/a/0", "/a/1/n", "/", "/~0~1"];

fn read(kind: &str, pieces: &[&[u8]]) -> Vec<Option<u64>> {
    let headers = Headers::encode([(&b"content-type"[..], kind.as_bytes())]);
    let pointers = POINTERS.iter().map(|p| Pointer::parse(p).unwrap()).collect();
    let mut reader = Reader::new(&Headers::parse(headers).unwrap(), pointers, usize::MAX).unwrap();
    for piece in pieces {
        reader.feed(piece);
    }
    (0..POINTERS.len()).map(|n| reader.number(&(n..n + 1))).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([at, events], text)) = bytes.split_first_chunk() else { return };
    let kind = if events % 2 == 0 { "application/json" } else { "text/event-stream" };
    let whole = read(kind, &[text]);
    let (front, back) = text.split_at(usize::from(*at) % (text.len() + 1));
    assert_eq!(whole, read(kind, &[front, back]));
    assert_eq!(whole, read(kind, &text.chunks(1).collect::<Vec<_>>()));
    // Where a name stands twice and means a number once, serde_json may see none.
    if let (0, Ok(value)) = (events % 2, serde_json::from_slice::<Value>(text)) {
        for (pointer, read) in POINTERS.iter().zip(whole) {
            if let Some(number) = value.pointer(pointer).and_then(Value::as_u64) {
                assert_eq!(read, Some(number), "{pointer}");
            }
        }
    }
});
