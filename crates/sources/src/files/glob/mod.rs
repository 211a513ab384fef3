//! Expands target globs by the rules of Python's `glob.glob` without `recursive`.
//!
//! `*`, `?`, `[...]` and `[!...]`; a pattern component that does not begin with a dot never matches a name that does;
//! `**` is `*`; a trailing `/` keeps directories and links to them. Names are bytes: `?` matches one UTF-8 character or
//! one byte that belongs to none. Does not name targets (`nxs_base::naming`) and knows no excludes (`super::exclude`).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

/// Whether the component or pattern has a glob character.
pub(crate) fn has_magic(pattern: &[u8]) -> bool {
    pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// What a pattern led to.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    /// The paths that exist, sorted by bytes. Each ends with `/` exactly if the pattern does.
    pub(crate) found: Vec<Vec<u8>>,
    /// Places where there may be more, and why they could not be looked at. (Python keeps silent about them.)
    pub(crate) refused: Vec<(Vec<u8>, io::Error)>,
}

/// Expands the absolute `pattern`. Runs of `/` count as one. No match is an empty list.
pub(crate) fn expand(pattern: &[u8]) -> Expansion {
    let mut components = pattern.split(|b| *b == b'/').filter(|c| !c.is_empty()).peekable();
    if components.peek().is_none() {
        let found = if pattern.is_empty() { Vec::new() } else { vec![b"/".to_vec()] };
        return Expansion { found, refused: Vec::new() };
    }
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut refused = Vec::new();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        found = if has_magic(component) {
            let matcher = ComponentGlob::new(component);
            found.iter().flat_map(|dir| list_matches(dir, &matcher, &mut refused)).collect()
        } else {
            found.into_iter().map(|dir| join(&dir, component)).collect()
        };
        // Only what a later listing or the final check does not prove must be looked at here.
        if is_last {
            found.retain(|path| {
                exists(path, std::fs::symlink_metadata(as_path(path)), &mut refused).is_some()
            });
        }
    }
    if pattern.ends_with(b"/") {
        found.retain(|path| {
            exists(path, std::fs::metadata(as_path(path)), &mut refused).is_some_and(|m| m.is_dir())
        });
        found.iter_mut().for_each(|path| path.push(b'/'));
    }
    found.sort();
    Expansion { found, refused }
}

/// What came of looking at `path`. An error that says no more than that nothing is there is none.
fn exists<T>(path: &[u8], looked: io::Result<T>, refused: &mut Vec<(Vec<u8>, io::Error)>) -> Option<T> {
    let nothing = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::INVAL];
    match looked {
        Ok(found) => return Some(found),
        Err(error) if nothing.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error())) => {}
        // A NUL in the pattern, which no name has.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        Err(error) => refused.push((path.to_vec(), error)),
    }
    None
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

fn list_matches(
    dir: &[u8],
    matcher: &ComponentGlob,
    refused: &mut Vec<(Vec<u8>, io::Error)>,
) -> Vec<Vec<u8>> {
    let place: &[u8] = if dir.is_empty() { b"/" } else { dir };
    let mut found = Vec::new();
    for entry in exists(place, std::fs::read_dir(as_path(place)), refused).into_iter().flatten() {
        match entry {
            Ok(entry) if matcher.is_match(entry.file_name().as_bytes()) => {
                found.push(join(dir, entry.file_name().as_bytes()));
            }
            Ok(_) => {}
            Err(error) => {
                refused.push((place.to_vec(), error));
                break;
            }
        }
    }
    found
}

/// One component of a glob, ready to match names.
#[derive(Debug)]
pub(crate) struct ComponentGlob {
    tokens: Vec<Token>,
    matches_hidden: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Char(u32),
    AnyChar,
    AnyRun,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

impl ComponentGlob {
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let chars: Vec<u32> = Chars(pattern).collect();
        let mut tokens = Vec::with_capacity(chars.len());
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            match char::from_u32(c) {
                Some('*') if tokens.last() == Some(&Token::AnyRun) => {}
                Some('*') => tokens.push(Token::AnyRun),
                Some('?') => tokens.push(Token::AnyChar),
                Some('[') => match parse_class(&chars[at..]) {
                    Some((class, length)) => {
                        at += length;
                        tokens.push(class);
                    }
                    None => tokens.push(Token::Char(c)),
                },
                _ => tokens.push(Token::Char(c)),
            }
        }
        Self { tokens, matches_hidden: pattern.starts_with(b".") }
    }

    pub(crate) fn is_match(&self, name: &[u8]) -> bool {
        if name.starts_with(b".") && !self.matches_hidden {
            return false;
        }
        let chars: Vec<u32> = Chars(name).collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not fit.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.tokens.get(token), chars.get(at)) {
                (Some(Token::AnyRun), _) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                (None, None) => return true,
                (Some(t), Some(&c)) => t.fits(c),
                _ => false,
            };
            if fits {
                token += 1;
                at += 1;
            } else if let Some((after_run, from)) = retry.filter(|(_, from)| *from < chars.len()) {
                token = after_run;
                at = from + 1;
                retry = Some((after_run, at));
            } else {
                return false;
            }
        }
    }
}

impl Token {
    fn fits(&self, c: u32) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::AnyChar | Self::AnyRun => true,
            Self::Class { negated, ranges } => ranges.iter().any(|(a, z)| (*a..=*z).contains(&c)) != *negated,
        }
    }
}

/// Reads a class whose `[` is just before `rest`; its length includes the `]`. None if it is not closed.
fn parse_class(rest: &[u32]) -> Option<(Token, usize)> {
    let is = |at: usize, c: char| rest.get(at) == Some(&u32::from(c));
    let negated = is(0, '!');
    let start = usize::from(negated);
    // A `]` in the first place is a member.
    let end = (start + 1..rest.len()).find(|at| is(*at, ']'))?;
    let body = &rest[start..end];
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(&first) = body.get(at) {
        match body.get(at + 2) {
            Some(&last) if body[at + 1] == u32::from('-') => {
                ranges.push((first, last));
                at += 3;
            }
            _ => {
                ranges.push((first, first));
                at += 1;
            }
        }
    }
    Some((Token::Class { negated, ranges }, end + 1))
}

/// Yields the characters of a name; a byte that is not UTF-8 is the code `0xDC00 + byte`, which no character has.
struct Chars<'a>(&'a [u8]);

impl Iterator for Chars<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (&first, rest) = self.0.split_first()?;
        let length = match first {
            ..0x80 => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        let decoded = self.0.get(..length).and_then(|b| std::str::from_utf8(b).ok()?.chars().next());
        match decoded {
            Some(c) => {
                self.0 = &self.0[length..];
                Some(u32::from(c))
            }
            None => {
                self.0 = rest;
                Some(0xDC00 + u32::from(first))
            }
        }
    }
}

#[cfg(test)]
mod tests;
