//! Decides which paths below a target are left out: the `excludes` of a files source.
//!
//! A relative exclude is relative to every target of the source, an absolute one stands alone. `*` and `?` stay within
//! one component, `**/` crosses any number of them, a name matches as a whole (`cache` never hides `cache2`), and a
//! trailing `/` means directories only. What is below an excluded directory is never asked for: the walk prunes it.
//! Knows no files; the target globs have rules of their own (`super::glob`).

use std::collections::HashSet;

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use nxs_base::{Error, ErrorKind, Result};

use super::glob::has_magic;

/// The compiled excludes of one source.
#[derive(Debug, Default)]
pub(crate) struct Excludes {
    /// Matched against the path below the target.
    relative: PatternSet,
    /// Matched against the absolute path without its leading `/`.
    absolute: PatternSet,
}

impl Excludes {
    /// Compiles `patterns`; empty ones, `.` and ones that lead out of the target match nothing.
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let mut relative = PatternSetBuilder::default();
        let mut absolute = PatternSetBuilder::default();
        for pattern in patterns {
            let set = if pattern.starts_with('/') { &mut absolute } else { &mut relative };
            set.add(pattern)?;
        }
        Ok(Self { relative: relative.build()?, absolute: absolute.build()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.relative.is_empty() && self.absolute.is_empty()
    }

    /// Whether the entry `path` (absolute, without leading `/`) of the target `root` (in the same form) is left out.
    /// `path` must lie below `root`; the parents of `path` below `root` were asked before.
    pub(crate) fn is_excluded(&self, root: &[u8], path: &[u8], is_dir: bool) -> bool {
        let below = if root.is_empty() { path } else { path.get(root.len() + 1..).unwrap_or_default() };
        self.relative.is_match(below, is_dir) || self.absolute.is_match(path, is_dir)
    }

    /// Whether the target `root` (absolute, without leading `/`) itself, or a directory above it, is left out.
    pub(crate) fn covers_target(&self, root: &[u8], is_dir: bool) -> bool {
        let parents = root.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &root[..at]);
        self.absolute.is_match(root, is_dir)
            || parents.into_iter().any(|parent| self.absolute.is_match(parent, true))
    }
}

/// Patterns that are matched against one form of a path.
#[derive(Debug, Default)]
struct PatternSet {
    any_kind: Matcher,
    dirs_only: Matcher,
}

impl PatternSet {
    fn is_empty(&self) -> bool {
        self.any_kind.is_empty() && self.dirs_only.is_empty()
    }

    fn is_match(&self, path: &[u8], is_dir: bool) -> bool {
        self.any_kind.is_match(path) || (is_dir && self.dirs_only.is_match(path))
    }
}

#[derive(Debug, Default)]
struct Matcher {
    literals: HashSet<Vec<u8>>,
    /// Lengths that a literal has, as a bit each (the last bit for all longer ones): most paths need no hashing.
    literal_lengths: u128,
    globs: Option<GlobSet>,
}

impl Matcher {
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.globs.is_none()
    }

    fn is_match(&self, path: &[u8]) -> bool {
        let has_length = self.literal_lengths & length_bit(path.len()) != 0;
        (has_length && self.literals.contains(path))
            || self.globs.as_ref().is_some_and(|set| set.is_match_candidate(&Candidate::from_bytes(path)))
    }
}

fn length_bit(length: usize) -> u128 {
    1 << length.min(127)
}

#[derive(Default)]
struct PatternSetBuilder {
    any_kind: MatcherBuilder,
    dirs_only: MatcherBuilder,
}

#[derive(Default)]
struct MatcherBuilder {
    literals: HashSet<Vec<u8>>,
    globs: Vec<Glob>,
}

impl PatternSetBuilder {
    fn add(&mut self, pattern: &str) -> Result<()> {
        let Some(clean) = clean_components(pattern) else { return Ok(()) };
        let matcher = if pattern.ends_with('/') { &mut self.dirs_only } else { &mut self.any_kind };
        if has_magic(clean.as_bytes()) {
            matcher.globs.push(compile(pattern, &clean)?);
        } else {
            matcher.literals.insert(clean.into_bytes());
        }
        Ok(())
    }

    fn build(self) -> Result<PatternSet> {
        Ok(PatternSet { any_kind: self.any_kind.build()?, dirs_only: self.dirs_only.build()? })
    }
}

impl MatcherBuilder {
    fn build(self) -> Result<Matcher> {
        let globs = if self.globs.is_empty() {
            None
        } else {
            let mut builder = GlobSetBuilder::new();
            self.globs.into_iter().for_each(|glob| {
                builder.add(glob);
            });
            Some(builder.build().map_err(|error| {
                Error::new(ErrorKind::Invalid, "cannot compile the `excludes`").with_source(error)
            })?)
        };
        let literal_lengths = self.literals.iter().fold(0, |bits, l| bits | length_bit(l.len()));
        Ok(Matcher { literals: self.literals, literal_lengths, globs })
    }
}

/// Takes out empty and `.` components and resolves `..`. None if nothing is left or it leads above its start.
fn clean_components(pattern: &str) -> Option<String> {
    let mut components = Vec::new();
    for component in pattern.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    if components.is_empty() { None } else { Some(components.join("/")) }
}

fn compile(pattern: &str, clean: &str) -> Result<Glob> {
    GlobBuilder::new(&translate(clean)).literal_separator(true).backslash_escape(false).build().map_err(
        |error| {
            Error::new(ErrorKind::Invalid, format!("cannot read the exclude `{}`", pattern.escape_debug()))
                .with_source(error)
        },
    )
}

/// Writes a shell-like glob in the words of `globset`: braces and unclosed `[` become literal, `[^` keeps no meaning.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' | '}' => out.extend(['[', c, ']']),
            '[' => match split_class(rest) {
                Some((class, after)) => {
                    write_class(&mut out, class);
                    rest = after;
                }
                None => out.push_str("[[]"),
            },
            _ => out.push(c),
        }
    }
    out
}

/// Splits the text after a `[` into the class up to its `]` and what follows. None if it is not closed before a `/`.
fn split_class(rest: &str) -> Option<(&str, &str)> {
    let start = usize::from(rest.starts_with('!'));
    let first = rest[start..].chars().next()?;
    // A `]` in the first place is a member.
    let from = start + first.len_utf8();
    let end = from + rest[from..].find(']')?;
    let class = &rest[..end];
    if class.contains('/') { None } else { Some((class, &rest[end + 1..])) }
}

/// Writes a class that says the same to `globset`, where a class may match `/`, `^` negates and ranges must rise.
fn write_class(out: &mut String, class: &str) {
    let (negated, members) = class.strip_prefix('!').map_or((false, class), |members| (true, members));
    let members: Vec<char> = members.chars().collect();
    let mut special = String::new();
    let mut ranges = String::new();
    let mut at = 0;
    while let Some(&first) = members.get(at) {
        let last = match members.get(at + 2) {
            Some(&last) if members[at + 1] == '-' => {
                at += 2;
                last
            }
            _ => first,
        };
        at += 1;
        let mut from = first;
        // Characters with a meaning inside a class get a place of their own; a slash is never matched.
        for c in ['!', '-', '/', ']', '^'] {
            if !(from..=last).contains(&c) {
                continue;
            }
            if c != '/' {
                special.push(c);
            }
            push_range(&mut ranges, from, char::from(c as u8 - 1));
            from = char::from(c as u8 + 1);
        }
        push_range(&mut ranges, from, last);
    }
    out.push('[');
    if negated {
        out.push('!');
    }
    // No name has a NUL: it keeps the class from being empty and what follows from standing first.
    out.push(if special.contains(']') { ']' } else { '\0' });
    out.push_str(&ranges);
    out.extend(special.chars().filter(|c| matches!(c, '^' | '!')));
    if negated {
        out.push('/');
    }
    if special.contains('-') {
        out.push('-');
    }
    out.push(']');
}

/// Appends `first-last` unless it holds nothing.
fn push_range(out: &mut String, first: char, last: char) {
    if first < last {
        out.extend([first, '-', last]);
    } else if first == last {
        out.push(first);
    }
}

#[cfg(test)]
mod tests;
