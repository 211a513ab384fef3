//! Listings of `ls --json` as they compare with snapshots.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nxs_testkit::snapshot::{Kind, Snapshot};
use serde_json::Value;

use crate::house::Answer;

/// The answer of a command that has nothing to complain of.
pub(crate) fn json(answer: &Answer) -> Value {
    assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{}", answer.out);
    serde_json::from_str(&answer.out).unwrap_or_else(|e| panic!("{e}: {}", answer.out))
}

/// The raw bytes of a path in JSON, below the tree.
pub(crate) fn path_of(entry: &Value, root: &Path) -> Vec<u8> {
    let bytes = match entry["path_hex"].as_str() {
        Some(hex) => {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        }
        None => entry["path"].as_str().unwrap().as_bytes().to_vec(),
    };
    let root = &root.as_os_str().as_bytes()[1..];
    match bytes.strip_prefix(root).unwrap_or_else(|| panic!("{bytes:?}")) {
        [b'/', rest @ ..] => rest.to_vec(),
        _ => Vec::new(),
    }
}

/// What a snapshot says of its entries, as listings show it.
pub(crate) fn shown(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    for (path, node) in &snapshot.nodes {
        let (kind, size) = match &node.kind {
            Kind::File { bytes, .. } => ("file", *bytes),
            Kind::Dir => ("dir", 0),
            Kind::Symlink { .. } => ("symlink", 0),
            Kind::Fifo => ("fifo", 0),
            Kind::Socket => continue,
            Kind::CharDevice { .. } => ("char_device", 0),
            Kind::BlockDevice { .. } => ("block_device", 0),
        };
        if !path.is_empty() {
            all.insert(path.clone(), format!("{kind} {size} {:04o} {}:{}", node.mode, node.uid, node.gid));
        }
    }
    all
}

/// The same of a listing of all there is. A further name of a file is shown as the file, but for its own size.
pub(crate) fn listed(listing: &Value, root: &Path) -> BTreeMap<Vec<u8>, String> {
    let entries = listing["points"][0]["paths"][0]["entries"].as_array().unwrap();
    let of_path = |path: &Value| entries.iter().find(|e| e["path"] == *path).unwrap();
    let of = |e: &Value| {
        let first = if e["kind"] == "hard_link" { of_path(&e["link"]) } else { e };
        let (kind, size) = (first["kind"].as_str().unwrap(), &e["size_bytes"]);
        let text = format!("{kind} {size} {} {}:{}", e["mode"].as_str().unwrap(), e["uid"], e["gid"]);
        (path_of(e, root), text)
    };
    entries.iter().map(of).collect()
}
