//! The way back: a stored copy into an empty data directory, ready for a server to start from it.
//!
//! Everything is unpacked and prepared in a directory of its own inside, whose content moves up at the end: a server
//! never sees half of it. Increments are put over it one by one, each from a directory that goes before the next comes.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nxs_base::ports::source::{Cancel, Receiver};
use nxs_base::record::Tool as ToolRecord;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::Tool;
use nxs_sys::fsx;
use nxs_sys::safe::{self, Root};
use nxs_sys::users::Users;

use super::stream::{CHECKPOINTS, INFO, Notes};
use super::{copy, program, unpack};
use crate::mysql::program::{Flavour, Program, Version};

/// Where the work is done, below the directory; and where an increment lies meanwhile.
const WORK: &str = ".nxs-restore";
const STEP: &str = ".nxs-increment";
/// The user of servers where nothing else says whose the files are to be.
const SERVER_USER: &str = "mysql";
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// An empty directory, or one that is not there yet.
pub(super) struct DataDir {
    pub(super) dir: PathBuf,
    /// The programs that made the backup, as its record has them.
    pub(super) made_by: Vec<ToolRecord>,
}

impl DataDir {
    fn tool(&self) -> Result<Program> {
        let is_mysqls = self.made_by.iter().any(|tool| tool.name == "xtrabackup");
        program::find(if is_mysqls { Flavour::Mysql } else { Flavour::Mariadb })
    }

    /// Whether it is there; [`ErrorKind::Exists`] if anything is in it.
    fn is_there(&self) -> Result<bool> {
        let shown = self.dir.display();
        match fsx::list_dir(&self.dir) {
            Ok(names) if names.is_empty() => Ok(true),
            Ok(names) => {
                let text = format!("the directory `{shown}` is not empty: it holds {} entries", names.len());
                Err(Error::new(ErrorKind::Exists, text).with_hint(
                    "Stop the server, move its data directory away, and restore into an empty one.",
                ))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn fill<'p>(
        &self,
        parts: usize,
        open: &mut dyn FnMut(usize) -> Result<Box<dyn Read + 'p>>,
        tool: &Program,
        cancel: &Cancel,
    ) -> Result<()> {
        let top = Root::open(&self.dir)?;
        let work = top.below(WORK.as_bytes(), true)?;
        unpack::unpack(&mut open(0)?, &work, cancel)?;
        let path = self.dir.join(WORK);
        check_links(&work)?;
        let checkpoints = note(&path, CHECKPOINTS)?;
        check_tool(tool, &note(&path, INFO)?)?;
        match checkpoints.value("backup_type") {
            // Made ready before it was stored.
            Some("full-prepared") if parts == 1 => {}
            Some(copy::FULL) => prepare(tool, &path, None, parts > 1, cancel)?,
            // Of MariaDB, that is ready; of Percona, halfway. Doing it again harms neither.
            Some("log-applied") if parts == 1 => prepare(tool, &path, None, false, cancel)?,
            other => {
                let text = format!("this is no full backup, but `{}`", other.unwrap_or("?").escape_debug());
                return Err(Error::new(ErrorKind::Unsupported, text).with_hint(
                    "An increment is put over the full one that it follows: `RESTORE.md` says how.",
                ));
            }
        }
        let mut at = checkpoints.number("to_lsn");
        for part in 1..parts {
            let step = self.dir.join(STEP);
            let unpacked = top.below(STEP.as_bytes(), true)?;
            unpack::unpack(&mut open(part)?, &unpacked, cancel)?;
            check_links(&unpacked)?;
            let checkpoints = note(&step, CHECKPOINTS)?;
            check_follows(&checkpoints, at)?;
            check_tool(tool, &note(&step, INFO)?)?;
            prepare(tool, &path, Some(&step), part + 1 < parts, cancel)?;
            at = checkpoints.number("to_lsn");
            std::fs::remove_dir_all(&step)
                .map_err(|e| Error::io(format!("cannot remove `{}`", step.display()), e))?;
        }
        let names = safe::list(&work)?;
        for name in names {
            safe::rename(&work, &name, &top, &name)?;
        }
        safe::remove_dir(&top, WORK.as_bytes())
    }
}

impl Receiver for DataDir {
    fn place(&self) -> String {
        format!("the directory `{}`", self.dir.display())
    }

    fn check(&self) -> Result<()> {
        self.is_there()?;
        self.tool().map(drop)
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let mut plain = Some(plain);
        let mut open = |_| {
            let plain = plain.take().ok_or_else(|| Error::new(ErrorKind::Other, "it was read already"))?;
            Ok(Box::new(plain) as Box<dyn Read + '_>)
        };
        self.receive_chain(1, &mut open, cancel)
    }

    fn receive_chain<'p>(
        &self,
        parts: usize,
        open: &mut dyn FnMut(usize) -> Result<Box<dyn Read + 'p>>,
        cancel: &Cancel,
    ) -> Result<()> {
        let was_there = self.is_there()?;
        let tool = self.tool()?;
        let owner = owner(&self.dir, was_there)?;
        fsx::create_dir_all(&self.dir, 0o700)?;
        let filled = self.fill(parts, open, &tool, cancel).and_then(|()| {
            let top = Root::open(&self.dir)?;
            if let Some(owner) = owner {
                give(&top, b"", owner)?;
                safe::set_owner_fd(&top, owner.0, owner.1)?;
            }
            rustix::fs::syncfs(&top).map_err(|e| Error::io(format!("cannot sync {}", self.place()), e.into()))
        });
        if filled.is_err() {
            clear(&self.dir, was_there);
        }
        filled
    }
}

/// Removes what was made of a restore that failed. What cannot be removed stays: the directory is then not empty, and
/// the next restore says so.
fn clear(dir: &Path, was_there: bool) {
    for name in fsx::list_dir(dir).unwrap_or_default() {
        let path = dir.join(fsx::as_path(&name));
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        drop(removed);
    }
    if !was_there {
        drop(fsx::remove_dir(dir));
    }
}

/// Makes an unpacked copy consistent, with the increment in `over` if there is one. `goes_on`: another one follows.
pub(super) fn prepare(
    tool: &Program,
    dir: &Path,
    over: Option<&Path>,
    goes_on: bool,
    cancel: &Cancel,
) -> Result<()> {
    let mut command = Tool::new(&tool.path).args(["--no-defaults", "--prepare"]);
    // Of MariaDB, a copy that was prepared takes increments all the same.
    if goes_on && tool.version.flavour == Flavour::Mysql {
        command = command.arg("--apply-log-only");
    }
    command = command.arg(format!("--target-dir={}", dir.display()));
    if let Some(over) = over {
        command = command.arg(format!("--incremental-dir={}", over.display()));
    }
    let ended = copy::run(command, cancel)?;
    copy::check_said(&ended)
}

/// Refuses an increment that does not follow what ends at this position.
fn check_follows(checkpoints: &Notes, at: Option<u64>) -> Result<()> {
    let kind = checkpoints.value("backup_type").unwrap_or("?");
    let from = checkpoints.number("from_lsn");
    if kind == copy::INCREMENT && from.is_some() && from == at {
        return Ok(());
    }
    let shown = |lsn: Option<u64>| lsn.map_or_else(|| "?".to_owned(), |lsn| lsn.to_string());
    let text = format!(
        "what follows is `{}` from LSN {}, not an increment from {}",
        kind.escape_debug(),
        shown(from),
        shown(at)
    );
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// One of the notes that the program leaves beside the files.
pub(super) fn note(dir: &Path, names: [&str; 2]) -> Result<Notes> {
    for name in names {
        match fsx::read_capped(&dir.join(name), MAX_NOTE_BYTES) {
            Ok(bytes) => return Ok(Notes::parse(&bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let text = format!("the backup has no `{}`", names[0]);
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// Refuses a program that is older than the one that made the copy.
fn check_tool(tool: &Program, info: &Notes) -> Result<()> {
    let Some(made) = info.value("tool_version").and_then(Version::of_server) else { return Ok(()) };
    let series = |version: &Version| (version.numbers.0, version.numbers.1);
    if made.flavour == tool.version.flavour && series(&tool.version) >= series(&made) {
        return Ok(());
    }
    let text = format!(
        "`{}` {} cannot prepare what version {} made",
        tool.path.display(),
        tool.version.text,
        made.text
    );
    Err(Error::new(ErrorKind::Unsupported, text).with_hint("Install the program in that version."))
}

/// Tables that lay outside of the data directory have to go there again, which only `--copy-back` does.
fn check_links(work: &Root) -> Result<()> {
    for dir in safe::list(work)? {
        let Ok(inner) = work.dir(&dir, false) else { continue };
        if let Some(link) = safe::list(&inner)?.into_iter().find(|name| name.ends_with(b".isl")) {
            let text = format!(
                "the table of `{}/{}` lay outside of the data directory",
                dir.escape_ascii(),
                link.escape_ascii()
            );
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_hint("Follow RESTORE.md: the stream by --stdout, then --prepare and --copy-back."));
        }
    }
    Ok(())
}

/// Whose the files are to be: as the directory, or the one above, unless that is root's; else the user of servers. None for
/// whoever is not root: all that is made is theirs.
fn owner(dir: &Path, was_there: bool) -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    for place in [Some(dir).filter(|_| was_there), Some(fsx::parent_of(dir))].into_iter().flatten() {
        if let Ok(meta) = fsx::stat(place)
            && meta.uid() != 0
        {
            return Ok(Some((meta.uid(), meta.gid())));
        }
    }
    let users = Users::new();
    Ok(users.uid(SERVER_USER).zip(users.gid(SERVER_USER)))
}

/// Gives everything below a directory away.
fn give(root: &Root, rel: &[u8], owner: (u32, u32)) -> Result<()> {
    let dir = root.dir(rel, false)?;
    for name in safe::list(&dir)? {
        safe::set_owner(&dir, &name, owner.0, owner.1)?;
        if safe::stat(&dir, &name)?.kind == nxs_base::entry::EntryKind::Dir {
            let below = if rel.is_empty() { name } else { [rel, b"/", &name].concat() };
            give(root, &below, owner)?;
        }
    }
    Ok(())
}
