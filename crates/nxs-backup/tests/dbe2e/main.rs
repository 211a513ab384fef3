//! The whole way of databases, with data that nobody here wrote: the article's job over two MariaDB servers and a job of
//! version 2 over PostgreSQL, brought back into fresh servers by the program and by the commands of `RESTORE.md`, cold and
//! hot, and compared by the databases' own means. And what a dump costs: disk, readings of the source, memory.
//!
//! `site` makes a WordPress site, `package` opens the packages that data comes from, `compare` tells what must be equal,
//! `page` reads the commands of the page, `watch` looks at a run; `article` and `postgres` are the way of each database,
//! `disk` and `once` the proofs.

#[cfg(test)]
mod article;
#[cfg(test)]
mod disk;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of single types, which use more of it")]
#[path = "../databases/house.rs"]
mod house;
#[cfg(test)]
mod once;
#[cfg(test)]
mod package;
#[cfg(test)]
mod page;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod site;
#[cfg(test)]
mod watch;
