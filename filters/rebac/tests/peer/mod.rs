//! The messages of SpiceDB's API for another implementation of protobuf: `authzed.api.v1`, with the numbers of its fields.

use std::cell::LazyCell;

use protobuf::MessageDyn;
use protobuf::descriptor::field_descriptor_proto::{Label, Type};
use protobuf::descriptor::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use protobuf::reflect::{FileDescriptor, ReflectEqMode};
use protobuf::well_known_types::struct_;
use serde_json::{Map, Value};

/// A field: its name, number and type; `*` before a type says that there are many.
type Field = (&'static str, i32, &'static str);

const MESSAGES: &[(&str, &[Field])] = &[
    ("ZedToken", &[("token", 1, "string")]),
    ("ObjectReference", &[("object_type", 1, "string"), ("object_id", 2, "string")]),
    ("SubjectReference", &[("object", 1, "ObjectReference"), ("optional_relation", 2, "string")]),
    (
        "Consistency",
        &[
            ("minimize_latency", 1, "bool"),
            ("at_least_as_fresh", 2, "ZedToken"),
            ("at_exact_snapshot", 3, "ZedToken"),
            ("fully_consistent", 4, "bool"),
        ],
    ),
    (
        "CheckPermissionRequest",
        &[
            ("consistency", 1, "Consistency"),
            ("resource", 2, "ObjectReference"),
            ("permission", 3, "string"),
            ("subject", 4, "SubjectReference"),
            ("context", 5, "Struct"),
            ("with_tracing", 6, "bool"),
        ],
    ),
    ("PartialCaveatInfo", &[("missing_required_context", 1, "*string")]),
    // What we do not read of an answer is unknown here, so that both look as far into a message: `checked_at`, `debug_trace`,
    // `optional_expires_at`.
    (
        "CheckPermissionResponse",
        &[("permissionship", 2, "int32"), ("partial_caveat_info", 3, "PartialCaveatInfo")],
    ),
    (
        "CheckBulkPermissionsRequest",
        &[
            ("consistency", 1, "Consistency"),
            ("items", 2, "*CheckBulkPermissionsRequestItem"),
            ("with_tracing", 3, "bool"),
        ],
    ),
    (
        "CheckBulkPermissionsRequestItem",
        &[
            ("resource", 1, "ObjectReference"),
            ("permission", 2, "string"),
            ("subject", 3, "SubjectReference"),
            ("context", 4, "Struct"),
        ],
    ),
    (
        "CheckBulkPermissionsResponse",
        &[("checked_at", 1, "ZedToken"), ("pairs", 2, "*CheckBulkPermissionsPair")],
    ),
    (
        "CheckBulkPermissionsPair",
        &[
            ("request", 1, "CheckBulkPermissionsRequestItem"),
            ("item", 2, "CheckBulkPermissionsResponseItem"),
            ("error", 3, "Status"),
        ],
    ),
    (
        "CheckBulkPermissionsResponseItem",
        &[("permissionship", 1, "int32"), ("partial_caveat_info", 2, "PartialCaveatInfo")],
    ),
    ("Status", &[("code", 1, "int32"), ("message", 2, "string")]),
    (
        "WatchRequest",
        &[
            ("optional_object_types", 1, "*string"),
            ("optional_start_cursor", 2, "ZedToken"),
            ("optional_update_kinds", 4, "*int32"),
        ],
    ),
    (
        "WatchResponse",
        &[
            ("updates", 1, "*RelationshipUpdate"),
            ("changes_through", 2, "ZedToken"),
            ("optional_transaction_metadata", 3, "Struct"),
            ("schema_updated", 4, "bool"),
            ("is_checkpoint", 5, "bool"),
        ],
    ),
    ("RelationshipUpdate", &[("operation", 1, "int32"), ("relationship", 2, "Relationship")]),
    (
        "Relationship",
        &[("resource", 1, "ObjectReference"), ("relation", 2, "string"), ("subject", 3, "SubjectReference")],
    ),
    ("HealthCheckRequest", &[("service", 1, "string")]),
    ("GrpcService", &[("envoy_grpc", 1, "EnvoyGrpc")]),
    (
        "EnvoyGrpc",
        &[
            ("cluster_name", 1, "string"),
            ("authority", 2, "string"),
            ("max_receive_message_length", 4, "UInt32Value"),
        ],
    ),
    ("UInt32Value", &[("value", 1, "uint32")]),
];

thread_local! {
    static FILE: LazyCell<FileDescriptor> = const { LazyCell::new(|| {
        let message = |(name, fields): &(&str, &[Field])| DescriptorProto {
            name: Some((*name).to_owned()),
            field: fields.iter().map(described).collect(),
            ..DescriptorProto::new()
        };
        let file = FileDescriptorProto {
            name: Some("peer.proto".to_owned()),
            dependency: vec!["google/protobuf/struct.proto".to_owned()],
            message_type: MESSAGES.iter().map(message).collect(),
            ..FileDescriptorProto::new()
        };
        FileDescriptor::new_dynamic(file, &[struct_::file_descriptor().clone()]).unwrap()
    }) };
}

fn described((name, number, kind): &Field) -> FieldDescriptorProto {
    let (label, kind) = match kind.strip_prefix('*') {
        Some(kind) => (Label::LABEL_REPEATED, kind),
        None => (Label::LABEL_OPTIONAL, *kind),
    };
    let mut field = FieldDescriptorProto::new();
    field.set_name((*name).to_owned());
    field.set_number(*number);
    field.set_label(label);
    let kind = match kind {
        "bool" => Type::TYPE_BOOL,
        "bytes" => Type::TYPE_BYTES,
        "int32" => Type::TYPE_INT32,
        "string" => Type::TYPE_STRING,
        "uint32" => Type::TYPE_UINT32,
        message => {
            let package = if message == "Struct" { ".google.protobuf." } else { "." };
            field.set_type_name(format!("{package}{message}"));
            Type::TYPE_MESSAGE
        }
    };
    field.set_type(kind);
    field
}

/// What the peer reads.
pub(crate) fn read(name: &str, message: &[u8]) -> Option<Box<dyn MessageDyn>> {
    FILE.with(|file| file.message_by_package_relative_name(name).unwrap().parse_from_bytes(message).ok())
}

/// A message in the text format of protobuf, as the peer takes it.
pub(crate) fn made(name: &str, text: &str) -> Box<dyn MessageDyn> {
    let mut message = FILE.with(|file| file.message_by_package_relative_name(name).unwrap().new_instance());
    protobuf::text_format::merge_from_str(&mut *message, text).unwrap_or_else(|e| panic!("{e}: {text}"));
    message
}

/// What the peer writes.
pub(crate) fn written(name: &str, text: &str) -> Vec<u8> {
    made(name, text).write_to_bytes_dyn().unwrap()
}

/// Whether the peer reads these bytes as just this message.
pub(crate) fn reads_as(name: &str, message: &[u8], text: &str) -> Result<(), String> {
    let (Some(read), made) = (read(name, message), made(name, text)) else {
        return Err(format!("{name}: the peer does not read {message:?}"));
    };
    let same = read.reflect_eq_dyn(&*made, &ReflectEqMode::default());
    let whole = read.write_to_bytes_dyn().unwrap().len() == message.len();
    if same && whole { Ok(()) } else { Err(format!("{name}: {read}, not {made}")) }
}

/// Text in quotes, every byte as a number.
pub(crate) fn quoted(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:03o}")).collect();
    format!("\"{bytes}\"")
}

/// The content of a `Struct`.
pub(crate) fn structure(map: &Map<String, Value>) -> String {
    map.iter()
        .map(|(name, json)| format!("fields {{ key: {} value {{ {} }} }} ", quoted(name), value(json)))
        .collect()
}

fn value(json: &Value) -> String {
    match json {
        Value::Null => "null_value: NULL_VALUE".to_owned(),
        Value::Bool(truth) => format!("bool_value: {truth}"),
        Value::Number(number) => format!("number_value: {:?}", number.as_f64().unwrap()),
        Value::String(text) => format!("string_value: {}", quoted(text)),
        Value::Array(items) => {
            let items: String = items.iter().map(|item| format!("values {{ {} }} ", value(item))).collect();
            format!("list_value {{ {items} }}")
        }
        Value::Object(map) => format!("struct_value {{ {} }}", structure(map)),
    }
}
