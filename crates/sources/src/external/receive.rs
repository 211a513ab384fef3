//! The way back: a stored backup on the standard input of the job's own `restore_cmd`, judged by its exit status.

use std::io::Read;

use nxs_base::ports::source::{Cancel, Receiver};
use nxs_base::secret::Secret;
use nxs_base::spec::ExternalSource as ExternalSpec;
use nxs_base::{Error, ErrorKind, Result};

use crate::registry::Destination;
use crate::stream;

/// What the command is called in messages.
const COMMAND: &str = "restore_cmd";

struct Command {
    spec: ExternalSpec,
    line: String,
    /// What the command is told beside the job.
    told: Vec<(&'static str, String)>,
}

/// Starts nothing yet.
pub(super) fn open(spec: &ExternalSpec, to: &Destination) -> Result<Box<dyn Receiver>> {
    let Some(line) = &spec.restore_cmd else {
        let text = format!("job `{}` has no `{COMMAND}`", spec.job);
        return Err(
            Error::new(ErrorKind::Invalid, text).with_hint("Take the backup with --stdout, or set that key.")
        );
    };
    let mut told = Vec::new();
    told.extend(to.dsn.clone().map(|into| ("NXS_INTO", into)));
    told.extend(to.name.clone().map(|name| ("NXS_AS", name)));
    told.extend(to.may_replace.then(|| ("NXS_OVERWRITE", "yes".to_owned())));
    Ok(Box::new(Command { spec: spec.clone(), line: line.clone(), told }))
}

impl Receiver for Command {
    fn place(&self) -> String {
        format!("`{COMMAND}` of job `{}`", self.spec.job)
    }

    fn check(&self) -> Result<()> {
        super::tmp_dir(&self.spec).map(drop)
    }

    fn receive(&self, plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
        let mut tool = super::command(&self.spec, &self.line, COMMAND)?;
        for (name, value) in &self.told {
            tool = tool.secret_env(*name, Secret::new(value.clone()));
        }
        let first = stream::head(plain)?;
        stream::feed(tool, &first, plain, cancel)
    }
}
