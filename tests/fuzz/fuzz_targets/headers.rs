//! Header maps as a host hands them over, and what is read out of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_common::edits::header_value;
use portcullis_common::headers::Headers;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::request::Request;
use portcullis_common::values::params;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut headers) = Headers::parse(bytes.to_vec()) else { return };
    let before = headers.len();
    OwnedHeaders::new(["x-user"]).strip(&mut headers);
    assert!(headers.len() <= before);
    let request = Request { headers, ..Request::default() };
    let _ = (request.protocol(), request.is_preflight(), request.path());
    let _ = params::query(request.query(), "a").count();
    let _ = params::query_without(request.query(), &["a"]);
    let _ = params::cookie(&request.headers, "a").count();
    for (_, value) in request.headers.iter() {
        assert!(header_value(value).iter().all(|b| (b' '..=b'~').contains(b)));
    }
});
