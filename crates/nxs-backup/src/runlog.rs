//! Where the events of a run go: lines of the log file, the moving line of a terminal, stderr if asked.
//!
//! The sentences are those of `messages`. Remembers which problems were logged, so that nothing of a report that
//! makes a run red is missing from the log: a log without `ERROR` means exit code 0, and only that.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nxs_base::Error;
use nxs_base::event::{Event, EventSink};
use nxs_base::report::{JobReport, Problem};

use crate::app::Env;
use crate::logfile::LogFile;
use crate::messages::{Entry, Level, Messages, problem_text, sentence};
use crate::progress::Progress;
use crate::summary;

/// The log of one run.
pub(crate) struct RunLog<'e> {
    env: &'e Env,
    messages: Messages,
    verbose: bool,
    state: Mutex<State>,
}

struct State {
    /// None where it could not be opened; the lines go to stderr then.
    file: Option<LogFile>,
    /// The log file failed while the run went on; said once on stderr.
    broken: bool,
    progress: Progress,
    /// Texts of ERROR lines.
    errors: HashSet<String>,
}

impl<'e> RunLog<'e> {
    pub(crate) fn new(env: &'e Env, file: Option<LogFile>, messages: Messages, verbose: bool) -> Self {
        let state = State { file, broken: false, progress: Progress::default(), errors: HashSet::new() };
        Self { env, messages, verbose, state: Mutex::new(state) }
    }

    /// Logs a sentence.
    pub(crate) fn say(&self, level: Level, job: Option<&str>, text: &str) {
        self.write(&mut self.lock(), &Entry::new(level, job, text));
    }

    /// Logs a sentence and says it on stderr too.
    pub(crate) fn say_loud(&self, level: Level, text: &str) {
        let shown = self.lock().file.is_none() || self.verbose;
        self.say(level, None, text);
        if !shown {
            self.env.console.say(text);
        }
    }

    pub(crate) fn say_error(&self, error: &Error) {
        self.say(Level::Error, None, &problem_text(&Problem::from(error)));
        self.env.console.say_error(error);
    }

    /// Logs every problem of the report that no event has told yet.
    pub(crate) fn report_rest(&self, report: &JobReport) {
        let mut state = self.lock();
        for problem in summary::problems(report) {
            let text = problem_text(problem.problem);
            if !state.errors.contains(&text) {
                self.write(&mut state, &Entry::new(Level::Error, Some(&report.job), text));
            }
        }
        for target in report.targets.iter().filter(|t| t.dump.gaps() > 0) {
            let text = sentence(&summary::gaps(target));
            self.write(&mut state, &Entry::new(Level::Error, Some(&report.job), text));
        }
    }

    /// Takes the moving line away.
    pub(crate) fn finish(&self) {
        self.clear(&mut self.lock());
    }

    fn write(&self, state: &mut State, entry: &Entry<'_>) {
        let line = entry.line(&self.env.clock.now());
        if entry.level == Level::Error {
            state.errors.insert(entry.text.clone());
        }
        let written = state.file.as_mut().map(|file| file.append(&line));
        if self.verbose || written.is_none() {
            self.clear(state);
            self.env.console.raw(&line);
        }
        if let Some(Err(error)) = written
            && !std::mem::replace(&mut state.broken, true)
        {
            self.clear(state);
            self.env.console.say_error(&error);
        }
    }

    /// Takes the moving line away.
    fn clear(&self, state: &mut State) {
        if let Some(bytes) = state.progress.clear() {
            self.env.console.raw(&bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for RunLog<'_> {
    fn emit(&self, event: &Event<'_>) {
        let mut state = self.lock();
        if let Some(entry) = self.messages.entry(event) {
            self.write(&mut state, &entry);
        }
        if self.env.console.is_terminal
            && let Some(bytes) = state.progress.on_event(event, self.env.clock.now().timestamp())
        {
            self.env.console.raw(&bytes);
        }
    }
}
