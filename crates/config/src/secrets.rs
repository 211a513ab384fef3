//! Values that stand elsewhere: `ENV:NAME`, `FILE:/path`, `CMD:command`. The only place that reads the environment
//! or starts a command for the configuration. Secrets stay references until [`resolve`] is called.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nxs_base::secret::{Secret, SecretRef};
use nxs_base::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::include::io_words;

const MAX_VALUE_BYTES: u64 = 64 << 10;
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Reads what a secret refers to. `CMD:` is run by `/bin/sh -c` with this process's environment, for 30 s at most.
///
/// # Errors
/// NotFound for a missing variable, Tool for a command that does not succeed, the system's kind for files;
/// messages name the reference, never the value.
pub fn resolve(secret: &SecretRef) -> Result<Secret> {
    match secret {
        SecretRef::Literal(secret) => Ok(secret.clone()),
        SecretRef::Env(name) => variable(name).map(Secret::new),
        SecretRef::File(path) => content(path).map(Secret::new),
        SecretRef::Cmd(command) => output(command).map(Secret::new),
    }
}

/// How a text refers to a value elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Env(&'a str),
    File(&'a str),
    Cmd(&'a str),
}

/// None for a plain value; the words of a message for a broken reference.
pub(crate) fn reference(text: &str) -> std::result::Result<Option<Reference<'_>>, String> {
    if let Some(name) = text.strip_prefix("ENV:") {
        let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return if good {
            Ok(Some(Reference::Env(name)))
        } else {
            Err(format!("`{}` is not a name of an environment variable", name.escape_debug()))
        };
    }
    if let Some(path) = text.strip_prefix("FILE:") {
        let good = path.starts_with('/') && !path.contains('\0');
        return if good {
            Ok(Some(Reference::File(path)))
        } else {
            Err(format!("`FILE:` needs an absolute path, found `{}`", path.escape_debug()))
        };
    }
    if let Some(command) = text.strip_prefix("CMD:") {
        let good = !command.trim().is_empty() && !command.contains('\0');
        return if good {
            Ok(Some(Reference::Cmd(command)))
        } else {
            Err("`CMD:` needs a command".to_owned())
        };
    }
    Ok(None)
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|e| match e {
        std::env::VarError::NotPresent => {
            Error::new(ErrorKind::NotFound, format!("environment variable `{name}` is not set"))
        }
        std::env::VarError::NotUnicode(_) => {
            Error::new(ErrorKind::Invalid, format!("environment variable `{name}` is not UTF-8 text"))
        }
    })
}

pub(crate) fn content(path: &str) -> Result<String> {
    let cannot = |e: std::io::Error| {
        Error::new(Error::io("", e.kind().into()).kind(), format!("cannot read `{path}`: {}", io_words(&e)))
    };
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format!("cannot read `{path}`: not a regular file")));
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_VALUE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_VALUE_BYTES {
        let message = format!("cannot read `{path}`: larger than {} KiB", MAX_VALUE_BYTES >> 10);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    text(bytes).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{path}` is not UTF-8 text")))
}

pub(crate) fn output(command: &str) -> Result<String> {
    output_within(command, LIMIT)
}

fn output_within(command: &str, limit: Duration) -> Result<String> {
    let shown = command.split_whitespace().next().unwrap_or_default();
    let tool = |what: String| Error::new(ErrorKind::Tool, format!("`{shown}`, run for a value, {what}"));
    let cannot = |e| Error::io(format!("cannot run `{shown}` for a value"), e);
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let Some(read) = read_and_wait(&mut child, limit) else {
        end(&mut child).map_err(cannot)?;
        let hint = "It gets no input and no terminal, and must print its value and end.";
        return Err(tool(format!("took longer than {} s and was ended", limit.as_secs())).with_hint(hint));
    };
    let bytes = read.and_then(|bytes| end_if_long(&mut child, bytes)).map_err(cannot)?;
    let status: ExitStatus = child.wait().map_err(cannot)?;
    let Some(bytes) = bytes else {
        return Err(tool(format!("printed more than {} KiB", MAX_VALUE_BYTES >> 10)));
    };
    if !status.success() {
        return Err(tool(format!("ended with {status}")));
    }
    text(bytes).filter(|t| !t.is_empty()).ok_or_else(|| tool("printed no text".into()))
}

/// What the child prints, a byte more than allowed at most, once it has ended; none if that takes too long. The child
/// stays to be waited for, so that its number is nobody else's.
fn read_and_wait(child: &mut Child, limit: Duration) -> Option<std::io::Result<Vec<u8>>> {
    let pid = Pid::from_child(child);
    let stdout = child.stdout.take();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut read = stdout.map_or(Ok(0), |out| out.take(MAX_VALUE_BYTES + 1).read_to_end(&mut bytes));
        if bytes.len() as u64 <= MAX_VALUE_BYTES && read.is_ok() {
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let ended = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), how));
            read = ended.map(|_| 0).map_err(Into::into);
        }
        // Who gave up waiting needs no answer.
        drop(send.send(read.map(|_| bytes)));
    });
    receive.recv_timeout(limit).ok()
}

/// The bytes, or none where there are too many: then the child goes.
fn end_if_long(child: &mut Child, bytes: Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    if bytes.len() as u64 <= MAX_VALUE_BYTES {
        return Ok(Some(bytes));
    }
    end(child).map(|()| None)
}

/// Kills the child with all that it started and that stayed in its group.
fn end(child: &mut Child) -> std::io::Result<()> {
    rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait().map(drop)
}

/// UTF-8 without the last line break.
fn text(bytes: Vec<u8>) -> Option<String> {
    let mut text = String::from_utf8(bytes).ok()?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(secret: SecretRef) -> Result<String> {
        resolve(&secret).map(|s| s.expose().to_owned())
    }

    #[test]
    fn each_kind_of_reference_yields_its_value_without_the_last_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        assert_eq!(value(SecretRef::File(path.display().to_string())).unwrap(), "s3cret");
        assert_eq!(value(SecretRef::Cmd("printf 'a b\\n'".to_owned())).unwrap(), "a b");
        assert_eq!(value(SecretRef::Env("CARGO_PKG_NAME".to_owned())).unwrap(), "nxs-config");
        assert_eq!(value(SecretRef::Literal(Secret::new("x"))).unwrap(), "x");
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_reference_with_a_kind() {
        let missing = value(SecretRef::Env("NXS_NO_SUCH_VARIABLE".to_owned())).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(missing.to_string(), "environment variable `NXS_NO_SUCH_VARIABLE` is not set");
        let file = value(SecretRef::File("/nonexistent/pass".to_owned())).unwrap_err();
        assert_eq!(file.kind(), ErrorKind::NotFound);
        let failing = value(SecretRef::Cmd("exit 3".to_owned())).unwrap_err();
        assert_eq!(failing.kind(), ErrorKind::Tool);
        assert_eq!(value(SecretRef::Cmd("true".to_owned())).unwrap_err().kind(), ErrorKind::Tool);
        let long = value(SecretRef::Cmd("yes".to_owned())).unwrap_err();
        assert_eq!(long.to_string(), "`yes`, run for a value, printed more than 64 KiB");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        // One keeps the pipe open, the other closes it and stays.
        for command in
            ["sleep 1000 & echo $! > FILE; echo value", "exec >&-; sleep 1000 & echo $! > FILE; wait"]
        {
            let command = command.replace("FILE", file.to_str().unwrap());
            let error = output_within(&command, Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tool);
            assert!(
                error.to_string().ends_with("run for a value, took longer than 1 s and was ended"),
                "{error}"
            );
            assert!(error.hint().is_some());
            let pid = std::fs::read_to_string(&file).unwrap();
            let stat = format!("/proc/{}/stat", pid.trim());
            // Gone, or dead and not yet waited for.
            while std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z ")) {
                std::thread::yield_now();
            }
        }
    }
}
