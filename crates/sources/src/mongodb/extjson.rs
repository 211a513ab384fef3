//! Canonical extended JSON, version 2, as the metadata of an archive has it: written and read with the order of keys,
//! which in an index is part of its meaning. Values of no BSON type that a collection's options can have are errors.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, oid::ObjectId,
};
use nxs_base::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Documents that are deeper are refused when read, as servers do.
const MAX_DEPTH: usize = 200;

/// The text of a document.
pub(super) fn encode(document: &Document) -> Result<String> {
    let mut text = String::new();
    push_document(&mut text, document)?;
    Ok(text)
}

fn push_document(text: &mut String, document: &Document) -> Result<()> {
    text.push('{');
    for (n, (key, value)) in document.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        push_text(text, key)?;
        text.push(':');
        push(text, value)?;
    }
    text.push('}');
    Ok(())
}

fn push_text(text: &mut String, value: &str) -> Result<()> {
    let quoted = serde_json::to_string(value);
    text.push_str(&quoted.map_err(|e| Error::new(ErrorKind::Other, "cannot write JSON").with_source(e))?);
    Ok(())
}

/// `{"$name": "value"}`.
fn push_typed(text: &mut String, name: &str, value: &str) -> Result<()> {
    text.push_str(&format!("{{\"{name}\":"));
    push_text(text, value)?;
    text.push('}');
    Ok(())
}

fn push(text: &mut String, value: &Bson) -> Result<()> {
    match value {
        Bson::Double(number) => push_typed(text, "$numberDouble", &double(*number)),
        Bson::String(value) => push_text(text, value),
        Bson::Document(document) => push_document(text, document),
        Bson::Array(values) => {
            text.push('[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                push(text, value)?;
            }
            text.push(']');
            Ok(())
        }
        Bson::Boolean(flag) => {
            text.push_str(if *flag { "true" } else { "false" });
            Ok(())
        }
        Bson::Null => {
            text.push_str("null");
            Ok(())
        }
        Bson::RegularExpression(regex) => {
            text.push_str("{\"$regularExpression\":{\"pattern\":");
            push_text(text, regex.pattern.as_str())?;
            text.push_str(",\"options\":");
            push_text(text, regex.options.as_str())?;
            text.push_str("}}");
            Ok(())
        }
        Bson::JavaScriptCode(code) => push_typed(text, "$code", code),
        Bson::JavaScriptCodeWithScope(code) => {
            text.push_str("{\"$code\":");
            push_text(text, &code.code)?;
            text.push_str(",\"$scope\":");
            push_document(text, &code.scope)?;
            text.push('}');
            Ok(())
        }
        Bson::Int32(number) => push_typed(text, "$numberInt", &number.to_string()),
        Bson::Int64(number) => push_typed(text, "$numberLong", &number.to_string()),
        Bson::Timestamp(time) => {
            text.push_str(&format!("{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}", time.time, time.increment));
            Ok(())
        }
        Bson::Binary(binary) => {
            let (base64, subtype) = (STANDARD.encode(&binary.bytes), u8::from(binary.subtype));
            text.push_str(&format!(
                "{{\"$binary\":{{\"base64\":\"{base64}\",\"subType\":\"{subtype:02x}\"}}}}"
            ));
            Ok(())
        }
        Bson::ObjectId(id) => push_typed(text, "$oid", &id.to_hex()),
        Bson::DateTime(time) => {
            text.push_str(&format!("{{\"$date\":{{\"$numberLong\":\"{}\"}}}}", time.timestamp_millis()));
            Ok(())
        }
        Bson::Symbol(symbol) => push_typed(text, "$symbol", symbol),
        Bson::Decimal128(number) => push_typed(text, "$numberDecimal", &number.to_string()),
        Bson::Undefined => {
            text.push_str("{\"$undefined\":true}");
            Ok(())
        }
        Bson::MaxKey => {
            text.push_str("{\"$maxKey\":1}");
            Ok(())
        }
        Bson::MinKey => {
            text.push_str("{\"$minKey\":1}");
            Ok(())
        }
        Bson::DbPointer(_) => {
            Err(Error::new(ErrorKind::Unsupported, "the options of a collection hold a database pointer"))
        }
    }
}

fn double(number: f64) -> String {
    match number {
        _ if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => format!("{number:?}"),
    }
}

/// The document of a text. [`ErrorKind::Corrupt`] for any other text.
pub(super) fn decode(text: &str) -> Result<Document> {
    let json: Json = serde_json::from_str(text).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "the metadata of a collection is no JSON").with_source(e)
    })?;
    match json {
        Json::Object(fields) => document(fields, 0),
        _ => Err(broken("metadata")),
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{what}` in the metadata of a collection cannot be read"))
}

/// JSON with its keys in order.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> std::result::Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> std::result::Result<Json, E> {
                Ok(Json::Bool(flag))
            }
            fn visit_i64<E>(self, number: i64) -> std::result::Result<Json, E> {
                Ok(Json::Integer(number))
            }
            fn visit_u64<E>(self, number: u64) -> std::result::Result<Json, E> {
                Ok(i64::try_from(number).map_or(Json::Float(number as f64), Json::Integer))
            }
            fn visit_f64<E>(self, number: f64) -> std::result::Result<Json, E> {
                Ok(Json::Float(number))
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Json::Array(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn document(fields: Vec<(String, Json)>, depth: usize) -> Result<Document> {
    if depth > MAX_DEPTH {
        return Err(broken("a nesting"));
    }
    fields.into_iter().map(|(key, json)| Ok((key, value(json, depth + 1)?))).collect()
}

fn value(json: Json, depth: usize) -> Result<Bson> {
    Ok(match json {
        Json::Null => Bson::Null,
        Json::Bool(flag) => Bson::Boolean(flag),
        Json::Integer(number) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
        Json::Float(number) => Bson::Double(number),
        Json::Text(text) => Bson::String(text),
        Json::Array(values) if depth <= MAX_DEPTH => {
            Bson::Array(values.into_iter().map(|json| value(json, depth + 1)).collect::<Result<_>>()?)
        }
        Json::Array(_) => return Err(broken("a nesting")),
        Json::Object(fields) => match typed(&fields, depth)? {
            Some(value) => value,
            None => Bson::Document(document(fields, depth)?),
        },
    })
}

/// None if it is a plain document: the names of operators open with `$` as well.
fn typed(fields: &[(String, Json)], depth: usize) -> Result<Option<Bson>> {
    let Some(((name, first), rest)) = fields.split_first() else { return Ok(None) };
    let number = |json: &Json| match json {
        Json::Integer(number) => u32::try_from(*number).ok(),
        _ => None,
    };
    let bad = || broken(name);
    let parsed = match (name.as_str(), first, rest) {
        ("$numberDouble", Json::Text(text), []) => {
            let text = if text == "Infinity" { "inf" } else { text.as_str() };
            Bson::Double(if text == "-Infinity" {
                f64::NEG_INFINITY
            } else {
                text.parse().map_err(|_| bad())?
            })
        }
        ("$numberInt", Json::Text(text), []) => Bson::Int32(text.parse().map_err(|_| bad())?),
        ("$numberLong", Json::Text(text), []) => Bson::Int64(text.parse().map_err(|_| bad())?),
        ("$numberDecimal", Json::Text(text), []) => {
            Bson::Decimal128(Decimal128::from_str(text).map_err(|_| bad())?)
        }
        ("$oid", Json::Text(text), []) => Bson::ObjectId(ObjectId::parse_str(text).map_err(|_| bad())?),
        ("$symbol", Json::Text(text), []) => Bson::Symbol(text.clone()),
        ("$code", Json::Text(code), []) => Bson::JavaScriptCode(code.clone()),
        ("$code", Json::Text(code), [(scope, Json::Object(fields))]) if scope == "$scope" => {
            let scope = document(fields.clone(), depth + 1)?;
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: code.clone(), scope })
        }
        ("$undefined", Json::Bool(true), []) => Bson::Undefined,
        ("$minKey", Json::Integer(1), []) => Bson::MinKey,
        ("$maxKey", Json::Integer(1), []) => Bson::MaxKey,
        ("$date", Json::Object(inner), []) => match inner.as_slice() {
            [(key, Json::Text(millis))] if key == "$numberLong" => {
                Bson::DateTime(DateTime::from_millis(millis.parse().map_err(|_| bad())?))
            }
            _ => return Err(bad()),
        },
        ("$timestamp", Json::Object(inner), []) => match inner.as_slice() {
            [(t, time), (i, increment)] if t == "t" && i == "i" => Bson::Timestamp(Timestamp {
                time: number(time).ok_or_else(bad)?,
                increment: number(increment).ok_or_else(bad)?,
            }),
            _ => return Err(bad()),
        },
        ("$binary", Json::Object(inner), []) => match inner.as_slice() {
            [(b, Json::Text(base64)), (s, Json::Text(subtype))] if b == "base64" && s == "subType" => {
                let subtype = u8::from_str_radix(subtype, 16).map_err(|_| bad())?;
                let bytes = STANDARD.decode(base64).map_err(|_| bad())?;
                Bson::Binary(Binary { subtype: BinarySubtype::from(subtype), bytes })
            }
            _ => return Err(bad()),
        },
        ("$regularExpression", Json::Object(inner), []) => match inner.as_slice() {
            [(p, Json::Text(pattern)), (o, Json::Text(options))] if p == "pattern" && o == "options" => {
                let text = |text: &String| text.clone().try_into().map_err(|_| bad());
                Bson::RegularExpression(Regex { pattern: text(pattern)?, options: text(options)? })
            }
            _ => return Err(bad()),
        },
        _ => return Ok(None),
    };
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn every_value_comes_back_with_its_type_and_keys_keep_their_order() {
        let document = doc! {
            "z": 1_i32, "a": 1_i64, "double": -0.0, "whole": 5.0, "huge": 1e300, "inf": f64::NEG_INFINITY,
            "text": "quote \" \\ \u{1} ü\u{10ffff}", "empty": {}, "list": [1, [true, Bson::Null]],
            "oid": ObjectId::from_bytes([7; 12]), "date": DateTime::from_millis(-1),
            "time": Timestamp { time: u32::MAX, increment: 1 }, "min": Bson::MinKey, "max": Bson::MaxKey,
            "undefined": Bson::Undefined, "symbol": Bson::Symbol("s".into()),
            "code": Bson::JavaScriptCode("f()".into()),
            "scoped": JavaScriptCodeWithScope { code: "f".into(), scope: doc! { "x": 1_i64 } },
            "binary": Binary { subtype: BinarySubtype::UserDefined(0x85), bytes: vec![0, 255, 7] },
            "decimal": Decimal128::from_str("1.50E+30").unwrap(),
            "regex": Regex { pattern: "^a\"".try_into().unwrap(), options: "ix".try_into().unwrap() },
            "validator": { "$and": [{ "age": { "$gte": 18_i32 } }] }, "$code": 5_i32,
        };
        let text = encode(&document).unwrap();
        assert_eq!(decode(&text).unwrap(), document, "{text}");
        assert!(text.starts_with(
            r#"{"z":{"$numberInt":"1"},"a":{"$numberLong":"1"},"double":{"$numberDouble":"-0.0"}"#
        ));
        let nan = decode(&encode(&doc! { "n": f64::NAN }).unwrap()).unwrap();
        assert!(nan.get_f64("n").unwrap().is_nan());
    }

    #[test]
    fn what_is_no_extended_json_is_refused() {
        for text in
            ["", "[]", "{", r#"{"a":{"$numberInt":"x"}}"#, r#"{"a":{"$oid":"1"}}"#, r#"{"a":{"$date":{}}}"#]
        {
            assert_eq!(decode(text).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120));
        decode(&deep).unwrap();
        let deeper = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(decode(&deeper).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
