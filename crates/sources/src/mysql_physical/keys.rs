//! `extra_keys`: arguments that were written for any generation of the backup programs, as today's take them.
//!
//! v2's templates have those of `innobackupex`, which is gone: what has another name today gets it, what has no meaning
//! any more goes with a warning. What would lead the backup elsewhere, or show a password, is refused.

use nxs_base::{Error, ErrorKind, Result};

/// What goes to the program, and what a person should hear of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) args: Vec<String>,
    /// Another data directory than the server names: where it is mounted on this host.
    pub(super) datadir: Option<String>,
    pub(super) warnings: Vec<String>,
}

const ELSEWHERE: &str = "The backup goes to the storages; nothing is written elsewhere.";
const OPTION_FILE: &str = "Set `path_to_conf` or `auth_file` in `connect`.";
const PASSWORD: &str = "Everybody on this host can see it; set `db_password`.";
const ACTION: &str = "A job makes backups; `restore` prepares and copies them back.";
const OWN_COMPRESSION: &str = "Set `compression` instead; restores then need no further tool.";
const INCREMENTS: &str =
    "Set `incremental: {full_every: DAYS}` in the source; what an increment follows is known then.";

/// Keys that cannot be used, with the reason.
const REFUSED: [(&str, &str); 26] = [
    ("target-dir", ELSEWHERE),
    ("extra-lsndir", ELSEWHERE),
    ("password", PASSWORD),
    ("defaults-file", OPTION_FILE),
    ("defaults-extra-file", OPTION_FILE),
    ("login-path", OPTION_FILE),
    ("prepare", ACTION),
    ("apply-log", ACTION),
    ("apply-log-only", ACTION),
    ("redo-only", ACTION),
    ("copy-back", ACTION),
    ("move-back", ACTION),
    ("export", ACTION),
    ("decompress", ACTION),
    ("decrypt", ACTION),
    ("stats", ACTION),
    ("print-param", ACTION),
    ("help", ACTION),
    ("version", ACTION),
    ("compress", OWN_COMPRESSION),
    ("encrypt", "Encryption of the program's own is not undone by `restore`."),
    ("incremental", INCREMENTS),
    ("incremental-lsn", INCREMENTS),
    ("incremental-basedir", INCREMENTS),
    ("incremental-dir", INCREMENTS),
    ("incremental-history-name", INCREMENTS),
];

/// Keys of `innobackupex` that mean nothing to today's programs.
const GONE: [&str; 7] = ["no-timestamp", "compact", "rsync", "ibbackup", "tmpdir", "scpopt", "sshopt"];

/// Keys of `innobackupex` that have another name today.
const RENAMED: [(&str, &str); 4] = [
    ("include", "tables"),
    ("lock-wait-timeout", "ftwrl-wait-timeout"),
    ("lock-wait-threshold", "ftwrl-wait-threshold"),
    ("lock-wait-query-type", "ftwrl-wait-query-type"),
];

/// Keys whose value may stand as an argument of its own.
const WITH_VALUE: [&str; 27] = [
    "stream",
    "throttle",
    "parallel",
    "use-memory",
    "databases",
    "databases-file",
    "databases-exclude",
    "tables",
    "tables-file",
    "tables-exclude",
    "include",
    "tmpdir",
    "datadir",
    "user",
    "host",
    "port",
    "socket",
    "protocol",
    "kill-long-queries-timeout",
    "safe-slave-backup-timeout",
    "ftwrl-wait-timeout",
    "ftwrl-wait-threshold",
    "lock-wait-timeout",
    "lock-wait-threshold",
    "ibbackup",
    "defaults-group",
    "open-files-limit",
];

/// [`ErrorKind::Invalid`] for keys that cannot be used here. Says no value of a key that may be secret.
pub(super) fn read(given: &[String]) -> Result<Keys> {
    let mut keys = Keys::default();
    let mut rest = given.iter().peekable();
    while let Some(key) = rest.next() {
        let Some(long) = key.strip_prefix("--") else {
            keys.take_short(key)?;
            continue;
        };
        let (name, mut value) = match long.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value.to_owned())),
            None => (long.replace('_', "-"), None),
        };
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(refuse(&format!("--{name}"), why));
        }
        if value.is_none() && WITH_VALUE.contains(&name.as_str()) {
            value = rest.next_if(|next| !next.starts_with('-')).cloned();
        }
        keys.take(&name, value)?;
    }
    Ok(keys)
}

fn refuse(key: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("extra_keys: `{key}` cannot be used here")).with_hint(why)
}

impl Keys {
    /// Whether only some of the databases or tables are copied.
    pub(super) fn is_part(&self) -> bool {
        let chooses = |arg: &String| ["--databases", "--tables"].iter().any(|key| arg.starts_with(key));
        self.args.iter().any(chooses)
    }

    fn take(&mut self, name: &str, value: Option<String>) -> Result<()> {
        match (name, value) {
            // Ours.
            ("backup", _) => {}
            ("stream", Some(form)) => match form.as_str() {
                "xbstream" | "mbstream" => {}
                "tar" => self.warn("`--stream=tar` is `--stream=xbstream` today".to_owned()),
                _ => {
                    return Err(refuse(
                        &format!("--stream={}", form.escape_debug()),
                        "Backups are xbstream.",
                    ));
                }
            },
            ("stream", None) => return Err(refuse("--stream", "Backups are xbstream.")),
            ("datadir", Some(dir)) => self.datadir = Some(dir),
            (name, _) if GONE.contains(&name) => {
                self.warn(format!("`--{name}` means nothing to today's programs and is left out"));
            }
            (name, value) => {
                let renamed = RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new);
                if let Some(new) = renamed {
                    self.warn(format!("`--{name}` is `--{new}` today"));
                }
                let name = renamed.unwrap_or(name);
                self.args.push(match value {
                    Some(value) => format!("--{name}={value}"),
                    None => format!("--{name}"),
                });
            }
        }
        Ok(())
    }

    fn take_short(&mut self, key: &str) -> Result<()> {
        if key.starts_with("-p") {
            return Err(refuse("-p", PASSWORD));
        }
        if key.starts_with("-h") {
            return Err(refuse(
                "-h",
                "It means `--datadir` to one program and `--host` to another; write which.",
            ));
        }
        if let Some(short) = key.strip_prefix('-').filter(|short| !short.is_empty()) {
            let known = short.starts_with(['u', 'H', 'P', 'S', 't', 'V', 'v', '#']);
            if known {
                self.args.push(key.to_owned());
                return Ok(());
            }
        }
        // The directory that `innobackupex` wanted, even where it only printed.
        if key.starts_with(['.', '/']) {
            self.warn(format!("the directory `{}` is not needed today and is left out", key.escape_debug()));
            return Ok(());
        }
        Err(refuse(&key.escape_debug().to_string(), "Write keys as `--key=value`."))
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(format!("extra_keys: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Keys> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn keys_of_old_templates_become_those_of_today_with_a_warning() {
        let keys = read_line("--no-timestamp --compact --throttle=5 --stream=tar ./").unwrap();
        assert_eq!(keys.args, ["--throttle=5"]);
        assert_eq!(keys.warnings.len(), 4, "{:?}", keys.warnings);
        assert!(
            keys.warnings.contains(&"extra_keys: `--stream=tar` is `--stream=xbstream` today".to_owned())
        );
        let keys = read_line("--include=shop --lock_wait_timeout 60 --parallel 2 --stream xbstream").unwrap();
        assert_eq!(keys.args, ["--tables=shop", "--ftwrl-wait-timeout=60", "--parallel=2"]);
        let keys = read_line("--backup --datadir=/srv/mysql --slave-info --throttle 3").unwrap();
        assert_eq!(
            (keys.args, keys.datadir.as_deref()),
            (vec!["--slave-info".into(), "--throttle=3".into()], Some("/srv/mysql"))
        );
        assert_eq!(keys.warnings, Vec::<String>::new());
    }

    #[test]
    fn keys_that_lead_elsewhere_or_show_a_password_are_refused() {
        for line in [
            "--target-dir=/tmp/x",
            "--target-dir /tmp/x",
            "--target_dir=/x",
            "--stream=qpress",
            "--stream",
            "--password=s3cret",
            "-ps3cret",
            "--defaults-file=/x",
            "--prepare",
            "--copy-back",
            "--compress",
            "--encrypt=AES256",
            "--incremental-lsn=5",
            "-h/var/lib/mysql",
            "shop",
        ] {
            let error = read_line(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{line}");
            assert!(!error.chain().contains("s3cret") && error.hint().is_some(), "{error:?}");
        }
    }
}
