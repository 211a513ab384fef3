//! The archive formats against the tools of a stock machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

mod tar_interop;
