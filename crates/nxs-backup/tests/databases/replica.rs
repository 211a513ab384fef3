//! `is_slave`: replication stands still during the dumps, and goes on whatever becomes of the run.

use nxs_testkit::servers::mariadb::{MariaDb, PASSWORD, USER};
use nxs_testkit::servers::wait_until;

use crate::house::{House, source};

/// A replica of a primary that has one database.
pub(crate) fn pair() -> (MariaDb, MariaDb) {
    let primary = MariaDb::start_with(&["--server-id=1", "--log-bin=bin"]);
    let replica = MariaDb::start_with(&["--server-id=2", "--log-bin=bin"]);
    replica.sql("RESET MASTER");
    let password = PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
    replica.sql(&format!(
        "CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='{USER}', master_password='{password}', \
         master_use_gtid=slave_pos; SET GLOBAL gtid_slave_pos = '{}'; START SLAVE",
        primary.port(),
        primary.sql("SELECT @@gtid_binlog_pos").trim()
    ));
    primary.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE=InnoDB");
    wait(&replica, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'");
    (primary, replica)
}

fn wait(server: &MariaDb, question: &str) {
    wait_until(question, &server.log(), || server.sql(question).trim() == "1");
}

pub(crate) fn applies(server: &MariaDb) -> bool {
    server.sql("SHOW ALL SLAVES STATUS").contains("\tYes\tYes\t")
}

#[test]
fn a_replica_stands_still_while_it_is_dumped_and_goes_on_after_it() {
    let (primary, replica) = pair();
    let yes = source(&replica, "[shop]", "").replace("is_slave: no", "is_slave: yes");
    let house = House::new(&[yes]);
    // The tool tells how it found the replica.
    let status = format!(
        "case \"$*\" in *--version*|*--no-data*) exec \"$REAL\" \"$@\";; esac\n\
         mariadb --no-defaults -uroot -S '{}' -NBe 'SHOW ALL SLAVES STATUS' >> \"$0.status\"; exec \"$REAL\" \"$@\"",
        replica.socket().display()
    );
    house.wrap("mariadb-dump", &status);
    house.start();
    let seen = std::fs::read_to_string(house.path("bin/mariadb-dump.status")).unwrap();
    assert!(seen.contains("\tYes\tNo\t"), "{seen}");
    assert!(applies(&replica));
    primary.sql("INSERT INTO shop.t VALUES (1)");
    wait(&replica, "SELECT COUNT(*) FROM shop.t");
    // It goes on after a dump that failed, too.
    house
        .wrap("mariadb-dump", "case \"$*\" in *--version*|*--no-data*) exec \"$REAL\" \"$@\";; esac; exit 2");
    let said = house.run(&["start", "--json"]);
    assert_eq!((said.code, applies(&replica)), (Some(1), true), "{said:?}");
    // So it does after a run that was cancelled in the middle of a dump.
    house.wrap(
        "mariadb-dump",
        "case \"$*\" in *--version*|*--no-data*) exec \"$REAL\" \"$@\";; esac; kill -TERM $PPID; exec sleep 1000",
    );
    let said = house.run(&["start", "--json"]);
    assert_eq!((said.code, applies(&replica)), (Some(130), true), "{said:?}");
    // Servers that know the older words alone.
    house.wrap("mariadb-dump", "exec \"$REAL\" \"$@\"");
    let old = "case \"$*\" in *\" REPLICA\"*) echo \"ERROR 1064 (42000) at line 1: You have an error in your SQL syntax\" >&2; \
               exit 1;; *\" SLAVE\"*) echo \"$*\" >> \"$0.said\";; esac; exec \"$REAL\" \"$@\"";
    house.wrap("mariadb", old);
    house.start();
    let words = std::fs::read_to_string(house.path("bin/mariadb.said")).unwrap();
    let told: Vec<&str> = words.lines().filter_map(|line| line.rsplit("--execute=").next()).collect();
    assert_eq!(told, ["SHOW SLAVE STATUS", "STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"]);
    assert!(applies(&replica));
    house.wrap("mariadb", "exec \"$REAL\" \"$@\"");
    // One that somebody else stopped stays so.
    replica.sql("STOP SLAVE SQL_THREAD");
    house.wrap("mariadb-dump", "exec \"$REAL\" \"$@\"");
    house.start();
    assert!(!applies(&replica));
}

#[test]
fn a_replica_that_a_killed_run_left_stopped_is_started_by_the_next_start_of_any_job() {
    let (_primary, replica) = pair();
    let yes = source(&replica, "[shop]", "").replace("is_slave: no", "is_slave: yes");
    let house = House::new(&[yes]);
    house.wrap(
        "mariadb-dump",
        "case \"$*\" in *--version*|*--no-data*) exec \"$REAL\" \"$@\";; esac; kill -9 $PPID; exit 1",
    );
    let said = house.run(&["start", "--json"]);
    assert_eq!((said.code, applies(&replica)), (None, false), "{said:?}");
    house.wrap("mariadb-dump", "exec \"$REAL\" \"$@\"");
    let said = house.run(&["start", "files"]);
    assert!(applies(&replica), "{said:?}");
    assert!(said.log.contains("which a run that died had stopped, goes on"), "{said:?}");
    let said = house.start();
    assert!(!said.log.contains("had stopped"), "{said:?}");
}

#[test]
fn a_server_that_is_no_replica_is_an_error_and_nothing_of_it_is_dumped() {
    let server = MariaDb::start();
    server.sql("CREATE DATABASE shop");
    let house = House::new(&[source(&server, "[shop]", "").replace("is_slave: no", "is_slave: yes")]);
    let said = house.run(&["start"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.log.contains("is no replica"), "{said:?}");
}
