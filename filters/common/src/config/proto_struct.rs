//! `google.protobuf.Struct`, as Envoy hands it over.
//!
//! A plugin's configuration that is written as YAML, with `"@type": type.googleapis.com/google.protobuf.Struct`, arrives
//! in the VM as the serialized message, not as JSON (Envoy unwraps `StringValue` and `BytesValue` only). So it is read
//! here: `Struct{1 fields: map<string, Value>}`, `Value{1 null, 2 number, 3 string, 4 bool, 5 struct, 6 list}`,
//! `ListValue{1 values}` (struct.proto). Ninety lines against the tens of kilobytes of a protobuf runtime.

use serde_json::{Map, Number, Value};

/// How deep values may nest.
const MAX_DEPTH: u8 = 32;

/// Reads a serialized `Struct`; `None` if the bytes are none, to the last one.
pub(super) fn read(bytes: &[u8]) -> Option<Map<String, Value>> {
    fields(bytes, MAX_DEPTH)
}

fn fields(mut bytes: &[u8], depth: u8) -> Option<Map<String, Value>> {
    let depth = depth.checked_sub(1)?;
    let mut map = Map::new();
    while !bytes.is_empty() {
        let Field::Bytes(1, mut entry) = field(&mut bytes)? else { return None };
        let (mut name, mut value) = (String::new(), Value::Null);
        while !entry.is_empty() {
            match field(&mut entry)? {
                Field::Bytes(1, text) => name = String::from_utf8(text.to_vec()).ok()?,
                Field::Bytes(2, message) => value = self::value(message, depth)?,
                _ => return None,
            }
        }
        if map.insert(name, value).is_some() {
            return None;
        }
    }
    Some(map)
}

fn value(mut bytes: &[u8], depth: u8) -> Option<Value> {
    let mut value = Value::Null;
    while !bytes.is_empty() {
        value = match field(&mut bytes)? {
            Field::Varint(1, 0) => Value::Null,
            Field::Fixed(2, number) => self::number(f64::from_bits(number))?,
            Field::Bytes(3, text) => Value::String(String::from_utf8(text.to_vec()).ok()?),
            Field::Varint(4, b) => Value::Bool(b != 0),
            Field::Bytes(5, message) => Value::Object(fields(message, depth)?),
            Field::Bytes(6, message) => Value::Array(list(message, depth)?),
            _ => return None,
        };
    }
    Some(value)
}

fn list(mut bytes: &[u8], depth: u8) -> Option<Vec<Value>> {
    let depth = depth.checked_sub(1)?;
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let Field::Bytes(1, message) = field(&mut bytes)? else { return None };
        items.push(value(message, depth)?);
    }
    Some(items)
}

/// Every number is a double; a whole one becomes what JSON would have made of it.
fn number(n: f64) -> Option<Value> {
    if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 {
        return Some(Value::Number((n as i64).into()));
    }
    Number::from_f64(n).map(Value::Number)
}

enum Field<'a> {
    Varint(u64, u64),
    Fixed(u64, u64),
    Bytes(u64, &'a [u8]),
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = varint(bytes)?;
    let number = tag >> 3;
    match tag & 7 {
        0 => Some(Field::Varint(number, varint(bytes)?)),
        1 => {
            let (head, tail) = bytes.split_first_chunk::<8>()?;
            *bytes = tail;
            Some(Field::Fixed(number, u64::from_le_bytes(*head)))
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (head, tail) = bytes.split_at_checked(length)?;
            *bytes = tail;
            Some(Field::Bytes(number, head))
        }
        _ => None,
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (b, tail) = bytes.split_first()?;
        *bytes = tail;
        value |= u64::from(b & 0x7f).checked_shl(shift)?;
        if *b < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        let mut n = content.len();
        while n >= 0x80 {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend_from_slice(content);
        out
    }

    fn write(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Bool(b) => vec![4 << 3, u8::from(*b)],
            Value::Number(n) => [&[2 << 3 | 1][..], &n.as_f64().unwrap().to_le_bytes()].concat(),
            Value::String(s) => bytes(3, s.as_bytes()),
            Value::Array(items) => {
                bytes(6, &items.iter().flat_map(|i| bytes(1, &write(i))).collect::<Vec<_>>())
            }
            Value::Object(map) => bytes(5, &write_struct(map)),
        }
    }

    pub(crate) fn write_struct(map: &Map<String, Value>) -> Vec<u8> {
        map.iter()
            .flat_map(|(k, v)| bytes(1, &[bytes(1, k.as_bytes()), bytes(2, &write(v))].concat()))
            .collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let json = json!({"a": {"b": [1, 2.5, -3, true, null, "x".repeat(300)]}, "c": {}, "d": []});
        let map = json.as_object().unwrap();
        assert_eq!(read(&write_struct(map)).as_ref(), Some(map));
        assert_eq!(read(b""), Some(Map::new()));
    }

    #[test]
    fn what_is_no_struct_is_none() {
        let good = write_struct(json!({"a": 1, "b": "c"}).as_object().unwrap());
        for cut in 1..good.len() {
            let read = read(&good[..cut]);
            assert!(read.is_none() || read.unwrap().len() < 2, "cut at {cut}");
        }
        assert_eq!(read(&[good.clone(), good].concat()), None, "a member twice");
        assert_eq!(read(b"{\"a\":1}"), None);
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!({ "a": deep });
        }
        assert_eq!(read(&write_struct(deep.as_object().unwrap())), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }
}
