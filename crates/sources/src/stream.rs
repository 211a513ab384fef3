//! From a child program to a sink: what all dumps have in common. Bytes are counted, the end is kept for whoever can
//! tell a whole dump from a cut one, and nothing is believed before the program ended well. And from a stored dump to a
//! client, on the way back.

use std::io::Read;

use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink};
use nxs_base::record::Tool as ToolRecord;
use nxs_base::tail::Tail;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::child::{Child, Ended, Tool};

/// What is read at once.
const BLOCK_BYTES: usize = 256 << 10;

/// A dump that a program made and that ended well.
#[derive(Debug)]
pub(crate) struct Dumped {
    /// Of the program; more than 0.
    pub(crate) bytes: u64,
    pub(crate) tail: Tail,
    pub(crate) ended: Ended,
}

/// Pushes `head`, then all that `tool` prints, into `sink` as one artefact. Fails, with the program's last words, unless
/// it ended with 0 and printed something; the program is gone then, with its whole group.
pub(crate) fn pump(head: &[u8], tool: Tool, sink: &mut dyn Sink, cancel: &Cancel) -> Result<Dumped> {
    pump_judged(head, tool, sink, cancel, &mut |_| Ok(()))
}

/// The same; `judge` sees every block of what the program printed before it goes on, and ends all by failing.
pub(crate) fn pump_judged(
    head: &[u8],
    tool: Tool,
    sink: &mut dyn Sink,
    cancel: &Cancel,
    judge: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Dumped> {
    pump_child(head, tool.spawn()?, sink, cancel, judge)
}

/// The same from a program that runs already.
pub(crate) fn pump_child(
    head: &[u8],
    mut child: Child,
    sink: &mut dyn Sink,
    cancel: &Cancel,
    judge: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Dumped> {
    sink.begin(Artefact { has_index: false, expected_bytes: None })?;
    sink.write(head)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut tail = Tail::default();
    let mut bytes = 0;
    loop {
        let n = child.read(&mut block, cancel)?;
        if n == 0 {
            break;
        }
        judge(&block[..n])?;
        sink.write(&block[..n])?;
        tail.push(&block[..n]);
        bytes += n as u64;
    }
    let ended = child.finish(cancel)?;
    ended.judged()?;
    if bytes == 0 {
        let text = format!("`{}` ended well, but printed nothing", ended.name);
        return Err(Error::new(ErrorKind::Tool, text));
    }
    Ok(Dumped { bytes, tail, ended })
}

/// Gives `first`, then all that `plain` has, to a program. Fails, with its last words, unless it took all of it and ended
/// with 0.
pub(crate) fn feed(tool: Tool, first: &[u8], plain: &mut dyn Read, cancel: &Cancel) -> Result<()> {
    let mut client = tool.spawn_fed()?;
    let mut block = first.to_vec();
    let mut filled = block.len();
    block.resize(block.len().max(BLOCK_BYTES), 0);
    while filled > 0 {
        if let Err(error) = client.write(&block[..filled], cancel) {
            if error.kind() == ErrorKind::Cancelled {
                return Err(error);
            }
            // The client knows better why it went away.
            let ended = client.finish(cancel)?;
            return Err(if ended.status.success() { error } else { ended.failure() });
        }
        filled = read_block(plain, &mut block)?;
    }
    client.finish(cancel)?.judged()
}

/// The start of a dump on its way back, as much as is read at once.
pub(crate) fn head(plain: &mut dyn Read) -> Result<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    let filled = read_block(plain, &mut block)?;
    block.truncate(filled);
    Ok(block)
}

/// Fills the block as far as there is something.
pub(crate) fn read_block(plain: &mut dyn Read, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match plain.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::from_io("cannot read the dump", e)),
        }
    }
    Ok(filled)
}

impl Dumped {
    /// [`ErrorKind::Corrupt`] unless the last line that is not empty starts with `marker`.
    pub(crate) fn ends_with_line(&self, marker: &str) -> Result<()> {
        if self.tail.ends_with_line(marker) {
            return Ok(());
        }
        let text = format!(
            "the output of `{}` was cut after {} bytes: its last line is not `{marker}`",
            self.ended.name, self.bytes
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// A report with the program, and what it complained of as warnings.
    pub(crate) fn report(&self, version: &str, marker: &str) -> DumpReport {
        DumpReport { end_marker: Some(marker.to_owned()), ..self.unmarked_report(version) }
    }

    /// The same for a format that tells its end by itself.
    pub(crate) fn unmarked_report(&self, version: &str) -> DumpReport {
        DumpReport {
            tools: vec![ToolRecord {
                name: self.ended.name.clone(),
                version: version.to_owned(),
                exit_status: self.ended.code(),
            }],
            warnings: self.ended.said.iter().map(|line| format!("`{}`: {line}", self.ended.name)).collect(),
            ..DumpReport::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use nxs_base::entry::IndexEntry;

    use super::*;

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Sink for Kept {
        fn begin(&mut self, artefact: Artefact) -> Result<()> {
            assert!(!artefact.has_index);
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn cut_here(&mut self) -> Result<()> {
            Ok(())
        }
        fn entry(&mut self, _: &IndexEntry) -> Result<()> {
            Ok(())
        }
    }

    fn run(script: &str) -> (Vec<u8>, Result<Dumped>) {
        let mut kept = Kept::default();
        let dumped = pump(b"", Tool::new("sh").args(["-c", script]), &mut kept, &Cancel::new());
        (kept.0, dumped)
    }

    #[test]
    fn all_bytes_pass_and_the_last_line_tells_whether_they_are_all() {
        let (bytes, dumped) = run("seq 100000; echo '-- done at noon'; echo careful >&2");
        let dumped = dumped.unwrap();
        assert_eq!(dumped.bytes, bytes.len() as u64);
        assert_eq!(dumped.tail.bytes(), &bytes[bytes.len() - 1024..]);
        dumped.ends_with_line("-- done").unwrap();
        assert_eq!(dumped.ends_with_line("-- over").unwrap_err().kind(), ErrorKind::Corrupt);
        let report = dumped.report("1.0", "-- done");
        assert_eq!(report.warnings, ["`sh`: careful"]);
        assert_eq!(report.tools[0].name, "sh");
        // One byte less.
        let cut = run("printf 'x\\n-- done'").1.unwrap();
        assert_eq!(cut.ends_with_line("-- done").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_failure_at_the_very_end_and_an_empty_output_are_no_dumps() {
        let error = run("seq 1000; echo 'lost the server' >&2; exit 3").1.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("lost the server")), (ErrorKind::Tool, true));
        assert_eq!(run("true").1.unwrap_err().to_string(), "`sh` ended well, but printed nothing");
        assert_eq!(run("seq 1000; kill -9 $$").1.unwrap_err().kind(), ErrorKind::Tool);
    }
}
