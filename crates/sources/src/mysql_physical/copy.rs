//! One copy of a data directory: where that is, the arguments of the backup program, and the run with its judgement.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nxs_archive::xbstream::Totals;
use nxs_base::ports::source::{Cancel, DumpReport, Sink};
use nxs_base::record::{LogOrigin, LogSpan, Tool as ToolRecord};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{self, Ended, Tool};
use nxs_sys::{fsx, host};

use super::keys::Keys;
use super::prepared::{self, Scratch};
use super::stream::{CHECKPOINTS, Facts, INFO, Notes, Watch};
use super::{Known, place};
use crate::mysql::program::{Flavour, Program, Version};
use crate::mysql::server::Server;
use crate::stream;

/// Of what kind a copy says that it is.
pub(super) const FULL: &str = "full-backuped";
pub(super) const INCREMENT: &str = "incremental";
/// The last line of what the program says if all went well.
const ALL_WELL: &str = "completed OK!";

/// The server, with the socket or the port that its configuration file has for the server itself, where `connect` names
/// none: clients do not look there.
pub(super) fn reached(server: &Server) -> Result<Server> {
    let mut reached = server.clone();
    let connect = &server.connect;
    let (Some(file), None, None, None) =
        (&server.config, &connect.host, &connect.socket, &connect.option_file)
    else {
        return Ok(reached);
    };
    let Some(program) = child::find(&["my_print_defaults"]) else { return Ok(reached) };
    let command = Tool::new(program).arg(format!("--defaults-file={file}"));
    let said = command.args(["mysqld", "server", "mariadb", "mariadbd", "client"]);
    let said = said.output(1 << 20, &Cancel::new())?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let last = |name: &str| said.lines().rev().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    match (last("--socket="), last("--port=")) {
        (Some(socket), _) => reached.connect.socket = Some(socket),
        (None, Some(port)) => {
            reached.connect.host = Some("127.0.0.1".to_owned());
            reached.connect.port = port.parse().ok();
        }
        (None, None) => {}
    }
    Ok(reached)
}

/// What a server tells of itself.
pub(super) struct Told {
    pub(super) version: Version,
    datadir: String,
    host: String,
    pub(super) lsn: Option<Lsn>,
    /// MySQL's id of the server.
    uuid: Option<String>,
    /// Start of the server by its own clock, seconds since 1970; none where it does not tell.
    up_since: Option<i64>,
}

/// How far the redo log of a server is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lsn {
    checkpoint: u64,
    current: u64,
}

impl Lsn {
    const QUESTION: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_last_checkpoint', \
        'Innodb_lsn_current', 'Innodb_redo_log_checkpoint_lsn', 'Innodb_redo_log_current_lsn')";

    /// None where a server does not tell.
    fn read(rows: &[Vec<String>]) -> Option<Self> {
        let value = |part: &str| value(rows, part)?.parse().ok();
        Some(Self { checkpoint: value("checkpoint")?, current: value("current")? })
    }

    pub(super) fn current(self) -> u64 {
        self.current
    }
}

/// Of the first variable with this in its name.
fn value<'r>(rows: &'r [Vec<String>], part: &str) -> Option<&'r str> {
    let row = rows.iter().find(|row| row.first().is_some_and(|name| name.contains(part)))?;
    row.get(1).map(String::as_str)
}

/// Asks all of it at once: every question is a program that starts.
pub(super) fn ask(server: &Server, client: &Program) -> Result<Told> {
    let question = format!(
        "SELECT VERSION(), @@datadir, @@hostname, UNIX_TIMESTAMP(); {}; SHOW GLOBAL STATUS LIKE 'Uptime'; \
         SHOW GLOBAL VARIABLES LIKE 'server_uuid'",
        Lsn::QUESTION
    );
    let rows = server.ask(client, &question)?;
    let told = rows.split_first().and_then(|(first, rest)| match first.as_slice() {
        [version, datadir, host, now] => Some((Version::of_server(version)?, datadir, host, now, rest)),
        _ => None,
    });
    let Some((version, datadir, host, now, rest)) = told else {
        let text = format!("{} does not tell its version and its data directory", server.place());
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let uptime = value(rest, "Uptime").and_then(|uptime| uptime.parse::<i64>().ok());
    Ok(Told {
        version,
        datadir: datadir.clone(),
        host: host.clone(),
        lsn: Lsn::read(rest),
        uuid: value(rest, "server_uuid").map(str::to_owned),
        up_since: now.parse::<i64>().ok().zip(uptime).map(|(now, uptime)| now - uptime),
    })
}

/// What stands for the life of this server over these files, copied with these arguments; none if that cannot be known.
pub(super) fn origin(told: &Told, datadir: &Path, tool: &Program, keys: &Keys) -> Option<LogOrigin> {
    if keys.is_part() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    let mut take = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    take(told.uuid.as_deref().unwrap_or_default().as_bytes());
    take(datadir.as_os_str().as_encoded_bytes());
    // Files that were put there anew are others. The shared one may lie elsewhere.
    for path in [datadir.to_owned(), datadir.join("ibdata1")] {
        let Ok(meta) = fsx::stat(&path) else { continue };
        let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        take(&meta.ino().to_le_bytes());
        take(&born.unwrap_or_default().as_nanos().to_le_bytes());
    }
    keys.args.iter().for_each(|arg| take(arg.as_bytes()));
    let name = if tool.version.flavour == Flavour::Mysql { "xtrabackup" } else { "mariadb-backup" };
    let (major, minor, _) = tool.version.numbers;
    Some(LogOrigin {
        server: hasher.finalize().to_hex()[..32].to_owned(),
        up_since: told.up_since?,
        tool: format!("{name} {major}.{minor}"),
    })
}

/// The data directory of the server, which has to be on this host. `given` says where it is mounted, if not there.
pub(super) fn datadir(server: &Server, told: &Told, given: Option<&str>) -> Result<PathBuf> {
    let Told { datadir: told, host: name, version, .. } = told;
    let hint = "Physical backups read the files of the server: run them on its host.";
    let is_here = server.connect.option_file.is_some()
        || server.connect.host.as_deref().is_none_or(is_loopback)
        || *name == host::host_name();
    if !is_here {
        let text = format!(
            "{} is another host (`{}`), and its files are not here",
            server.place(),
            name.escape_debug()
        );
        return Err(Error::new(ErrorKind::Invalid, text).with_hint(hint));
    }
    if let Some(given) = given.filter(|given| version.flavour == Flavour::Mariadb && !is_same(told, given)) {
        let text = format!(
            "extra_keys: `--datadir={}` does not help: MariaDB's tool reads what the server tells, `{}`",
            given.escape_debug(),
            told.escape_debug()
        );
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Mount it in that place."));
    }
    let dir = PathBuf::from(given.unwrap_or(told));
    if dir.is_dir() || std::fs::metadata(&dir).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
        return Ok(dir);
    }
    let text = format!("the data directory `{}` of {} is not on this host", dir.display(), server.place());
    Err(Error::new(ErrorKind::NotFound, text).with_hint(hint))
}

/// Whether both are the same directory.
fn is_same(a: &str, b: &str) -> bool {
    let found = |path: &str| std::fs::canonicalize(path).ok();
    a.trim_end_matches('/') == b.trim_end_matches('/') || found(a).is_some_and(|a| Some(a) == found(b))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// [`ErrorKind::Denied`] if the files of the server cannot be read by whoever runs this.
pub(super) fn check_readable(datadir: &Path) -> Result<()> {
    let readable = fsx::list_dir(datadir).and_then(|_| match fsx::open(&datadir.join("ibdata1")) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    });
    readable.map_err(|e| {
        Error::new(e.kind(), format!("cannot read the data directory `{}`", datadir.display()))
            .with_source(e)
            .with_hint("Physical backups run as root, or as the user of the server.")
    })
}

/// What one run of the backup program needs.
pub(super) struct Copy<'a> {
    pub(super) known: &'a Known,
    pub(super) keys: &'a Keys,
    pub(super) is_slave: bool,
}

impl Copy<'_> {
    /// The program with everything but where its backup goes. Options about option files come first in it.
    fn tool(&self) -> Result<Tool> {
        let Known { server, tool, datadir, .. } = self.known;
        let command = server.tool(tool)?.arg("--backup").arg(format!("--datadir={}", datadir.display()));
        // Where a replica stands is part of what its copy is good for.
        let command = if self.is_slave { command.arg("--slave-info") } else { command };
        Ok(command.args(&self.keys.args))
    }

    /// Copies into a directory of this run alone below `tmp_dir`, makes that consistent, and pushes it into `sink` as a
    /// tar.
    pub(super) fn prepared(
        &self,
        tmp_dir: &Path,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<DumpReport> {
        let scratch = Scratch::new(tmp_dir)?;
        let dir = scratch.path().join("data");
        let command = self.tool()?.arg(format!("--target-dir={}", dir.display()));
        let ended = run(command, cancel).map_err(|e| self.known.server.judged(e))?;
        check_said(&ended)?;
        let checkpoints = place::note(&dir, CHECKPOINTS)?;
        self.check_own(&checkpoints)?;
        let info = place::note(&dir, INFO)?;
        place::prepare(&self.known.tool, &dir, None, false, cancel)?;
        let files = prepared::write_tar(&dir, sink, cancel)?;
        let totals = Totals { files, bytes: 0 };
        let mut report = self.report(&ended, &Facts { totals, checkpoints, info });
        report.info.push(format!("it was prepared in `{}`", tmp_dir.display()));
        scratch.close()?;
        Ok(report)
    }

    /// Pushes the stream into `sink` as it comes; nothing is written elsewhere. With `after`, only what changed since that
    /// position in the log.
    pub(super) fn stream(
        &self,
        after: Option<u64>,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<DumpReport> {
        let mut tool = self.tool()?.arg("--stream=xbstream");
        if let Some(position) = after {
            tool = tool.arg(format!("--incremental-lsn={position}"));
        }
        if self.known.tool.version.flavour == Flavour::Mysql {
            // It wants a directory even where it writes nothing into it.
            tool = tool.arg(format!("--target-dir={}", std::env::temp_dir().display()));
        }
        let mut watch = Watch::default();
        let dumped = stream::pump_judged(b"", tool, sink, cancel, &mut |bytes| watch.push(bytes));
        let dumped = dumped.map_err(|e| self.known.server.judged(e))?;
        check_said(&dumped.ended)?;
        let facts = watch.finish()?;
        self.check_own(&facts.checkpoints)?;
        let log = self.span(&facts.checkpoints, after)?;
        Ok(DumpReport { log: log.map(Box::new), ..self.report(&dumped.ended, &facts) })
    }

    /// Where the copy lies in the log, as it says itself; none where nothing can follow it.
    fn span(&self, checkpoints: &Notes, after: Option<u64>) -> Result<Option<LogSpan>> {
        let kind = checkpoints.value("backup_type").unwrap_or_default();
        let (from, to) = (checkpoints.number("from_lsn"), checkpoints.number("to_lsn"));
        let expected = if after.is_some() { INCREMENT } else { FULL };
        if kind != expected || from != Some(after.unwrap_or(0)) {
            let from = from.map_or_else(|| "?".to_owned(), |from| from.to_string());
            let text = format!(
                "the stream is `{}` from LSN {from}, not `{expected}` from LSN {}",
                kind.escape_debug(),
                after.unwrap_or(0)
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let span = |(origin, (from, to)): (&LogOrigin, (u64, u64))| LogSpan {
            origin: origin.clone(),
            from,
            to,
            parent: None,
        };
        let span = self.known.origin.as_ref().zip(from.zip(to)).map(span);
        match &span {
            Some(span) if span.to < span.from => {
                let text = format!("the increment from LSN {} ends before that, at {}", span.from, span.to);
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            _ => Ok(span),
        }
    }

    /// Refuses a copy that stands where the server did not while it was made: these are files of another one, which has
    /// a data directory of the same name here.
    fn check_own(&self, checkpoints: &Notes) -> Result<()> {
        let Known { server, client, datadir, lsn, .. } = self.known;
        let Some(Lsn { checkpoint: first, .. }) = *lsn else { return Ok(()) };
        let now = Lsn::read(&server.ask(client, Lsn::QUESTION)?);
        let (Some(Lsn { current: last, .. }), Some(copied)) = (now, checkpoints.number("to_lsn")) else {
            return Ok(());
        };
        if (first..=last).contains(&copied) {
            return Ok(());
        }
        let text = format!(
            "`{}` is not the data directory of {}: the copy stands at LSN {copied}, the server went from {first} to {last}",
            datadir.display(),
            server.place()
        );
        Err(Error::new(ErrorKind::Corrupt, text)
            .with_hint("Physical backups read the files of the server: run them on its host."))
    }

    fn report(&self, ended: &Ended, facts: &Facts) -> DumpReport {
        let Known { tool, version, datadir, warnings, .. } = self.known;
        let value = |key| facts.checkpoints.value(key).unwrap_or("?");
        let mut report = DumpReport {
            files: facts.totals.files,
            tools: vec![ToolRecord {
                name: ended.name.clone(),
                version: tool.version.text.clone(),
                exit_status: ended.code(),
            }],
            info: vec![format!(
                "`{}` {} copied `{}` of {} {}, {} files, {}up to LSN {}",
                ended.name,
                tool.version.text,
                datadir.display(),
                version.flavour.name(),
                version.text,
                facts.totals.files,
                match value("from_lsn") {
                    "0" | "?" => String::new(),
                    from => format!("what changed from LSN {from} "),
                },
                value("to_lsn")
            )],
            warnings: warnings.clone(),
            ..DumpReport::default()
        };
        if facts.info.value("partial") == Some("Y") {
            report.warnings.push("the backup is partial: it holds only what `extra_keys` chose".to_owned());
        }
        let warned =
            ended.said.iter().filter(|line| line.contains("[Warning]") || line.starts_with("Warning"));
        report.warnings.extend(warned.map(|line| format!("`{}`: {line}", ended.name)));
        report
    }
}

/// Runs a program to its end. [`ErrorKind::Tool`] unless it ended well.
pub(super) fn run(tool: Tool, cancel: &Cancel) -> Result<Ended> {
    let mut child = tool.spawn()?;
    let mut block = vec![0; 64 << 10];
    while child.read(&mut block, cancel)? > 0 {}
    let ended = child.finish(cancel)?;
    ended.judged()?;
    Ok(ended)
}

/// The program says in its last line that all went well, beside ending with 0.
pub(super) fn check_said(ended: &Ended) -> Result<()> {
    match ended.said.last() {
        Some(last) if last.ends_with(ALL_WELL) => Ok(()),
        last => {
            let last = last.map_or_else(|| "nothing".to_owned(), |line| format!("`{}`", line.escape_debug()));
            let text = format!(
                "`{}` ended with exit status 0, but its last words are {last}, not `{ALL_WELL}`",
                ended.name
            );
            Err(Error::new(ErrorKind::Tool, text))
        }
    }
}
