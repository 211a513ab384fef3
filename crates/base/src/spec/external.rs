//! A module of the user's own: the command that makes the backup, and what is asked of it.

/// One job of `type: external`. Commands are lines for `/bin/sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExternalSource {
    /// Name of the job: what the command is told, and the name of its only target.
    pub job: String,
    pub dump_cmd: String,
    /// Takes the plain backup on its standard input.
    pub restore_cmd: Option<String>,
    /// Where the command may write; what it makes has to lie below it, if it is set.
    pub tmp_dir: Option<String>,
    /// The archive comes by standard output, and is not a file.
    pub stream: bool,
    /// Only run the command: nothing is stored.
    pub only_run: bool,
    /// Whatever the command complains of is an error, whatever its exit status.
    pub strict_stderr: bool,
}
