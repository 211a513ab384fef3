//! Whole answers of the program: exit code, stdout, stderr and log lines, with masked paths, in temporary
//! directories and with a clock of the test's own.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod ftp;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod house;
#[cfg(test)]
mod lacks;
#[cfg(test)]
mod places;
#[cfg(test)]
mod process;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod start;
#[cfg(test)]
mod test_config;
#[cfg(test)]
mod words;
