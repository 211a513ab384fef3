//! Redis by `type: redis`: a second server that starts from the backup has the same data, and nothing but a whole RDB is
//! stored.

use nxs_testkit::servers::redis::{PASSWORD, Redis};

use crate::faults::{fails, kill, until};
use crate::house::{House, Said};

fn source(server: &Redis, more: &str) -> String {
    format!("{{connect: {{db_host: 127.0.0.1, db_port: {}{more}}}, gzip: yes}}", server.port())
}

/// A server with values of every kind, and a house with one backup of it.
fn scene() -> (Redis, House) {
    let server = Redis::start();
    server.ask(&["DEBUG", "POPULATE", "30000", "key", "200"]);
    server.ask(&["SET", "größe", "日本\nx"]);
    server.ask(&["RPUSH", "list", "a", "b", ""]);
    server.ask(&["HSET", "hash", "field", "value"]);
    server.ask(&["ZADD", "set", "1.5", "one"]);
    server.ask(&["XADD", "stream", "*", "a", "1"]);
    server.ask(&["SET", "mortal", "x", "EX", "100000"]);
    server.ask(&["-n", "5", "SET", "other", "database"]);
    let house = house(&source(&server, ", db_password: 'FILE:PASS'"));
    let said = house.start();
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    (server, house)
}

fn house(source: &str) -> House {
    let mut house = House::of("redis", &[]);
    let pass = house.path("pass");
    std::fs::write(&pass, PASSWORD).unwrap();
    house.sources = vec![source.replace("FILE:PASS", &format!("FILE:{}", pass.display()))];
    house
}

fn restored(house: &House) -> Vec<u8> {
    let said: Said = house.run(&["restore", "db", "--stdout"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

#[test]
fn a_second_server_that_starts_from_the_backup_has_the_same_data() {
    let (server, house) = scene();
    let files = house.files(0);
    assert!(files[0].starts_with("daily/redis_") && files[0].ends_with(".rdb.gz"), "{files:?}");
    let copy = Redis::start_from(&restored(&house));
    assert_eq!(copy.digest(), server.digest());
    assert_eq!(copy.ask(&["DBSIZE"]), "30006");
    assert_eq!(house.run(&["verify"]).code, Some(0));
    let page = std::fs::read_to_string(house.storages[0].join("RESTORE.md")).unwrap();
    assert!(page.contains("gzip -dc 'daily/redis_") || page.contains("gzip -dc daily/redis_"), "{page}");
    assert!(page.contains("appendonly no"), "{page}");
}

#[test]
fn a_user_of_the_access_list_will_do_and_one_that_may_not_is_refused() {
    let (server, mut house) = scene();
    server.ask(&[
        "ACL",
        "SETUSER",
        "backup",
        "on",
        &format!(">{PASSWORD}"),
        "+ping",
        "+psync",
        "+sync",
        "+replconf",
    ]);
    let pass = house.path("pass").display().to_string();
    house.sources = vec![source(&server, &format!(", db_user: backup, db_password: 'FILE:{pass}'"))];
    house.start();
    assert_eq!(Redis::start_from(&restored(&house)).digest(), server.digest());
    server.ask(&["ACL", "SETUSER", "backup", "-psync", "-sync"]);
    fails(&house, 1, "NOPERM");
    house.sources = vec![source(&server, &format!(", db_user: nobody, db_password: 'FILE:{pass}'"))];
    fails(&house, 1, "Check `db_user` and `db_password`");
    house.sources = vec![source(&server, ", db_password: 'FILE:/etc/hostname'")];
    fails(&house, 1, "Check `db_user` and `db_password`");
    house.sources = vec![source(&server, "")];
    fails(&house, 1, "NOAUTH");
}

#[test]
fn what_is_no_whole_rdb_is_never_published() {
    let (mut server, house) = scene();
    let faults = [
        ("\"$REAL\" \"$@\" > \"$0.out\"; head -c -41 \"$0.out\"; rm \"$0.out\"", "no checksum fits"),
        ("\"$REAL\" \"$@\" > \"$0.out\"; head -c -1 \"$0.out\"; rm \"$0.out\"", "no checksum fits"),
        ("\"$REAL\" \"$@\" | head -c 100000", "no checksum fits"),
        (
            "echo '-LOADING Redis is loading the dataset in memory, come back later, please'",
            "is no RDB: `-LOADING",
        ),
        (":", "printed nothing"),
        ("\"$REAL\" \"$@\"; echo lost it >&2; exit 3", "ended with exit status 3"),
        ("\"$REAL\" \"$@\"; kill -9 $$", "ended with signal 9"),
    ];
    for (fault, words) in faults {
        let script = format!("case \"$*\" in *--rdb*) ;; *) exec \"$REAL\" \"$@\";; esac\n{fault}");
        house.wrap("redis-cli", &script);
        fails(&house, 1, words);
    }
    let asks =
        "case \"$*\" in *PING*) echo 'MASTERDOWN Link with MASTER is down';; *) exec \"$REAL\" \"$@\";; esac";
    house.wrap("redis-cli", asks);
    fails(&house, 1, "MASTERDOWN");
    // The server dies in the middle of the transfer.
    house.wrap("redis-cli", "exec \"$REAL\" \"$@\"");
    server.ask(&["CONFIG", "SET", "rdb-key-save-delay", "1000"]);
    let before = house.files(0);
    let child = house.command(&["start"]).spawn().unwrap();
    until("the transfer", || house.processes().iter().any(|(_, text)| text.contains("--rdb")));
    server.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((house.files(0), house.left_running()), (before, Vec::new()));
    fails(&house, 1, "Check `db_host`, `db_port` or `socket`");
}

#[test]
fn a_client_that_is_killed_or_missing_is_an_error() {
    let (server, house) = scene();
    let before = house.files(0);
    server.ask(&["CONFIG", "SET", "rdb-key-save-delay", "1000"]);
    let child = house.command(&["start"]).spawn().unwrap();
    let mut client = 0;
    until("the transfer", || {
        let found = house.processes().into_iter().find(|(_, text)| text.contains("--rdb"));
        if let Some((id, text)) = found {
            assert!(
                !text.split(" HOME=").next().unwrap().contains(PASSWORD) || text.contains("REDISCLI_AUTH")
            );
            client = id;
        }
        client != 0
    });
    kill("KILL", client);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.contains("ended with signal 9")), (Some(1), true), "{said}");
    assert_eq!((house.files(0), house.left_running()), (before.clone(), Vec::new()));
    let mut command = house.command(&["start"]);
    command.env("PATH", house.path("bin"));
    let said = house.finish(command);
    assert_eq!((said.code, said.err.contains("redis-tools")), (Some(1), true), "{said:?}");
    assert_eq!(house.files(0), before);
}
