//! What a JSON Schema says about each field. Filled in below.
