//! The article's job over two MariaDB servers on two ports, and a hot copy of both of them.

use std::fs;

use nxs_testkit::servers::mariadb::{self, MariaDb};

use crate::house::{House, source};
use crate::{package, page, site, watch};

/// As it is printed, but for the storage, which is on this host.
const JOB: &str = "\
- job: Bitrix-mysql
  type: mysql
  tmp_dir: /var/nxs-backup/databases/mysql/dump_tmp
  sources:
  - connect: {db_host: localhost, db_port: 3306, db_user: bitrux_usr_1, db_password: password_1}
    target: [bitrix_1_db]
    excludes: [information_schema, performance_schema, mysql, sys]
    gzip: no
    is_slave: no
    extra_keys: '--opt --add-drop-database --routines --comments --create-options --quote-names --order-by-primary --hex-blob'
  - connect: {db_host: localhost, db_port: 3307, db_user: bitrix_usr_2, db_password: password_2}
    target: [bitrix_2_db]
    excludes: [information_schema, performance_schema, mysql, sys]
    gzip: yes
    is_slave: no
    extra_keys: '--opt --add-drop-database --routines --comments --create-options --quote-names --order-by-primary --hex-blob'
  storages:
  - storage: local
    enable: yes
    backup_dir: /nxs-backup/databases/mysql/dump
    store: {days: 6, weeks: 4, month: 6}
";
const DATABASES: [&str; 2] = ["bitrix_1_db", "bitrix_2_db"];
const BYTES: u64 = 200 << 20;
const ZOO: &str = include_str!("zoo.sql");
/// Accounts of everybody: roles in roles, default roles, rights on columns and routines, odd names.
const PEOPLE: &str = "
    CREATE ROLE reader; CREATE ROLE writer; CREATE ROLE `größe role`;
    GRANT SELECT ON *.* TO reader; GRANT reader TO writer WITH ADMIN OPTION; GRANT INSERT, UPDATE (name) ON bitrix_2_db.customer TO writer;
    CREATE USER web@'10.%' IDENTIFIED BY 'it''s' REQUIRE SSL WITH MAX_USER_CONNECTIONS 7;
    CREATE USER `o'ne il`@'%' IDENTIFIED BY 'x' PASSWORD EXPIRE NEVER ACCOUNT LOCK;
    GRANT writer TO web@'10.%'; SET DEFAULT ROLE writer FOR web@'10.%';
    GRANT EXECUTE ON FUNCTION bitrix_2_db.twice TO `o'ne il`@'%'; GRANT `größe role` TO `o'ne il`@'%';
    GRANT ALL ON `bitrix\\_2\\_db`.* TO `o'ne il`@'%' WITH GRANT OPTION";

fn start() -> MariaDb {
    MariaDb::start_with(&["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M"])
}

/// The two servers of the article: a site, and a shop of everything beside what Zabbix is delivered with.
fn servers() -> [MariaDb; 2] {
    let servers = [start(), start()];
    for (n, server) in servers.iter().enumerate() {
        let (database, user) = (DATABASES[n], ["bitrux_usr_1", "bitrix_usr_2"][n]);
        server.sql(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"));
        for host in ["localhost", "127.0.0.1"] {
            let account = format!("{user}@'{host}'");
            server.sql(&format!(
                "CREATE USER {account} IDENTIFIED BY 'password_{}'; GRANT ALL ON {database}.* TO {account}; \
                 GRANT SELECT ON mysql.proc TO {account}",
                n + 1
            ));
        }
    }
    let [one, two] = &servers;
    site::install(one, DATABASES[0], "bitrux_usr_1", "password_1");
    site::fill(one, DATABASES[0], BYTES);
    let client = || {
        let mut client = two.client();
        client.arg(format!("--database={}", DATABASES[1]));
        client
    };
    package::feed(client, &package::zabbix("mysql"));
    let (_, others) = site::contents();
    let mut script = format!("USE {}; {ZOO}", DATABASES[1]);
    for (n, path) in others.iter().enumerate() {
        script +=
            &format!("INSERT INTO bytes VALUES ({n}, LOAD_FILE('{0}'), LOAD_FILE('{0}'));\n", path.display());
    }
    site::feed(two, &script);
    two.sql(PEOPLE);
    servers
}

/// Everybody's account, without the moments when they were made; of `root` not how it came with the server.
fn people(server: &MariaDb) -> String {
    let fields = [
        "access",
        "plugin",
        "authentication_string",
        "is_role",
        "default_role",
        "ssl_type",
        "max_user_connections",
        "account_locked",
    ];
    let fields = fields.map(|field| format!("JSON_VALUE(Priv, '$.{field}')")).join(", ");
    server.sql(&format!(
        "SELECT Host, User, {fields} FROM mysql.global_priv WHERE User <> 'root' ORDER BY 1, 2; SELECT * FROM mysql.db ORDER BY 1, 2, 3; \
         SELECT * FROM mysql.roles_mapping ORDER BY 1, 2, 3; \
         SELECT Host, Db, User, Table_name, Table_priv, Column_priv FROM mysql.tables_priv ORDER BY 1, 2, 3, 4; \
         SELECT Host, Db, User, Table_name, Column_name, Column_priv FROM mysql.columns_priv ORDER BY 1, 2, 3, 4, 5; \
         SELECT Host, Db, User, Routine_name, Routine_type, Proc_priv FROM mysql.procs_priv ORDER BY 1, 2, 3, 4"
    ))
}

/// What a database is: how it was made, its definitions, a checksum of every table.
struct Print(String);

impl Print {
    fn of(server: &MariaDb, database: &str) -> Self {
        Self(server.sql(&format!("SHOW CREATE DATABASE {database}")) + &server.fingerprint(database))
    }

    /// Without the counters, of which a server that starts again forgets what it had in reserve.
    fn without_counters(&self) -> Self {
        let word = |word: &&str| !word.starts_with("AUTO_INCREMENT=");
        Self(self.0.split_inclusive(' ').filter(word).collect())
    }

    #[track_caller]
    fn assert_same(&self, is: &Self, what: &str) {
        let differing = self.0.lines().zip(is.0.lines()).find(|(a, b)| a != b);
        assert!(self.0 == is.0, "{what}: {differing:?}");
    }
}

#[test]
fn the_articles_job_and_hot_copies_of_its_two_servers_come_back_whole() {
    let servers = servers();
    let prints = [0, 1].map(|n| Print::of(&servers[n], DATABASES[n]));
    for part in [
        "FOREIGN KEY",
        "PARTITION BY",
        "GENERATED ALWAYS",
        "TRIGGER",
        "VIEW",
        "FUNCTION",
        "PROCEDURE",
        "EVENT",
        "🙂",
        "SEQUENCE",
    ] {
        assert!(prints[1].0.contains(part), "no {part}");
    }
    let fresh = the_articles_job(&servers, &prints);
    accounts_come_back(&servers[1], &fresh);
    hot_copies(&servers, &prints);
}

/// Answers with the server that the page made.
fn the_articles_job(servers: &[MariaDb; 2], prints: &[Print; 2]) -> MariaDb {
    let mut house = House::new(&[]);
    let job = JOB.replace("/var/nxs-backup", house.path("tmp").to_str().unwrap());
    let job = job.replace("/nxs-backup/databases/mysql/dump", house.storages[0].to_str().unwrap());
    let job =
        job.replace("3306", &servers[0].port().to_string()).replace("3307", &servers[1].port().to_string());
    house.file = Some(job);
    let said = watch::run(&house, &["start", "Bitrix-mysql"]);
    assert!(!said.log.contains("WARNING") && !said.log.contains("ERROR"), "{said:?}");
    let archives = house.archives(0);
    let bytes = fs::metadata(&archives["bitrix_1_db"]).unwrap().len();
    assert!(bytes >= BYTES, "{bytes}");
    assert!(archives["bitrix_2_db"].file_name().unwrap().to_str().unwrap().starts_with("1-bitrix_2_db_"));
    let verified = house.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");

    let fresh = start();
    for (database, print) in DATABASES.iter().zip(prints) {
        let into = format!("mysql://{}@localhost:{}", mariadb::USER, fresh.port());
        let mut command = house.command(&["restore", "Bitrix-mysql", "--target", database, "--into", &into]);
        command.env("NXS_RESTORE_PASSWORD", mariadb::PASSWORD);
        let said = house.finish(command);
        assert_eq!(said.code, Some(0), "{said:?}");
        print.assert_same(&Print::of(&fresh, database), "by the program");
    }
    drop(fresh);
    let fresh = start();
    for (database, print) in DATABASES.iter().zip(prints) {
        // What the page asks for, with what the dump tells.
        fresh.sql(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"));
        stock(&house, &fresh, database);
        print.assert_same(&Print::of(&fresh, database), "by the page");
    }
    fresh
}

/// Runs the commands of the page with a client that finds the server by itself.
fn stock(house: &House, server: &MariaDb, root: &str) {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join(".my.cnf"),
        format!("[client]\nuser=root\nsocket={}\n", server.socket().display()),
    )
    .unwrap();
    for command in page::commands(&house.storages[0], root) {
        let said = page::run(&house.storages[0], &command, |shell| {
            shell.env("HOME", home.path());
        });
        assert_eq!(said, "", "{command}");
    }
}

/// Last of all, as the page says.
fn accounts_come_back(server: &MariaDb, fresh: &MariaDb) {
    server.sql("CREATE DATABASE small");
    let house = House::new(&[source(server, "all", ", excludes: ['bitrix_*']")]);
    let said = house.start();
    assert!(!said.log.contains("WARNING"), "{said:?}");
    stock(&house, fresh, "@users");
    let (is, was) = (people(fresh), people(server));
    assert!(was.contains("größe role") && was == is, "{was}\n{is}");
}

fn hot_copies(servers: &[MariaDb; 2], prints: &[Print; 2]) {
    let sources: Vec<String> = servers
        .iter()
        .map(|server| source(server, "[x]", "").replace("target: [x], ", "").replace("is_slave: no, ", ""))
        .map(|source| source.replace("127.0.0.1", "localhost"))
        .collect();
    let house = House::of("mariadb_backup", &sources);
    watch::run(&house, &["start"]);
    for (n, print) in prints.iter().enumerate() {
        let place = house.path("data");
        let number = n.to_string();
        let args = ["restore", "db", "--source", &number, "--to", place.to_str().unwrap()];
        let said = house.run(&args);
        assert_eq!(said.code, Some(0), "{said:?}");
        let restored = MariaDb::start_from(&place);
        let is = Print::of(&restored, DATABASES[n]).without_counters();
        print.without_counters().assert_same(&is, "a hot copy by the program");
        assert_eq!(people(&restored), people(&servers[n]));
    }
    // The page has them one after the other; the first one will do.
    let commands = page::commands(&house.storages[0], "mariadb_backup");
    let [unpack, copy_back, _, _] = commands.as_slice() else { panic!("{commands:?}") };
    let (half, data) = (house.path("half"), house.path("data"));
    let put = |line: &str| {
        line.replace("/tmp/restore", half.to_str().unwrap()).replace("/var/lib/mysql", data.to_str().unwrap())
    };
    page::run(&house.storages[0], &put(unpack), |_| {});
    page::run(&house.storages[0], &put(copy_back), |_| {});
    let restored = MariaDb::start_from(&data);
    let n = usize::from(restored.sql("SHOW DATABASES").contains(DATABASES[1]));
    let is = Print::of(&restored, DATABASES[n]).without_counters();
    prints[n].without_counters().assert_same(&is, "a hot copy by the page");
}
