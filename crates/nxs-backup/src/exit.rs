//! How the program ends: the one table of exit codes, and the way from a report to a code.
//!
//! `help exit-codes` prints the table and `docs/exit-codes.md` is made from it. No other file names a number.

use nxs_base::ErrorKind;
use nxs_base::report::{RunOutcome, RunReport};

/// Every way in which the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Complete,
    Failed,
    Usage,
    Partial,
    Configuration,
    Locked,
    Bug,
    Cancelled,
}

/// How a command ended; `Err` where it broke off and has said why.
pub type Ended = std::result::Result<Exit, Exit>;

/// One line of the table.
pub struct Row {
    pub exit: Exit,
    pub code: u8,
    pub name: &'static str,
    pub meaning: &'static str,
    /// The code with `legacy_exit_codes: yes`, for `start`.
    pub legacy: u8,
}

/// The table.
pub const TABLE: [Row; 8] = [
    Row {
        exit: Exit::Complete,
        code: 0,
        name: "complete",
        meaning: "everything that was asked for is done; also when today is no backup day",
        legacy: 0,
    },
    Row {
        exit: Exit::Failed,
        code: 1,
        name: "failed",
        meaning: "nothing usable was made, or nothing could be verified or restored",
        legacy: 0,
    },
    Row {
        exit: Exit::Usage,
        code: 2,
        name: "usage",
        meaning: "wrong command line, or no job of that name",
        legacy: 2,
    },
    Row {
        exit: Exit::Partial,
        code: 3,
        name: "partial",
        meaning: "some target or storage failed, something was skipped or could not be dropped, or verify found damage",
        legacy: 0,
    },
    Row {
        exit: Exit::Configuration,
        code: 10,
        name: "configuration",
        meaning: "the configuration cannot be used; nothing was started",
        legacy: 10,
    },
    Row {
        exit: Exit::Locked,
        code: 11,
        name: "locked",
        meaning: "another run holds the lock; nothing was started",
        legacy: 1,
    },
    Row {
        exit: Exit::Bug,
        code: 101,
        name: "bug",
        meaning: "the program broke one of its own rules; the other jobs were run; please report it",
        legacy: 0,
    },
    Row {
        exit: Exit::Cancelled,
        code: 130,
        name: "cancelled",
        meaning: "ended by a signal; nothing half made was left",
        legacy: 130,
    },
];

impl Exit {
    fn row(self) -> &'static Row {
        TABLE.iter().find(|r| r.exit == self).expect("the table has a row for every way to end")
    }

    pub fn code(self) -> u8 {
        self.row().code
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The code for a caller that expects v2's: 0 for failed backups too.
    pub fn legacy_code(self) -> u8 {
        self.row().legacy
    }

    /// Of a command that reads and failed.
    pub fn of_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Invalid => Self::Usage,
            _ => Self::Failed,
        }
    }

    /// The code of a run. `bug` says that a job panicked.
    pub fn of_run(report: &RunReport, bug: bool) -> Self {
        if bug {
            return Self::Bug;
        }
        match report.outcome() {
            RunOutcome::Complete => Self::Complete,
            RunOutcome::Failed => Self::Failed,
            RunOutcome::Partial => Self::Partial,
            RunOutcome::Cancelled => Self::Cancelled,
        }
    }
}

/// The table for a terminal.
pub fn text() -> String {
    let mut out = String::from("Exit codes:\n");
    for row in &TABLE {
        out.push_str(&format!("{:>5}  {:<14} {}\n", row.code, row.name, row.meaning));
    }
    out.push_str(
        "\nWith `legacy_exit_codes: yes` in `main`, `start` ends as v2 did: 0 for failed backups too, 1 where another\n\
         run holds the lock.\n",
    );
    out
}

/// The table as a page of the manual.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Exit codes\n\n\
         `nxs-backup help exit-codes` prints this table. The page is generated from it:\n\
         `nxs-backup help exit-codes --markdown > docs/exit-codes.md`.\n\n\
         | code | name | meaning | `start` with `legacy_exit_codes: yes` |\n|---|---|---|---|\n",
    );
    for row in &TABLE {
        out.push_str(&format!("| {} | {} | {} | {} |\n", row.code, row.name, row.meaning, row.legacy));
    }
    out.push_str(
        "\n`legacy_exit_codes` only counts where the configuration could be read: one with errors ends with 10 in any\n\
         case.\n",
    );
    out
}
