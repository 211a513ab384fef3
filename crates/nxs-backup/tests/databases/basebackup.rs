//! `type: postgresql_basebackup`: a whole server as one stream, and the data directory that starts again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nxs_testkit::servers::postgres::Postgres;

use crate::house::{House, Said};
use crate::postgres::{fill, source};

/// The keys that stand in every configuration of version 2.
const V2: &str = ", extra_keys: '-x --format=tar -D -'";

fn house(server: &Postgres, more: &str) -> House {
    let house = House::of("postgresql_basebackup", &[source(server, more)]);
    // A test that restores as root gives the directory to another user, who has to get there.
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    house
}

fn restore(house: &House, dir: &str) -> Said {
    house.run(&["restore", "db", "--to", house.path(dir).to_str().unwrap()])
}

#[test]
fn a_server_comes_back_as_a_data_directory_that_starts() {
    let server = Postgres::start();
    fill(&server, "shop");
    let house = house(&server, V2);
    let said = house.start();
    assert!(said.log.contains("`-x` of `extra_keys` is gone since PostgreSQL 10"), "{said:?}");
    assert_eq!(said.log.matches("WARNING").count(), 1, "{said:?}");
    let files = house.files(0);
    assert!(
        files.iter().any(|f| f.starts_with("daily/postgresq_hot_") && f.ends_with(".tar.gz")),
        "{files:?}"
    );
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let said = restore(&house, "data");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("it is as its manifest says (`pg_verifybackup`)"), "{said:?}");
    let data = house.path("data");
    let meta = fs::metadata(&data).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid()), (0o700, fs::metadata(server.data()).unwrap().uid()));
    let again = Postgres::start_on(&data, &[]);
    assert_eq!(again.fingerprint("shop"), server.fingerprint("shop"));
    // Never over what is there, nor in place.
    let said = restore(&house, "data");
    assert!(said.code == Some(1) && said.err.contains("is not empty"), "{said:?}");
    let said = house.run(&["restore", "db", "--in-place"]);
    assert!(said.code == Some(2) && said.err.contains("--to DIR"), "{said:?}");
    let said = house.run(&["restore", "db", "--into", "postgresql://h/x"]);
    assert!(said.code != Some(0), "{said:?}");
}
