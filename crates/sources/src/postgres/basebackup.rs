//! A whole server by `pg_basebackup`: one tar with all that a data directory needs to start, WAL included.

use std::cell::OnceCell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nxs_base::naming;
use nxs_base::ports::source::{Cancel, DumpReport, Sink, Source, Target};
use nxs_base::spec::BasebackupSource as BasebackupSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::Tool;
use nxs_sys::fsx;

use super::keys;
use super::program::{self, Major, Program, Version};
use super::server::Server;
use super::tarball::Tarball;
use crate::registry::Surroundings;
use crate::stream;

/// How large the file with the version in a data directory may be.
const MAX_VERSION_BYTES: u64 = 64;

/// Copies one server.
#[derive(Debug)]
pub struct BasebackupSource {
    wishes: Wishes,
    /// Place in `sources`, from 0.
    index: usize,
    server: Server,
    known: OnceCell<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    client: Program,
    program: Program,
}

/// What the user's keys ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wishes {
    args: Vec<String>,
    /// About keys that today's program does not have.
    warnings: Vec<String>,
    is_bare: bool,
}

impl BasebackupSource {
    /// Asks nobody anything.
    pub fn new(spec: BasebackupSpec, index: usize, around: Surroundings) -> Result<Self> {
        let wishes = wishes(&spec.extra_keys)?;
        let server = Server::new(spec.connect, around);
        Ok(Self { wishes, index, server, known: OnceCell::new() })
    }

    fn known(&self) -> Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let client = Program::any("psql")?;
        let version = self.version(&client)?;
        let program = Program::fitting("pg_basebackup", &version)?;
        Ok(self.known.get_or_init(|| Known { client, program }))
    }

    /// Asked on a connection for replication, which may be the only one that the user has.
    fn version(&self, client: &Program) -> Result<Version> {
        let rows = self.server.ask_replication(client, "SHOW server_version")?;
        let text = rows.into_iter().next().unwrap_or_default();
        match Major::of_text(&text) {
            Some(major) => Ok(Version { major, text }),
            None => self.server.version(client),
        }
    }

    /// Refuses a server with tablespaces of its own, which do not fit into one stream. A user who may not ask hears it
    /// from the program.
    fn check_tablespaces(&self, client: &Program) -> Result<()> {
        let question = "SELECT spcname FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''";
        let Ok(rows) = self.server.ask_common(client, "", 1, question) else { return Ok(()) };
        let names: Vec<String> = rows.into_iter().flatten().collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(with_tablespaces(&format!("{} has tablespaces (`{}`)", self.server.place(), names.join("`, `"))))
    }
}

fn with_tablespaces(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}, and a single stream can carry one directory alone"))
        .with_hint("Save the databases with `type: postgresql`, or move the tables (`ALTER TABLE … SET TABLESPACE pg_default`).")
}

impl Source for BasebackupSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let name = naming::basebackup_target(self.index);
        Ok(vec![Ok(Target {
            name: name.stem.clone(),
            part: name.part,
            file_stem: name.stem,
            extension: "tar".to_owned(),
            root: self.server.place(),
        })])
    }

    /// The server lets the user replicate, the program fits, and there is one directory alone.
    fn probe(&self, _: &Target) -> Result<()> {
        self.check_tablespaces(&self.known()?.client)
    }

    fn dump(&self, _: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let known = self.known()?;
        let tool = self.server.tool(&known.program)?.args(&self.wishes.args);
        let mut tarball = Tarball::default();
        let dumped = stream::pump_judged(b"", tool, sink, cancel, &mut |bytes| tarball.push(bytes));
        let dumped =
            dumped.map_err(|error| match error.to_string().contains("single tablespace to stdout") {
                true => with_tablespaces(&format!("{} has tablespaces", self.server.place())),
                false => self.server.judged(error),
            })?;
        tarball.finish(!self.wishes.is_bare && known.program.major.is_from(13))?;
        let mut report = dumped.unmarked_report(&known.program.text);
        report.warnings.extend(self.wishes.warnings.iter().cloned());
        Ok(report)
    }
}

/// Turns the user's keys, those of version 2's time too, into arguments.
fn wishes(words: &[String]) -> Result<Wishes> {
    let keys = keys::parse(words, &keys::BASEBACKUP)?;
    keys::check(&keys, &keys::BASEBACKUP)?;
    let mut wishes = Wishes::default();
    let mut wal = "fetch";
    let (mut has_checkpoint, mut has_label) = (false, false);
    for key in &keys {
        let value = key.value.as_deref().unwrap_or_default();
        let refuse = |hint: &str| {
            let text = format!("extra_keys: `{}` cannot be used here", key.args().join(" "));
            Err(Error::new(ErrorKind::Invalid, text).with_hint(hint))
        };
        if key.is('x', "--xlog") {
            wishes.warnings.push("`-x` of `extra_keys` is gone since PostgreSQL 10, and is read as `--wal-method=fetch`, which needs not be said".to_owned());
        } else if key.is('X', "--wal-method") || key.is('\0', "--xlog-method") {
            match value.chars().next() {
                Some('f') => {}
                Some('n') => {
                    wal = "none";
                    wishes.warnings.push("the copy has no WAL (`--wal-method=none`): it starts only with an archive of it".to_owned());
                }
                _ => wishes.warnings.push("a single stream carries no streamed WAL: `--wal-method` of `extra_keys` is read as `fetch`".to_owned()),
            }
        } else if key.is('F', "--format") {
            if !value.starts_with('t') {
                return refuse("The copy is a stream, hence a tar.");
            }
        } else if key.is('D', "--pgdata") {
            if value != "-" {
                return refuse("The copy goes to the storages.");
            }
        } else if key.is('P', "--progress") || key.is('v', "--verbose") {
            // Nobody looks on.
        } else {
            has_checkpoint |= key.is('c', "--checkpoint");
            has_label |= key.is('l', "--label");
            wishes.is_bare |= key.is('\0', "--no-manifest");
            wishes.args.extend(key.args());
        }
    }
    let own = ["--pgdata=-".to_owned(), "--format=tar".to_owned(), format!("--wal-method={wal}")];
    wishes.args.extend(own);
    if !has_checkpoint {
        wishes.args.push("--checkpoint=fast".to_owned());
    }
    if !has_label {
        wishes.args.push("--label=nxs-backup".to_owned());
    }
    Ok(wishes)
}

/// Makes a directory that was restored one that a server starts on: its mode and owner; then has it compared with its
/// manifest, where the program for that is installed. Says what was done.
pub(crate) fn settle(dir: &Path) -> Result<Vec<String>> {
    let file = dir.join("PG_VERSION");
    let text = fsx::read_capped(&file, MAX_VERSION_BYTES)?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let Some(major) = Major::of_text(&text) else {
        let text = format!("`{}` tells no version of PostgreSQL", file.display());
        return Err(Error::new(ErrorKind::Corrupt, text));
    };
    let meta = fsx::lstat(&file)?;
    let opened = fsx::open(dir)?;
    let own = fsx::stat(dir)?;
    if (meta.uid(), meta.gid()) != (own.uid(), own.gid()) {
        nxs_sys::safe::set_owner_fd(&opened, meta.uid(), meta.gid())?;
    }
    nxs_sys::safe::set_mode_fd(&opened, 0o700)?;
    if !dir.join("backup_manifest").exists() {
        return Ok(vec!["it has no manifest to compare it with".to_owned()]);
    }
    let Some(program) = program::beside("pg_verifybackup", major) else {
        let text = format!(
            "it was not compared with its manifest: there is no `pg_verifybackup` of PostgreSQL {major}"
        );
        return Ok(vec![text]);
    };
    let tool = Tool::new(program).arg("--quiet").arg(dir);
    tool.output(1 << 20, &Cancel::new()).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("`{}` differs from its manifest", dir.display()))
            .with_source(error)
    })?;
    Ok(vec!["it is as its manifest says (`pg_verifybackup`)".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(text: &str) -> Result<Wishes> {
        wishes(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_keys_of_version_2_become_those_of_today() {
        let own =
            ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--label=nxs-backup"];
        let v2 = wished("-x --format=tar -D -").unwrap();
        assert_eq!((v2.args.as_slice(), v2.warnings.len()), (&own.map(str::to_owned)[..], 1));
        assert_eq!(
            wished("").unwrap(),
            Wishes { args: own.map(str::to_owned).to_vec(), ..Wishes::default() }
        );
        let more = wished("-Ft -X stream -c spread --max-rate=1M --no-manifest -Pv").unwrap();
        assert_eq!(
            more.args,
            [
                "-c",
                "spread",
                "--max-rate=1M",
                "--no-manifest",
                "--pgdata=-",
                "--format=tar",
                "--wal-method=fetch",
                "--label=nxs-backup"
            ]
        );
        assert!(more.is_bare && more.warnings.len() == 1);
        assert!(wished("-Xn").unwrap().args.contains(&"--wal-method=none".to_owned()));
    }

    #[test]
    fn keys_that_make_something_else_of_it_are_refused() {
        for text in
            ["-D /srv/copy", "-Fp", "--format=plain", "-R", "-z", "-S slot", "-C", "-h other", "--gzip"]
        {
            assert_eq!(wished(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }
}
