//! Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) with the extensions of OpenSSH, over any two-way stream.
//!
//! Requests may be sent ahead of the answers to earlier ones: that is what makes reading and writing fast on a line
//! with delay. What is asked and in which order is `mod.rs`'s; names are bytes here and text only where they are.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

/// Largest packet that is accepted.
const MAX_PACKET_BYTES: u32 = 1 << 20;

pub(super) const SSH_FXP_INIT: u8 = 1;
const SSH_FXP_VERSION: u8 = 2;
pub(super) const SSH_FXP_OPEN: u8 = 3;
pub(super) const SSH_FXP_CLOSE: u8 = 4;
pub(super) const SSH_FXP_READ: u8 = 5;
pub(super) const SSH_FXP_WRITE: u8 = 6;
pub(super) const SSH_FXP_LSTAT: u8 = 7;
pub(super) const SSH_FXP_OPENDIR: u8 = 11;
pub(super) const SSH_FXP_READDIR: u8 = 12;
pub(super) const SSH_FXP_REMOVE: u8 = 13;
pub(super) const SSH_FXP_MKDIR: u8 = 14;
pub(super) const SSH_FXP_RMDIR: u8 = 15;
pub(super) const SSH_FXP_REALPATH: u8 = 16;
pub(super) const SSH_FXP_RENAME: u8 = 18;
pub(super) const SSH_FXP_READLINK: u8 = 19;
pub(super) const SSH_FXP_SYMLINK: u8 = 20;
pub(super) const SSH_FXP_EXTENDED: u8 = 200;
const SSH_FXP_STATUS: u8 = 101;
const SSH_FXP_HANDLE: u8 = 102;
const SSH_FXP_DATA: u8 = 103;
const SSH_FXP_NAME: u8 = 104;
const SSH_FXP_ATTRS: u8 = 105;
const SSH_FXP_EXTENDED_REPLY: u8 = 201;

pub(super) const FLAG_READ: u32 = 1;
pub(super) const FLAG_WRITE: u32 = 2;
pub(super) const FLAG_CREATE: u32 = 8;
pub(super) const FLAG_TRUNCATE: u32 = 16;

const ATTR_SIZE: u32 = 1;
const ATTR_OWNER: u32 = 2;
const ATTR_MODE: u32 = 4;
const ATTR_TIMES: u32 = 8;
const ATTR_EXTENDED: u32 = 0x8000_0000;

/// Codes of a status.
pub(super) const OK: u32 = 0;
pub(super) const EOF: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const PERMISSION_DENIED: u32 = 3;
pub(super) const BAD_MESSAGE: u32 = 5;
pub(super) const NO_CONNECTION: u32 = 6;
pub(super) const CONNECTION_LOST: u32 = 7;
pub(super) const UNSUPPORTED: u32 = 8;

/// Names of the extensions that are used.
pub(super) const FSYNC: &str = "fsync@openssh.com";
pub(super) const LIMITS: &str = "limits@openssh.com";
pub(super) const POSIX_RENAME: &str = "posix-rename@openssh.com";
pub(super) const STATVFS: &str = "statvfs@openssh.com";

/// What goes over the line, in pieces of the stream's own size.
pub(super) trait Stream {
    /// Sends all of it.
    fn send(&mut self, bytes: Vec<u8>) -> io::Result<()>;

    /// Fills `buf` to its end; the end of the stream is an error. Waits no longer than `patience` for each piece, or
    /// as long as the stream thinks right.
    fn receive(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    pub(super) size_bytes: u64,
    /// Type and permissions, as of `stat`; none if the server does not say.
    pub(super) mode: Option<u32>,
    pub(super) mtime_secs: u32,
}

/// A name of a listing, with its attributes.
pub(super) type Named = (Vec<u8>, Attributes);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Status { code: u32, message: String },
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Named>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

/// A request under construction.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: u8) -> Self {
        // Room for the length, and for the number of the request.
        Self { bytes: vec![0, 0, 0, 0, kind, 0, 0, 0, 0] }
    }

    pub(super) fn extended(name: &str) -> Self {
        Self::new(SSH_FXP_EXTENDED).text(name)
    }

    /// A write of at most `most` bytes that `fill` puts in place and counts; none if there are none.
    pub(super) fn write(
        handle: &[u8],
        offset: u64,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<(Self, usize)>> {
        let mut bytes = Vec::with_capacity(32 + handle.len() + most);
        bytes.extend_from_slice(&[0, 0, 0, 0, SSH_FXP_WRITE, 0, 0, 0, 0]);
        let mut request = Self { bytes }.text(handle).long(offset).number(0);
        let begin = request.bytes.len();
        request.bytes.resize(begin + most, 0);
        let n = fill(&mut request.bytes[begin..])?;
        request.bytes.truncate(begin + n);
        request.bytes[begin - 4..begin].copy_from_slice(&(n as u32).to_be_bytes());
        Ok((n > 0).then_some((request, n)))
    }

    pub(super) fn number(mut self, n: u32) -> Self {
        self.bytes.extend_from_slice(&n.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, n: u64) -> Self {
        self.bytes.extend_from_slice(&n.to_be_bytes());
        self
    }

    pub(super) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(text);
        self
    }

    /// Attributes that say nothing but a mode.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.number(ATTR_MODE).number(mode)
    }

    /// Attributes that say nothing.
    pub(super) fn no_attributes(self) -> Self {
        self.number(0)
    }

    fn finished(mut self, id: u32) -> Vec<u8> {
        let len = (self.bytes.len() - 4) as u32;
        self.bytes[..4].copy_from_slice(&len.to_be_bytes());
        self.bytes[5..9].copy_from_slice(&id.to_be_bytes());
        self.bytes
    }
}

/// A conversation: numbers requests, and hands out answers by number whatever order they come in.
pub(super) struct Conversation<S> {
    stream: S,
    next_id: u32,
    /// Numbers of requests whose answers have not come.
    open: HashSet<u32>,
    /// Answers that came before they were waited for.
    early: HashMap<u32, Answer>,
    extensions: HashSet<String>,
    /// Something failed on the line itself: nothing more can be said.
    pub(super) is_broken: bool,
}

impl<S: Stream> Conversation<S> {
    pub(super) fn open(mut stream: S) -> io::Result<Self> {
        stream.send(vec![0, 0, 0, 5, SSH_FXP_INIT, 0, 0, 0, 3])?;
        let len = packet_len(&mut stream, None)?;
        let mut packet = vec![0; len];
        stream.receive(&mut packet, None)?;
        let mut reader = Reader(&packet);
        if reader.byte()? != SSH_FXP_VERSION || reader.number()? < 3 {
            return Err(bad());
        }
        let mut extensions = HashSet::new();
        while !reader.0.is_empty() {
            extensions.insert(String::from_utf8_lossy(reader.text()?).into_owned());
            reader.text()?; // its version
        }
        Ok(Self {
            stream,
            next_id: 0,
            open: HashSet::new(),
            early: HashMap::new(),
            extensions,
            is_broken: false,
        })
    }

    /// Whether the server knows an extension.
    pub(super) fn knows(&self, extension: &str) -> bool {
        self.extensions.contains(extension)
    }

    /// Sends a request and returns its number.
    pub(super) fn send(&mut self, request: Request) -> io::Result<u32> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.open.insert(id);
        let sent = self.stream.send(request.finished(id));
        self.is_broken |= sent.is_err();
        sent.map(|()| id)
    }

    /// The answer to a request, waited for.
    pub(super) fn answer(&mut self, id: u32, patience: Option<Duration>) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.early.remove(&id) {
                return Ok(answer);
            }
            let (of, answer) = self.next_answer(patience).inspect_err(|_| self.is_broken = true)?;
            if of == id {
                return Ok(answer);
            }
            self.early.insert(of, answer);
        }
    }

    pub(super) fn ask(&mut self, request: Request, patience: Option<Duration>) -> io::Result<Answer> {
        let id = self.send(request)?;
        self.answer(id, patience)
    }

    fn next_answer(&mut self, patience: Option<Duration>) -> io::Result<(u32, Answer)> {
        let stream = &mut self.stream;
        let len = packet_len(stream, patience)?;
        let mut head = [0; 5];
        let rest = len.checked_sub(head.len()).ok_or_else(bad)?;
        stream.receive(&mut head, patience)?;
        let [kind, id @ ..] = head;
        let id = u32::from_be_bytes(id);
        if !self.open.remove(&id) {
            return Err(bad());
        }
        if kind == SSH_FXP_DATA {
            let mut len = [0; 4];
            stream.receive(&mut len, patience)?;
            if u32::from_be_bytes(len) as usize + 4 != rest {
                return Err(bad());
            }
            let mut data = vec![0; rest - 4];
            stream.receive(&mut data, patience)?;
            return Ok((id, Answer::Data(data)));
        }
        let mut packet = vec![0; rest];
        stream.receive(&mut packet, patience)?;
        Ok((id, answer(kind, &packet)?))
    }
}

fn answer(kind: u8, packet: &[u8]) -> io::Result<Answer> {
    let mut reader = Reader(packet);
    Ok(match kind {
        SSH_FXP_STATUS => {
            let code = reader.number()?;
            // Old servers leave the words out.
            let message = reader.text().map(|t| String::from_utf8_lossy(t).into_owned()).unwrap_or_default();
            Answer::Status { code, message }
        }
        SSH_FXP_HANDLE => Answer::Handle(reader.text()?.to_vec()),
        SSH_FXP_NAME => {
            let mut names = Vec::new();
            for _ in 0..reader.number()? {
                let name = reader.text()?.to_vec();
                reader.text()?; // the long form, for people
                names.push((name, reader.attributes()?));
            }
            Answer::Names(names)
        }
        SSH_FXP_ATTRS => Answer::Attributes(reader.attributes()?),
        SSH_FXP_EXTENDED_REPLY => Answer::Extended(packet.to_vec()),
        _ => return Err(bad()),
    })
}

fn packet_len(stream: &mut impl Stream, patience: Option<Duration>) -> io::Result<usize> {
    let mut len = [0; 4];
    stream.receive(&mut len, patience)?;
    let len = u32::from_be_bytes(len);
    if len == 0 || len > MAX_PACKET_BYTES { Err(bad()) } else { Ok(len as usize) }
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what the server says is no SFTP")
}

/// Takes a packet apart.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(bad)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_be_bytes(bytes))
    }

    pub(super) fn long(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self) -> io::Result<&'a [u8]> {
        let len = self.number()?;
        self.take(len as usize)
    }

    fn attributes(&mut self) -> io::Result<Attributes> {
        let flags = self.number()?;
        let mut found = Attributes::default();
        if flags & ATTR_SIZE != 0 {
            found.size_bytes = self.long()?;
        }
        if flags & ATTR_OWNER != 0 {
            self.take(8)?;
        }
        if flags & ATTR_MODE != 0 {
            found.mode = Some(self.number()?);
        }
        if flags & ATTR_TIMES != 0 {
            self.number()?;
            found.mtime_secs = self.number()?;
        }
        if flags & ATTR_EXTENDED != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was told to say, whatever it hears.
    struct Script(io::Cursor<Vec<u8>>);

    impl Stream for Script {
        fn send(&mut self, _: Vec<u8>) -> io::Result<()> {
            Ok(())
        }

        fn receive(&mut self, buf: &mut [u8], _: Option<Duration>) -> io::Result<()> {
            io::Read::read_exact(&mut self.0, buf)
        }
    }

    fn packet(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    fn open(answers: &[Vec<u8>]) -> Conversation<Script> {
        let hello = packet(&[&[SSH_FXP_VERSION, 0, 0, 0, 3][..], b"\0\0\0\x01a\0\0\0\x011"].concat());
        let all = [vec![hello], answers.to_vec()].concat().concat();
        Conversation::open(Script(io::Cursor::new(all))).unwrap()
    }

    fn look() -> Request {
        Request::new(SSH_FXP_LSTAT).text("x")
    }

    #[test]
    fn answers_find_their_requests_whatever_order_they_come_in() {
        let status = |id: u8| packet(&[SSH_FXP_STATUS, 0, 0, 0, id, 0, 0, 0, id]);
        let mut talk = open(&[status(2), status(0), status(1)]);
        assert!(talk.knows("a") && !talk.knows("1"));
        for id in 0..4 {
            assert_eq!(talk.send(look()).unwrap(), id);
        }
        for id in 0..3 {
            assert_eq!(talk.answer(id, None).unwrap(), Answer::Status { code: id, message: String::new() });
        }
        assert!(talk.answer(3, None).is_err() && talk.is_broken, "the stream is at its end");
    }

    #[test]
    fn an_answer_that_nobody_asked_for_ends_the_conversation() {
        let mut talk = open(&[packet(&[SSH_FXP_STATUS, 0, 0, 0, 9, 0, 0, 0, 0])]);
        assert!(talk.ask(look(), None).is_err() && talk.is_broken);
    }

    #[test]
    fn packets_that_lie_about_their_length_are_errors() {
        for body in [
            &[SSH_FXP_DATA, 0, 0, 0, 0, 255, 255, 255, 255][..],
            &[SSH_FXP_DATA, 0, 0, 0, 0, 0, 0, 0, 2, 1],
            &[SSH_FXP_NAME, 0, 0, 0, 0, 0, 0, 0, 9],
            &[SSH_FXP_ATTRS, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[SSH_FXP_HANDLE],
            &[77, 0, 0, 0, 0],
        ] {
            assert!(open(&[packet(body)]).ask(look(), None).is_err(), "{body:?}");
        }
        assert!(open(&[vec![255, 255, 255, 255]]).ask(look(), None).is_err());
        let data = open(&[packet(&[SSH_FXP_DATA, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8])]).ask(look(), None);
        assert_eq!(data.unwrap(), Answer::Data(vec![7, 8]));
    }

    #[test]
    fn a_write_carries_what_was_filled_in_and_nothing_else() {
        let filled = Request::write(b"h", 5, 4, |buf| {
            buf[..3].copy_from_slice(b"abc");
            Ok(3)
        });
        let (request, n) = filled.unwrap().unwrap();
        assert_eq!(n, 3);
        let expected =
            [&[0, 0, 0, 25, SSH_FXP_WRITE, 0, 0, 0, 7][..], b"\0\0\0\x01h", &[0; 7], b"\x05\0\0\0\x03abc"];
        assert_eq!(request.finished(7), expected.concat());
        assert!(Request::write(b"h", 5, 4, |_| Ok(0)).unwrap().is_none());
    }
}
