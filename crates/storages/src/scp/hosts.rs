//! Keys of SSH hosts: what `known_hosts` says of the one that answers, and remembering a new one.
//!
//! The format is that of OpenSSH (sshd(8)): patterns, hashed names, `@revoked`. Authorities that vouch for hosts
//! (`@cert-authority`) are not asked.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nxs_base::spec::storage::HostKey;
use nxs_base::{Error, ErrorKind, Result, shell};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::net::Server;

const OF_THE_SYSTEM: &str = "/etc/ssh/ssh_known_hosts";

/// What is known of one host, before it answers.
#[derive(Debug, Clone)]
pub(super) struct KnownHost {
    server: Server,
    check: HostKey,
    /// Where a new key is remembered.
    file: PathBuf,
    keys: Vec<PublicKey>,
    /// Known for the host on whatever port; they do where nothing is known of this one.
    of_any_port: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl KnownHost {
    /// Reads `file`, else that of the user who runs this and that of the system.
    pub(super) fn read(server: &Server, check: HostKey, file: Option<&str>) -> Result<Self> {
        let own = file.map_or_else(|| home().join(".ssh/known_hosts"), PathBuf::from);
        let mut files = vec![own.clone()];
        if file.is_none() {
            files.push(PathBuf::from(OF_THE_SYSTEM));
        }
        let mut known = Self {
            server: server.clone(),
            check,
            file: own,
            keys: Vec::new(),
            of_any_port: Vec::new(),
            revoked: Vec::new(),
        };
        if check == HostKey::Off {
            return Ok(known);
        }
        for path in files {
            match fs::read(&path) {
                Ok(bytes) => known.add(&String::from_utf8_lossy(&bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let message = format!("cannot read the known hosts in `{}`", path.display());
                    return Err(Error::io(message, e));
                }
            }
        }
        Ok(known)
    }

    fn add(&mut self, text: &str) {
        let name = name_of(&self.server.host, self.server.port);
        let plain = self.server.host.to_lowercase();
        for line in text.lines().filter_map(Line::parse) {
            let is_this = matches(line.hosts, &name);
            if line.is_revoked {
                if is_this || matches(line.hosts, &plain) {
                    self.revoked.push(line.key);
                }
            } else if is_this {
                self.keys.push(line.key);
            } else if matches(line.hosts, &plain) {
                self.of_any_port.push(line.key);
            }
        }
    }

    /// Sorts algorithms so that those of known keys come first: a host with several keys then shows one that can be
    /// compared.
    pub(super) fn sort(&self, algorithms: &[Algorithm]) -> Vec<Algorithm> {
        let keys = if self.keys.is_empty() { &self.of_any_port } else { &self.keys };
        let is_known = |a: &Algorithm| keys.iter().any(|k| is_same_family(&k.algorithm(), a));
        let (known, other): (Vec<_>, Vec<_>) = algorithms.iter().cloned().partition(is_known);
        known.into_iter().chain(other).collect()
    }

    /// Judges the key of the host that answered; remembers it where that was asked for.
    pub(super) fn check(&mut self, key: &PublicKey) -> Result<()> {
        if self.check == HostKey::Off {
            return Ok(());
        }
        let has = |keys: &[PublicKey]| keys.iter().any(|known| known.key_data() == key.key_data());
        let server = &self.server;
        let print = key.fingerprint(HashAlg::Sha256);
        if has(&self.revoked) {
            let message = format!("the key of {server} is revoked: {print}");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        if has(&self.keys) || self.keys.is_empty() && has(&self.of_any_port) {
            return Ok(());
        }
        if !self.keys.is_empty() {
            let message = format!("the key of {server} is not the one that is known: it shows {print}");
            let hint = format!(
                "Somebody may be listening. If the server really has a new key, remove the old one: \
                 `ssh-keygen -R {} -f {}`.",
                shell::quote(&name_of(&server.host, server.port)),
                shell::quote(&self.file.to_string_lossy())
            );
            return Err(Error::new(ErrorKind::Denied, message).with_hint(hint));
        }
        if self.check == HostKey::Strict {
            let message = format!("the key of {server} is not known: it shows {print}");
            let hint = format!("Put it into `{}`, or set `host_key: accept-new`.", self.file.display());
            return Err(Error::new(ErrorKind::Denied, message).with_hint(hint));
        }
        self.remember(key).map_err(|e| {
            let message = format!("cannot remember the key of {server} in `{}`", self.file.display());
            Error::io(message, e).with_hint("Name a file that can be written: `known_hosts`.")
        })?;
        // Asked again when the connection changes its keys.
        self.keys.push(key.clone());
        Ok(())
    }

    fn remember(&self, key: &PublicKey) -> io::Result<()> {
        if let Some(dir) = self.file.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        let key = key.to_openssh().map_err(io::Error::other)?;
        let line = format!("{} {}\n", name_of(&self.server.host, self.server.port), key.trim());
        // In one piece, for two that write at once; a line break before it where an editor left the last one out.
        let is_open = fs::read(&self.file)?.last().is_some_and(|b| *b != b'\n');
        file.write_all(format!("{}{line}", if is_open { "\n" } else { "" }).as_bytes())
    }
}

/// How a host is called in the file.
fn name_of(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

struct Line<'a> {
    hosts: &'a str,
    is_revoked: bool,
    key: PublicKey,
}

impl<'a> Line<'a> {
    /// None for comments, authorities, and keys of unknown kinds.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let mut hosts = fields.next().filter(|first| !first.starts_with('#'))?;
        let marker = hosts.starts_with('@').then_some(hosts);
        if marker.is_some() {
            hosts = fields.next()?;
        }
        if marker.is_some_and(|m| m != "@revoked") {
            return None;
        }
        let key = format!("{} {}", fields.next()?, fields.next()?);
        let key = PublicKey::from_openssh(&key).ok()?;
        Some(Self { hosts, is_revoked: marker.is_some(), key })
    }
}

/// Whether a list of patterns, or a hashed name, means this host.
fn matches(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return hashed.split_once('|').is_some_and(|(salt, hash)| is_hash(salt, hash, name));
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(&pattern.to_lowercase(), name) => return false,
            Some(_) => {}
            None => found |= fits(&pattern.to_lowercase(), name),
        }
    }
    found
}

/// SHA-1, as OpenSSH has it; it hides names and proves nothing.
fn is_hash(salt: &str, hash: &str, name: &str) -> bool {
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    hmac::verify(&key, name.as_bytes(), &hash).is_ok()
}

/// `*` and `?`, as in a shell but for nothing else.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Behind the last `*`, and how far the name had come there.
    let mut back = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                back = Some((p, n));
            }
            Some(c) if *c == b'?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut back {
                Some((after, at)) => {
                    *at += 1;
                    (p, n) = (*after, *at);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

fn is_same_family(one: &Algorithm, other: &Algorithm) -> bool {
    let is_rsa = |a: &Algorithm| matches!(a, Algorithm::Rsa { .. });
    one == other || is_rsa(one) && is_rsa(other)
}

/// The home directory of the user who runs this, as the user database says.
fn home() -> PathBuf {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = users.find(|fields| fields.get(2) == Some(&&*uid));
    found.and_then(|fields| fields.get(5).map(PathBuf::from)).unwrap_or_else(|| Path::new("/root").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    /// What a file says of `bk.example.org`, port 2222, that shows [`ONE`].
    fn judged(file: &str, check: HostKey) -> (Option<ErrorKind>, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/known_hosts");
        if !file.is_empty() {
            fs::create_dir(dir.path().join("sub")).unwrap();
            fs::write(&path, file).unwrap();
        }
        let server = Server::new("scp", "BK.example.org", 2222);
        let mut known = KnownHost::read(&server, check, path.to_str()).unwrap();
        let key = PublicKey::from_openssh(ONE).unwrap();
        let outcome = known.check(&key);
        let after = fs::read_to_string(&path).unwrap_or_default();
        if outcome.is_ok() {
            known.check(&key).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap_or_default(), after, "remembered once");
        }
        (outcome.err().map(|e| e.kind()), after)
    }

    #[test]
    fn a_new_key_is_remembered_where_that_is_allowed() {
        let line = format!("[bk.example.org]:2222 {ONE}\n");
        assert_eq!(judged("", HostKey::AcceptNew), (None, line.clone()));
        let open = format!("other.example.org {OTHER}");
        assert_eq!(judged(&open, HostKey::AcceptNew), (None, format!("{open}\n{line}")));
        assert_eq!(judged(&line, HostKey::Strict), (None, line));
        assert_eq!(judged("", HostKey::Strict), (Some(ErrorKind::Denied), String::new()));
        assert_eq!(judged("", HostKey::Off), (None, String::new()));
    }

    #[test]
    fn another_key_than_the_known_one_is_refused_and_nothing_is_changed() {
        for check in [HostKey::AcceptNew, HostKey::Strict] {
            let line = format!("[bk.example.org]:2222 {OTHER}\n");
            assert_eq!(judged(&line, check), (Some(ErrorKind::Denied), line));
        }
    }

    #[test]
    fn names_are_matched_as_openssh_does() {
        let knows = |hosts: &str| judged(&format!("{hosts} {ONE} a comment\n"), HostKey::Strict).0.is_none();
        assert!(knows("[bk.example.org]:2222") && knows("x,[BK.example.org]:2222,y"));
        assert!(knows("bk.example.org"), "a key of the host on whatever port");
        assert!(knows("[*.example.org]:*") && knows("[b?.*]:2222") && knows("*.example.*"));
        assert!(
            !knows("*.example.org,!bk.example.org")
                && !knows("[bk.example.org]:22")
                && !knows("k.example.org")
        );
        assert!(!knows("# [bk.example.org]:2222") && !knows("@cert-authority [bk.example.org]:2222"));
        let known = format!("[bk.example.org]:2222 {ONE}\n");
        let revoked = format!("{known}@revoked * {ONE}\n");
        assert_eq!(judged(&known, HostKey::Strict).0, None);
        assert_eq!(judged(&revoked, HostKey::AcceptNew).0, Some(ErrorKind::Denied));
    }

    #[test]
    fn names_that_ssh_keygen_hashed_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        fs::write(&path, format!("[bk.example.org]:2222 {ONE}\n")).unwrap();
        let done =
            std::process::Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let hashed = fs::read_to_string(&path).unwrap();
        assert!(hashed.starts_with("|1|") && !hashed.contains("example"), "{hashed}");
        assert_eq!(judged(&hashed, HostKey::Strict).0, None);
        assert_eq!(judged(&hashed.replace(ONE, OTHER), HostKey::AcceptNew).0, Some(ErrorKind::Denied));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let server = Server::new("scp", "h", 22);
        let dir = tempfile::tempdir().unwrap();
        assert!(KnownHost::read(&server, HostKey::AcceptNew, dir.path().to_str()).is_err());
    }
}
