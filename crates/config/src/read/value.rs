//! Converts one value by its type in the key table, with a diagnostic at its place if it does not fit.
//!
//! Replaces `ENV:` and `FILE:` in plain values, keeps secrets as references, guards commands and passwords by the mode
//! of the file they stand in. Which keys there are is the parent's matter.

use std::num::NonZeroU64;

use nxs_base::diag::Severity;
use nxs_base::secret::{Secret, SecretRef};
use nxs_base::spec::{Compression, IoNice, Require};

use super::{Read, Reader, backticked, join, relative, show};
use crate::Commands;
use crate::keys::KeyType;
use crate::secrets::{self, Reference};
use crate::tree::{Node, Value};

/// Level of `zstd` where none is given.
const ZSTD_DEFAULT: u8 = 3;

/// `10M`, `512K`, `1G`, `2000000`; `B` and `/s` may follow.
fn rate(text: &str) -> Option<NonZeroU64> {
    let text = text.trim().to_ascii_uppercase();
    let text = text.strip_suffix("/S").unwrap_or(&text);
    let text = text.strip_suffix("IB").or_else(|| text.strip_suffix('B')).unwrap_or(text);
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let number: u64 = digits.trim_end().parse().ok()?;
    NonZeroU64::new(number.checked_mul(1 << shift)?)
}

impl Reader {
    pub(super) fn value(&mut self, kind: KeyType, node: &Node, path: &str) -> Option<Read> {
        match kind {
            KeyType::Mapping | KeyType::Mappings => Some(Read::Nested).filter(|_| !node.is_unset()),
            KeyType::List => self.list(node, path).map(Read::List),
            KeyType::Secret => self.secret(node, path).map(Read::Secret),
            KeyType::Compression => self.compression(node, path).map(Read::Compression),
            KeyType::IoNice => self.io_nice(node, path).map(Read::IoNice),
            KeyType::Command => {
                let text = self.plain(node, path)?;
                self.refuse_writable(node, path, "a command").then_some(Read::Text(text))
            }
            _ => {
                let text = self.text(node, path)?;
                self.word(kind, &text, node, path)
            }
        }
    }

    fn word(&mut self, kind: KeyType, text: &str, node: &Node, path: &str) -> Option<Read> {
        match kind {
            KeyType::Flag => match flag(text) {
                Some(flag) => return Some(Read::Flag(flag)),
                None => self
                    .diags
                    .error(&node.at, format!("{path}: `{}` is neither yes nor no", shown(node, text))),
            },
            KeyType::Number { min, max, unit } => {
                return self.number(text, (min, max), unit, node, path).map(Read::Number);
            }
            KeyType::Port => match self.digits(text, node, path).filter(|n| (1..=65535).contains(n)) {
                Some(port) => return Some(Read::Number(port)),
                None => self.diags.error_hint(
                    &node.at,
                    format!("{path}: `{}` is not a port number", shown(node, text)),
                    "A port is a number from 1 to 65535.",
                ),
            },
            KeyType::Rate => match rate(text) {
                Some(rate) => return Some(Read::Rate(rate)),
                None => self.diags.error_hint(
                    &node.at,
                    format!("{path}: `{}` is not a rate", shown(node, text)),
                    "Write bytes per second, such as `512K`, `10M` or `1G`.",
                ),
            },
            KeyType::Choice(words) if !words.contains(&text) => self.diags.error_hint(
                &node.at,
                format!("{path}: `{}` is not known here", shown(node, text)),
                format!("Known are {}.", backticked(words)),
            ),
            KeyType::LooseChoice(words) if !words.contains(&text) => self.diags.warn_hint(
                &node.at,
                format!("{path}: `{}` is not known here and acts as `{}`", shown(node, text), words[0]),
                format!("Known are {}.", backticked(words)),
            ),
            KeyType::Require => match text {
                "all" => return Some(Read::Require(Require::All)),
                "any" => return Some(Read::Require(Require::Any)),
                _ => {
                    match self.digits(text, node, path).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
                    {
                        Some(n) => return Some(Read::Require(Require::AtLeast(n))),
                        None => {
                            let found = shown(node, text);
                            let message =
                                format!("{path}: `{found}` is neither `all`, `any` nor a number from 1");
                            self.diags.error(&node.at, message);
                        }
                    }
                }
            },
            KeyType::Path if !text.starts_with('/') => {
                relative(self, &node.at, path, &shown(node, text));
                return Some(Read::Text(text.to_owned()));
            }
            _ => return Some(Read::Text(text.to_owned())),
        }
        None
    }

    fn number(
        &mut self,
        text: &str,
        (min, max): (i64, i64),
        unit: &str,
        node: &Node,
        path: &str,
    ) -> Option<i64> {
        let Some(number) = self.digits(text, node, path) else {
            self.diags.error(&node.at, format!("{path}: `{}` is not a whole number", shown(node, text)));
            return None;
        };
        if !(min..=max).contains(&number) {
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            self.diags.error(&node.at, format!("{path}: `{number}` is outside {min} to {max}{unit}"));
            return None;
        }
        Some(number)
    }

    /// The scalar as it stands; none if unset or no scalar.
    fn plain(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Broken => None,
            _ if node.is_unset() => None,
            Value::Scalar { text, .. } if text.contains('\0') => {
                self.diags.error(&node.at, format!("{path}: holds a NUL character"));
                None
            }
            Value::Scalar { text, .. } => Some(text.clone()),
            Value::Seq(_) | Value::Map(_) => {
                self.diags.error(&node.at, format!("{path}: needs a single value, found {}", node.what()));
                None
            }
        }
    }

    /// The scalar with `ENV:`, `FILE:` and `CMD:` replaced.
    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.plain(node, path)?;
        let found = match secrets::reference(&text) {
            Ok(None) => return Some(text),
            Ok(Some(Reference::Env(name))) => secrets::variable(name),
            Ok(Some(Reference::File(file))) => secrets::content(file),
            Ok(Some(Reference::Cmd(command))) => {
                if !self.refuse_writable(node, path, "`CMD:`") || self.commands == Commands::Leave {
                    return None;
                }
                secrets::output(command)
            }
            Err(message) => {
                self.diags.error(&node.at, format!("{path}: {message}"));
                return None;
            }
        };
        match found {
            Ok(text) if text.contains('\0') => {
                self.diags.error(&node.at, format!("{path}: holds a NUL character"));
                None
            }
            Ok(text) => Some(text).filter(|t| !t.trim().is_empty()),
            Err(error) => {
                let (message, hint) = (format!("{path}: {}", error.chain()), error.hint().map(Into::into));
                self.diags.add(Severity::Error, node.at.place(), message, hint);
                None
            }
        }
    }

    fn list(&mut self, node: &Node, path: &str) -> Option<Vec<String>> {
        match &node.value {
            Value::Seq(items) => {
                let each = items.iter().enumerate();
                Some(each.filter_map(|(i, item)| self.text(item, &format!("{path}[{i}]"))).collect())
            }
            Value::Map(_) => {
                self.diags.error(&node.at, format!("{path}: needs a list, found a mapping"));
                None
            }
            _ => self.text(node, path).map(|text| vec![text]),
        }
    }

    fn secret(&mut self, node: &Node, path: &str) -> Option<SecretRef> {
        let text = self.plain(node, path)?;
        match secrets::reference(&text) {
            Ok(None) => {
                self.warn_exposed(node);
                Some(SecretRef::Literal(Secret::new(text)))
            }
            Ok(Some(Reference::Env(name))) => Some(SecretRef::Env(name.to_owned())),
            Ok(Some(Reference::File(file))) => Some(SecretRef::File(file.to_owned())),
            Ok(Some(Reference::Cmd(command))) => {
                self.refuse_writable(node, path, "`CMD:`").then(|| SecretRef::Cmd(command.to_owned()))
            }
            Err(message) => {
                self.diags.error(&node.at, format!("{path}: {message}"));
                None
            }
        }
    }

    fn warn_exposed(&mut self, node: &Node) {
        let file = &node.at.file;
        if file.mode & 0o004 != 0 && self.exposed.insert(file.shown.clone()) {
            let message = "this file holds passwords and everyone on this host can read it";
            self.diags.warn_hint(
                &node.at,
                message,
                "Take the right away with `chmod o-r`, or keep passwords elsewhere with `FILE:` or `ENV:`.",
            );
        }
    }

    /// Whether a command may stand in this file.
    fn refuse_writable(&mut self, node: &Node, path: &str, what: &str) -> bool {
        let file = &node.at.file;
        if file.mode & 0o022 != 0 {
            self.diags.error_hint(
                &node.at,
                format!("{path}: {what} is refused in a file that its group or others can write"),
                "Take the right away with `chmod go-w`.",
            );
            return false;
        }
        if !is_trusted_owner(file.owner, self.user) {
            self.diags.error_hint(
                &node.at,
                format!("{path}: {what} is refused in a file of another user"),
                "Give the file to root, or to the user who runs the program, with `chown`.",
            );
            return false;
        }
        true
    }

    /// A whole number as YAML 1.1 reads it: unquoted with a leading zero it is octal.
    fn digits(&mut self, text: &str, node: &Node, path: &str) -> Option<i64> {
        let number = digits(text)?;
        let plain = matches!(&node.value, Value::Scalar { text: raw, quoted: false } if raw == text);
        let octal = text.strip_prefix('0').filter(|_| plain).and_then(|t| i64::from_str_radix(t, 8).ok());
        match octal.filter(|octal| *octal != number) {
            None => Some(number),
            Some(octal) => {
                let message = format!("{path}: `{}` is octal and means {octal}, as in v2", show(text));
                self.diags.warn_hint(
                    &node.at,
                    message,
                    format!("Write `{octal}`, or `{number}` if that is meant."),
                );
                Some(octal)
            }
        }
    }

    fn compression(&mut self, node: &Node, path: &str) -> Option<Compression> {
        if let Value::Map(entries) = &node.value {
            let [entry] = &entries[..] else {
                self.diags.error(&node.at, format!("{path}: needs exactly one of `gzip` and `zstd`"));
                return None;
            };
            let (max, make): (i64, fn(u8) -> Compression) = match &*entry.key {
                "gzip" => (12, Compression::Gzip),
                "zstd" => (19, Compression::Zstd),
                other => {
                    let message = format!("{path}: `{}` is not a compression with levels", show(other));
                    self.diags.error_hint(&entry.key_at, message, "Known are `gzip` and `zstd`.");
                    return None;
                }
            };
            let path = join(path, &entry.key);
            let Some(text) = self.text(&entry.value, &path) else {
                if entry.value.is_unset() {
                    self.diags.error(&entry.value.at, format!("{path}: needs a level from 1 to {max}"));
                }
                return None;
            };
            let level = self.number(&text, (1, max), "", &entry.value, &path)?;
            return u8::try_from(level).ok().map(make);
        }
        let text = self.text(node, path)?;
        match &*text {
            "gzip" => Some(Compression::GZIP_DEFAULT),
            "zstd" => Some(Compression::Zstd(ZSTD_DEFAULT)),
            "none" => Some(Compression::None),
            _ => {
                let message = format!("{path}: `{}` is not a compression", shown(node, &text));
                let hint = "Known are `gzip`, `zstd`, `none`, `{gzip: LEVEL}` and `{zstd: LEVEL}`.";
                self.diags.error_hint(&node.at, message, hint);
                None
            }
        }
    }

    fn io_nice(&mut self, node: &Node, path: &str) -> Option<IoNice> {
        let text = match &node.value {
            Value::Map(entries) if entries.len() == 1 => {
                let level = self.text(&entries[0].value, path)?;
                format!("{}:{level}", entries[0].key)
            }
            _ => self.text(node, path)?,
        };
        let found = match text.split_once(':') {
            None => match &*text {
                "idle" => Some(IoNice::Idle),
                "none" => Some(IoNice::None),
                "best-effort" => Some(IoNice::BestEffort(4)),
                _ => None,
            },
            Some(("best-effort", level)) => digits(level.trim())
                .and_then(|n| u8::try_from(n).ok())
                .filter(|n| *n <= 7)
                .map(IoNice::BestEffort),
            Some(_) => None,
        };
        if found.is_none() {
            self.diags.error_hint(
                &node.at,
                format!("{path}: `{}` is not a disk priority", shown(node, &text)),
                "Known are `idle`, `none`, `best-effort` and `best-effort:0` to `best-effort:7`.",
            );
        }
        found
    }
}

/// The value for a message; one that came from elsewhere is shown as its reference, for it may be private.
fn shown(node: &Node, text: &str) -> String {
    match &node.value {
        Value::Scalar { text: raw, .. } if !matches!(secrets::reference(raw), Ok(None)) => show(raw),
        _ => show(text),
    }
}

/// Commands are taken from root and from the user who runs the program.
fn is_trusted_owner(owner: u32, user: Option<u32>) -> bool {
    owner == 0 || user == Some(owner)
}

/// YAML 1.1 booleans, quoted or not, and 0 and 1.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "y" | "1" => Some(true),
        "no" | "off" | "false" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn digits(text: &str) -> Option<i64> {
    let text = text.trim();
    let plain = text.strip_prefix('-').unwrap_or(text);
    let good = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_trusted_from_root_and_from_the_user_of_the_program_alone() {
        for (owner, user, trusted) in [
            (0, Some(7), true),
            (7, Some(7), true),
            (8, Some(7), false),
            (7, Some(0), false),
            (7, None, false),
        ] {
            assert_eq!(is_trusted_owner(owner, user), trusted, "{owner} {user:?}");
        }
    }
}
