//! Whole answers of the program: exit code, stdout, stderr and log lines, with masked paths, in temporary
//! directories and with a clock of the test's own.

mod cli;
mod generate;
mod house;
mod lacks;
mod process;
mod start;
mod test_config;
mod words;
