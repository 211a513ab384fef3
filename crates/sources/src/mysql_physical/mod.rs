//! Physical backups of MySQL and MariaDB by `xtrabackup` and `mariadb-backup`: the data directory of a running server
//! as one stream.
//!
//! `program` knows the backup programs, `keys` what users wrote for them, `copy` runs one, `stream` judges what it
//! prints, `prepared` makes it ready at once, `place` is the way back, for which `unpack` writes the files. The server is asked as in [`crate::mysql`].

mod copy;
mod keys;
mod place;
mod prepared;
mod program;
mod stream;
mod unpack;

use std::cell::OnceCell;
use std::path::PathBuf;

use nxs_base::naming;
use nxs_base::ports::source::{
    Cancel, DumpReport, LogState, NoSnapshot, Receiver, Sink, Snapshot, Source, Target,
};
use nxs_base::record::LogOrigin;
use nxs_base::spec::{JobKind, PhysicalSource, Prepare};
use nxs_base::{Error, ErrorKind, Result};

use crate::mysql::program::{Program, Version};
use crate::mysql::replica::{self, Marker};
use crate::mysql::server::Server;
use crate::registry::{Destination, Surroundings};
use copy::Lsn;
use keys::Keys;
use place::DataDir;

/// Copies the data directory of one server.
#[derive(Debug)]
pub struct MysqlPhysical {
    spec: PhysicalSource,
    kind: JobKind,
    keys: Keys,
    server: Server,
    known: OnceCell<Known>,
}

/// What does not change during a run.
#[derive(Debug, Clone)]
struct Known {
    server: Server,
    client: Program,
    tool: Program,
    version: Version,
    datadir: PathBuf,
    /// Before the first copy.
    lsn: Option<Lsn>,
    /// None where no increment can follow a copy.
    origin: Option<LogOrigin>,
    warnings: Vec<String>,
}

impl MysqlPhysical {
    /// Asks nobody anything. [`ErrorKind::Invalid`] for arguments that cannot be used.
    pub fn new(spec: PhysicalSource, kind: JobKind, around: Surroundings) -> Result<Self> {
        let keys = keys::read(&spec.extra_keys)?;
        let mut server = Server::new(spec.connect.clone(), around);
        server.config.clone_from(&spec.config_file);
        Ok(Self { spec, kind, keys, server, known: OnceCell::new() })
    }

    /// Where its backups can be put back: an empty directory, or one that is not there yet. `made_by` are the programs
    /// that a record names.
    pub fn receiver(to: &Destination) -> Result<Box<dyn Receiver>> {
        if to.dsn.is_some() || to.name.is_some() {
            let text = "a copy of a data directory goes into no database";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                "Restore it into an empty directory with --to DIR, and start a server from that.",
            ));
        }
        let Some(dir) = &to.dir else {
            return Err(Error::new(ErrorKind::Invalid, "nothing says where the copy goes")
                .with_hint("Say --to DIR, an empty directory, or --stdout."));
        };
        let dir =
            std::path::absolute(dir).map_err(|e| Error::io(format!("cannot find `{}`", dir.display()), e))?;
        Ok(Box::new(DataDir { dir, made_by: to.made_by.clone() }))
    }

    fn known(&self) -> Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        if let Some(file) = &self.spec.config_file
            && !std::path::Path::new(file).is_file()
        {
            return Err(Error::new(ErrorKind::NotFound, format!("path_to_conf: there is no file `{file}`")));
        }
        let client = Program::client()?;
        let server = copy::reached(&self.server)?;
        server.check_encrypted(&client)?;
        let told = copy::ask(&server, &client)?;
        let tool = program::find(told.version.flavour)?;
        let warning = program::check_fits(&tool, &told.version)?;
        let datadir = copy::datadir(&server, &told, self.keys.datadir.as_deref())?;
        let warnings = self.keys.warnings.iter().cloned().chain(warning).collect();
        let origin = copy::origin(&told, &datadir, &tool, &self.keys);
        Ok(self.known.get_or_init(|| Known {
            server,
            client,
            tool,
            origin,
            version: told.version,
            datadir,
            lsn: told.lsn,
            warnings,
        }))
    }

    fn target(&self) -> Target {
        // v2's name, and for the type that it did not have that of the type.
        let name = if self.kind == JobKind::MariadbBackup { "mariadb_backup" } else { "xtrabackup" };
        let named = naming::plain_target(name);
        let extension = if self.spec.prepare == Prepare::OnRestore { "xbstream" } else { "tar" };
        Target {
            name: name.to_owned(),
            part: named.part,
            file_stem: named.stem,
            extension: extension.to_owned(),
            root: name.to_owned(),
        }
    }

    fn marker(&self) -> Marker {
        Marker::new(&self.server)
    }

    fn copy(&self) -> Result<copy::Copy<'_>> {
        Ok(copy::Copy { known: self.known()?, keys: &self.keys, is_slave: self.spec.is_slave })
    }
}

impl Source for MysqlPhysical {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(vec![Ok(self.target())])
    }

    fn recover(&self) -> Result<Option<String>> {
        let mut done = Vec::new();
        if self.spec.is_slave {
            done.extend(self.marker().recover(&copy::reached(&self.server)?)?);
        }
        if let Prepare::In(dir) = &self.spec.prepare {
            let swept = prepared::sweep(dir.as_ref())?;
            if swept > 0 {
                done.push(format!("{swept} directories that runs that died left in `{dir}` were removed"));
            }
        }
        Ok(Some(done.join("; ")).filter(|done| !done.is_empty()))
    }

    fn snapshot(&self, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        if self.spec.is_slave {
            let known = self.known()?;
            replica::stop(&known.server, &known.client, self.marker())
        } else {
            Ok(Box::new(NoSnapshot))
        }
    }

    /// The server answers, the program fits, and its data directory is here and can be read.
    fn probe(&self, _target: &Target) -> Result<()> {
        let known = self.known()?;
        copy::check_readable(&known.datadir)
    }

    fn dump(&self, _target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        match &self.spec.prepare {
            Prepare::OnRestore => self.copy()?.stream(None, sink, cancel),
            Prepare::In(dir) => self.copy()?.prepared(dir.as_ref(), sink, cancel),
        }
    }

    fn log(&self, _target: &Target) -> Result<Option<LogState>> {
        let known = self.known()?;
        Ok(known.origin.clone().map(|origin| LogState { origin, at: known.lsn.map(Lsn::current) }))
    }

    fn dump_after(
        &self,
        _target: &Target,
        position: u64,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<DumpReport> {
        self.copy()?.stream(Some(position), sink, cancel)
    }
}
