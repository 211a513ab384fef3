//! What a user's own command makes: a file that it tells of, or a stream. One target, named only by what the command
//! says, so it runs in [`Source::begin`].
//!
//! `description` reads what is said, `file` takes the file that was told of, `receive` is the way back. The contract for
//! people: docs/external-modules.md.

mod description;
mod file;
mod receive;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use nxs_base::ports::source::{Cancel, DumpReport, Prepared, Receiver, Sink, Source, Target};
use nxs_base::record::Tool as ToolRecord;
use nxs_base::secret::Secret;
use nxs_base::spec::ExternalSource as ExternalSpec;
use nxs_base::{Error, ErrorKind, Result, naming};
use nxs_sys::child::{Child, Ended, Tool};

use crate::registry::Destination;
use crate::stream;
use file::MadeFile;

/// What the command is called in messages.
const COMMAND: &str = "dump_cmd";
/// What a description may have.
const MAX_DESCRIPTION_BYTES: usize = 64 << 10;
/// Complaints that are told.
const TOLD: usize = 20;
/// Complaints that are quoted in an error.
const QUOTED: usize = 5;

/// Runs one command.
#[derive(Debug)]
pub struct ExternalSource {
    spec: ExternalSpec,
    making: RefCell<Making>,
}

/// What [`Source::begin`] began.
#[derive(Debug, Default)]
enum Making {
    #[default]
    Nothing,
    Stream(Child),
    File(Box<MadeFile>),
}

impl ExternalSource {
    pub fn new(spec: ExternalSpec) -> Self {
        Self { spec, making: RefCell::default() }
    }

    /// Where what it made can be put back.
    pub fn receiver(spec: &ExternalSpec, to: &Destination) -> Result<Box<dyn Receiver>> {
        receive::open(spec, to)
    }

    fn target(&self) -> Target {
        let name = naming::plain_target(&self.spec.job);
        Target {
            name: self.spec.job.clone(),
            part: name.part,
            file_stem: name.stem,
            extension: "dump".to_owned(),
            root: self.spec.job.clone(),
        }
    }

    /// Starts the command, which is to print the archive, and listens to what it says of it.
    fn begin_stream(&self, cancel: &Cancel) -> Result<Prepared> {
        let mut child = command(&self.spec, &self.spec.dump_cmd, COMMAND)?.with_side().spawn()?;
        let said = child.side_first(description::is_whole, cancel).map_err(about)?;
        let name = description::of_stream(said.as_deref(), &self.spec.job).map_err(about)?;
        *self.making.borrow_mut() = Making::Stream(child);
        Ok(Prepared::Named { file_stem: name.stem, extensions: name.extensions })
    }

    /// Runs the command to its end.
    fn run(&self, cancel: &Cancel) -> Result<(Vec<u8>, Ended)> {
        let mut child = command(&self.spec, &self.spec.dump_cmd, COMMAND)?.spawn()?;
        let (mut said, mut block) = (Vec::new(), vec![0; MAX_DESCRIPTION_BYTES]);
        loop {
            match child.read(&mut block, cancel)? {
                0 => break,
                // Too much is read to its end, so that the command comes to its own.
                n => said.extend_from_slice(&block[..n.min(2 * MAX_DESCRIPTION_BYTES - said.len())]),
            }
        }
        let ended = child.finish(cancel)?;
        ended.judged()?;
        Ok((said, ended))
    }

    /// The warnings that the words of a command are, or the error.
    fn judge_complaints(&self, ended: &Ended) -> Result<Vec<String>> {
        let last = |n: usize| &ended.said[ended.said.len().saturating_sub(n)..];
        if self.spec.strict_stderr && !ended.said.is_empty() {
            let text = format!("`{COMMAND}` ended with 0, but said: {}", last(QUOTED).join("; "));
            return Err(Error::new(ErrorKind::Tool, text)
                .with_hint("With `strict_stderr: no` that is a warning, and the backup is kept."));
        }
        Ok(last(TOLD).iter().map(|line| format!("`{COMMAND}`: {line}")).collect())
    }

    fn report(&self, ended: &Ended) -> Result<DumpReport> {
        let tool = ToolRecord { name: ended.name.clone(), version: String::new(), exit_status: ended.code() };
        Ok(DumpReport { tools: vec![tool], warnings: self.judge_complaints(ended)?, ..DumpReport::default() })
    }

    fn run_only(&self, cancel: &Cancel) -> Result<Prepared> {
        let (said, ended) = self.run(cancel)?;
        let mut report =
            DumpReport { warnings: Vec::new(), ..self.report(&Ended { said: Vec::new(), ..ended.clone() })? };
        let said = String::from_utf8_lossy(&said[..said.len().min(MAX_DESCRIPTION_BYTES)]).into_owned();
        let lines =
            said.lines().chain(ended.said.iter().map(String::as_str)).filter(|l| !l.trim().is_empty());
        report.info = lines.take(TOLD).map(|line| format!("`{COMMAND}`: {line}")).collect();
        report.info.push(format!("`{COMMAND}` ended well; nothing of it is stored (`skip_backup_rotate`)"));
        Ok(Prepared::Nothing(report))
    }

    fn find_file(&self, cancel: &Cancel) -> Result<Prepared> {
        let (said, ended) = self.run(cancel)?;
        let report = self.report(&ended)?;
        let found = match said.len() {
            n if n > MAX_DESCRIPTION_BYTES => {
                let text = format!("it printed more than {MAX_DESCRIPTION_BYTES} bytes");
                Err(Error::new(ErrorKind::Invalid, text)
                    .with_hint("A command that prints its archive needs `stream: yes`."))
            }
            _ => description::of_file(&said),
        };
        let found = found.and_then(|(path, name)| {
            MadeFile::open(&path, self.spec.tmp_dir.as_deref().map(Path::new), report)
                .map(|file| (file, name))
        });
        let (file, name) = found.map_err(|error| with_complaints(about(error), &ended))?;
        *self.making.borrow_mut() = Making::File(Box::new(file));
        Ok(Prepared::Named { file_stem: name.stem, extensions: name.extensions })
    }
}

impl Source for ExternalSource {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(vec![Ok(self.target())])
    }

    fn probe(&self, _target: &Target) -> Result<()> {
        tmp_dir(&self.spec).map(drop)
    }

    fn begin(&self, _target: &Target, cancel: &Cancel) -> Result<Prepared> {
        match (self.spec.only_run, self.spec.stream) {
            (true, _) => self.run_only(cancel),
            (_, true) => self.begin_stream(cancel),
            _ => self.find_file(cancel),
        }
    }

    fn dump(&self, _target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let mut making = self.making.borrow_mut();
        match &mut *making {
            Making::File(file) => file.read(sink, cancel),
            Making::Stream(_) => {
                let Making::Stream(child) = std::mem::take(&mut *making) else {
                    return Err(Error::new(ErrorKind::Other, "the command is gone"));
                };
                let dumped = stream::pump_child(&[], child, sink, cancel, &mut |_| Ok(()))?;
                if let [first, ..] = dumped.ended.beside.as_slice() {
                    let text = format!(
                        "`{COMMAND}` described its archive after it had begun it: `{}`",
                        first.escape_debug()
                    );
                    return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                        "Write the description to descriptor 3 before anything else, and only once.",
                    ));
                }
                self.report(&dumped.ended)
            }
            Making::Nothing => Err(Error::new(ErrorKind::Other, "the command was not run")),
        }
    }

    fn settle(&self, _target: &Target, kept: bool) -> Result<()> {
        match self.making.take() {
            Making::File(file) if kept => file.remove(),
            _ => Ok(()),
        }
    }
}

/// A command line of this job with what it is told.
fn command(spec: &ExternalSpec, line: &str, title: &str) -> Result<Tool> {
    let tmp_dir = tmp_dir(spec)?.display().to_string();
    let tool = Tool::shell(line, title).secret_env("NXS_JOB", Secret::new(spec.job.clone()));
    Ok(tool.secret_env("NXS_TMP_DIR", Secret::new(tmp_dir)))
}

/// Where the command may write: the directory of the job, which is made, or that of the host.
fn tmp_dir(spec: &ExternalSpec) -> Result<PathBuf> {
    let Some(dir) = &spec.tmp_dir else { return Ok(std::env::temp_dir()) };
    std::fs::create_dir_all(dir).map_err(|e| Error::io(format!("cannot make the directory `{dir}`"), e))?;
    Ok(PathBuf::from(dir))
}

fn about(error: Error) -> Error {
    let hint = error.hint().map(str::to_owned);
    let named = Error::new(error.kind(), format!("`{COMMAND}`: {}", error.chain()));
    hint.into_iter().fold(named, Error::with_hint)
}

/// The same with what the command said last.
fn with_complaints(error: Error, ended: &Ended) -> Error {
    let last = &ended.said[ended.said.len().saturating_sub(QUOTED)..];
    if last.is_empty() {
        return error;
    }
    let hint = error.hint().map(str::to_owned);
    let text = format!("{}; it said: {}", error.chain(), last.join("; "));
    hint.into_iter().fold(Error::new(error.kind(), text), Error::with_hint)
}
