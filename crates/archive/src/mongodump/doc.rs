//! The small documents that an archive has of its own: written and read flat, without a BSON library.

use nxs_base::{Error, ErrorKind, Result};

/// A value that such a document can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int32(i32),
    Int64(i64),
    Bool(bool),
}

/// Writes a document. Keys have no zero byte.
pub(super) fn encode(fields: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut doc = vec![0; 4];
    for (key, value) in fields {
        let kind = match value {
            Value::Text(_) => 0x02,
            Value::Bool(_) => 0x08,
            Value::Int32(_) => 0x10,
            Value::Int64(_) => 0x12,
        };
        doc.push(kind);
        doc.extend_from_slice(key.as_bytes());
        doc.push(0);
        match value {
            Value::Text(text) => {
                doc.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
                doc.extend_from_slice(text.as_bytes());
                doc.push(0);
            }
            Value::Bool(flag) => doc.push(u8::from(*flag)),
            Value::Int32(number) => doc.extend_from_slice(&number.to_le_bytes()),
            Value::Int64(number) => doc.extend_from_slice(&number.to_le_bytes()),
        }
    }
    doc.push(0);
    let length = doc.len() as u32;
    doc[..4].copy_from_slice(&length.to_le_bytes());
    doc
}

/// Reads a document whose length was checked. [`ErrorKind::Corrupt`] for values of other types.
pub(super) fn decode(doc: &[u8]) -> Result<Vec<(&str, Value<'_>)>> {
    let broken = || Error::new(ErrorKind::Corrupt, "a document of the archive itself cannot be read");
    let mut rest = doc.get(4..).ok_or_else(broken)?;
    let mut fields = Vec::new();
    loop {
        let (kind, after) = rest.split_first().ok_or_else(broken)?;
        if *kind == 0 {
            return if after.is_empty() { Ok(fields) } else { Err(broken()) };
        }
        let end = after.iter().position(|b| *b == 0).ok_or_else(broken)?;
        let key = std::str::from_utf8(&after[..end]).map_err(|_| broken())?;
        let body = &after[end + 1..];
        let (value, length) = match kind {
            0x02 => {
                let length = u32::from_le_bytes(*body.first_chunk().ok_or_else(broken)?) as usize;
                let text = body.get(4..4_usize.saturating_add(length)).ok_or_else(broken)?;
                let text = text.strip_suffix(&[0]).ok_or_else(broken)?;
                (Value::Text(std::str::from_utf8(text).map_err(|_| broken())?), 4 + length)
            }
            0x08 => (Value::Bool(*body.first().ok_or_else(broken)? != 0), 1),
            0x10 => (Value::Int32(i32::from_le_bytes(*body.first_chunk().ok_or_else(broken)?)), 4),
            0x12 => (Value::Int64(i64::from_le_bytes(*body.first_chunk().ok_or_else(broken)?)), 8),
            _ => return Err(broken()),
        };
        fields.push((key, value));
        rest = &body[length..];
    }
}

/// The fields that are wanted, by name; what is not there keeps its default.
pub(super) struct Fields<'a>(pub(super) Vec<(&'a str, Value<'a>)>);

impl<'a> Fields<'a> {
    fn find(&self, key: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match self.find(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int32(&self, key: &str) -> Option<i32> {
        match self.find(key) {
            Some(Value::Int32(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn int64(&self, key: &str) -> Option<i64> {
        match self.find(key) {
            Some(Value::Int64(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.find(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }
}
