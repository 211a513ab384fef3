//! Keys of the user for the programs of PostgreSQL: read as `getopt_long` reads them, and refused where no dump would
//! arrive here.

use nxs_base::{Error, ErrorKind, Result};

/// The keys of a program that matter here.
pub(super) struct Table {
    /// Short keys that take a value.
    pub(super) with_value: &'static str,
    /// Short and long name of what is refused, and why; a short name may be `\0`.
    pub(super) refused: &'static [(char, &'static str, &'static str)],
}

const WHERE: &str = "How the server is reached is said by `connect`.";
const PASSWORD: &str = "Nobody is there to be asked; set `db_password`.";

/// `pg_dump`.
pub(super) const DUMP: Table = Table {
    with_value: "eEfFhjnNpStTUdZ",
    refused: &[
        ('f', "--file", "The dump goes to the storages."),
        ('F', "--format", "Set `format` of the source."),
        ('j', "--jobs", "Dumps by several jobs go into a directory, and not into a stream."),
        ('Z', "--compress", "Set `gzip` or `compression`."),
        ('d', "--dbname", "Databases are chosen by `target`."),
        ('h', "--host", WHERE),
        ('p', "--port", WHERE),
        ('U', "--username", WHERE),
        ('W', "--password", PASSWORD),
        ('V', "--version", "It makes no dump."),
        ('?', "--help", "It makes no dump."),
    ],
};

/// `pg_basebackup`.
pub(super) const BASEBACKUP: Table = Table {
    with_value: "cdDFhilprsStTUXZ",
    refused: &[
        ('R', "--write-recovery-conf", "It would stand in every restored copy; make `standby.signal` there."),
        ('T', "--tablespace-mapping", "It is for backups in directories."),
        ('\0', "--waldir", "It is for backups in directories."),
        ('t', "--target", "The backup goes to the storages."),
        ('Z', "--compress", "Set `gzip` or `compression`."),
        ('z', "--gzip", "Set `gzip` or `compression`."),
        ('i', "--incremental", "Increments of the server are not supported here."),
        ('S', "--slot", "Slots are for streamed WAL, which a single stream cannot carry."),
        ('C', "--create-slot", "Slots are for streamed WAL, which a single stream cannot carry."),
        ('d', "--dbname", WHERE),
        ('h', "--host", WHERE),
        ('p', "--port", WHERE),
        ('U', "--username", WHERE),
        ('W', "--password", PASSWORD),
        ('V', "--version", "It makes no backup."),
        ('?', "--help", "It makes no backup."),
    ],
};

/// One key as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// `-Z` or `--compress`, as it was written.
    pub(super) name: String,
    pub(super) value: Option<String>,
}

impl Key {
    /// Whether it is this one; long names may be cut short.
    pub(super) fn is(&self, short: char, long: &str) -> bool {
        match self.name.strip_prefix("--") {
            Some(name) => {
                !name.is_empty() && long.strip_prefix("--").is_some_and(|long| long.starts_with(name))
            }
            None => self.name.chars().nth(1) == Some(short),
        }
    }

    /// As an argument again.
    pub(super) fn args(&self) -> Vec<String> {
        match (&self.value, self.name.starts_with("--")) {
            (None, _) => vec![self.name.clone()],
            (Some(value), true) => vec![format!("{}={value}", self.name)],
            (Some(value), false) => vec![self.name.clone(), value.clone()],
        }
    }
}

/// Takes keys apart; words that belong to a long key before them are its value.
pub(super) fn parse(words: &[String], table: &Table) -> Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    let mut takes_value = false;
    for word in words {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            takes_value = value.is_none();
            keys.push(Key { name: format!("--{name}"), value: value.map(str::to_owned) });
        } else if let Some(letters) =
            word.strip_prefix('-').filter(|letters| !letters.is_empty() && !takes_short(&keys, takes_value))
        {
            takes_value = false;
            let mut rest = letters.chars();
            while let Some(letter) = rest.next() {
                let has_value = table.with_value.contains(letter);
                let value = rest.as_str().to_owned();
                takes_value = has_value && value.is_empty();
                keys.push(Key {
                    name: format!("-{letter}"),
                    value: (has_value && !value.is_empty()).then_some(value),
                });
                if has_value {
                    break;
                }
            }
        } else if let Some(key) = keys.last_mut().filter(|_| takes_value) {
            key.value = Some(word.clone());
            takes_value = false;
        } else {
            let text = format!("extra_keys: `{}` is no key", word.escape_debug());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    Ok(keys)
}

/// Whether the key before, a short one, still waits for its value, whatever that opens with.
fn takes_short(keys: &[Key], takes_value: bool) -> bool {
    takes_value && keys.last().is_some_and(|key| !key.name.starts_with("--"))
}

/// [`ErrorKind::Invalid`] for the first key that is refused.
pub(super) fn check(keys: &[Key], table: &Table) -> Result<()> {
    for key in keys {
        if let Some((_, name, why)) = table.refused.iter().find(|(short, long, _)| key.is(*short, long)) {
            let text = format!("extra_keys: `{name}` cannot be used here");
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(*why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn checked(text: &str, table: &Table) -> String {
        match parse(&words(text), table).and_then(|keys| check(&keys, table).map(|()| keys)) {
            Ok(keys) => keys.iter().flat_map(Key::args).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn keys_are_taken_apart_as_the_programs_do_it() {
        assert_eq!(
            checked("-Ox --no-comments -npublic -n x --schema=y --schema z -bT a", &DUMP),
            "-O -x --no-comments -n public -n x --schema=y --schema=z -b -T a"
        );
        assert_eq!(checked("-x --format=tar -D -", &BASEBACKUP), "-x --format=tar -D -");
        assert_eq!(checked("shop", &DUMP), "extra_keys: `shop` is no key");
        assert_eq!(checked("-n a shop", &DUMP), "extra_keys: `shop` is no key");
    }

    #[test]
    fn keys_that_lead_elsewhere_are_refused_in_every_spelling() {
        for text in ["-f x", "-fx", "--file=x", "--fil x", "-Ofx", "-xOf x"] {
            assert_eq!(checked(text, &DUMP), "extra_keys: `--file` cannot be used here", "{text}");
        }
        assert_eq!(checked("-Fc", &DUMP), "extra_keys: `--format` cannot be used here");
        assert_eq!(checked("-W", &DUMP), "extra_keys: `--password` cannot be used here");
        assert_eq!(
            checked("--dbname=postgresql://u:p@h/x", &DUMP),
            "extra_keys: `--dbname` cannot be used here"
        );
        assert_eq!(checked("-R", &BASEBACKUP), "extra_keys: `--write-recovery-conf` cannot be used here");
        assert_eq!(checked("--no-owner --if-exists --clean -v", &DUMP), "--no-owner --if-exists --clean -v");
    }
}
