//! FTP against real servers: the suite on each, with and without TLS, and what goes wrong on the way.

use std::fs;
use std::num::NonZeroU64;
use std::time::Duration;

use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::secret::SecretRef;
use nxs_base::spec::Retention;
use nxs_base::spec::storage::{StorageSettings, Traffic};
use nxs_testkit::Fixture;
use nxs_testkit::servers::{self, FtpKind, FtpOptions, Proxy, Tls, Trouble};
use nxs_testkit::suite::{key, keys, put, read, stage};

use super::*;

fn settings(server: &servers::FtpServer, tls: FtpTls) -> FtpSettings {
    FtpSettings {
        host: "127.0.0.1".into(),
        port: server.port,
        user: server.user.into(),
        password: Some(SecretRef::Literal(Secret::new(server.password))),
        tls,
        verify: true,
        ca_file: server.certificate.exists().then(|| server.certificate.display().to_string()),
    }
}

fn spec(settings: FtpSettings) -> StorageSpec {
    StorageSpec {
        name: "ftp".into(),
        enable: true,
        backup_dir: "/backups/web 1".into(),
        retention: Retention::default(),
        settings: StorageSettings::Ftp(settings),
        traffic: Traffic { tries: 2, idle_timeout: Duration::from_secs(20), ..Traffic::default() },
    }
}

fn resolve(secret: &SecretRef) -> Result<Secret> {
    match secret {
        SecretRef::Literal(secret) => Ok(secret.clone()),
        _ => Err(Error::new(ErrorKind::Invalid, "a test has its secrets at hand")),
    }
}

fn open(spec: &StorageSpec) -> Arc<dyn Storage> {
    crate::open(spec, resolve).unwrap()
}

fn fixture(kind: FtpKind, options: FtpOptions) -> Fixture {
    let tls = match options.tls {
        Tls::No => FtpTls::No,
        Tls::Explicit => FtpTls::Explicit,
        Tls::Implicit => FtpTls::Implicit,
    };
    let server = servers::FtpServer::with(kind, options);
    let storage = open(&spec(settings(&server, tls)));
    Fixture::keeping(storage, server)
}

fn with_tls(tls: Tls) -> FtpOptions {
    FtpOptions { tls, ..FtpOptions::default() }
}

mod vsftpd_explicit_tls {
    use super::*;
    nxs_testkit::storage_suite!(|| fixture(FtpKind::Vsftpd, with_tls(Tls::Explicit)));
}

mod proftpd {
    use super::*;
    nxs_testkit::storage_suite!(|| fixture(FtpKind::Proftpd, FtpOptions::default()));
}

mod pure_ftpd {
    use super::*;
    nxs_testkit::storage_suite!(|| fixture(FtpKind::PureFtpd, FtpOptions::default()));
}

#[test]
fn every_server_does_with_every_sort_of_tls() {
    for kind in [FtpKind::Vsftpd, FtpKind::Proftpd, FtpKind::PureFtpd] {
        // Pure-FTPd has no TLS from the first byte on.
        let implicit = (kind != FtpKind::PureFtpd).then_some(Tls::Implicit);
        for tls in [Tls::Explicit].into_iter().chain(implicit) {
            let fixture = fixture(kind, with_tls(tls));
            let storage = &*fixture.storage;
            for n in 0..6 {
                put(storage, &format!("d/{n}"), &[n; 300_000]);
                assert_eq!(read(storage, &format!("d/{n}"), Some(5..7)), [n; 2], "{kind:?} {tls:?}");
            }
            assert_eq!(keys(storage, "").len(), 6, "{kind:?} {tls:?}");
        }
    }
}

/// A server as they were: no `MLSD`, `MLST`, `SIZE`, `REST`, `EPSV`, `FEAT`.
mod ancient_server {
    use super::*;
    nxs_testkit::storage_suite!(|| {
        let more = vec!["cmds_denied=SIZE,REST,EPSV,FEAT,OPTS,MDTM".to_owned()];
        fixture(FtpKind::Vsftpd, FtpOptions { more, ..FtpOptions::default() })
    });
}

fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|e| e.kind())
}

#[test]
fn a_wrong_password_is_denied_and_named_without_being_told() {
    let server = servers::FtpServer::start(FtpKind::PureFtpd);
    let wrong = Some(SecretRef::Literal(Secret::new("wr0ng-pass")));
    let storage = open(&spec(FtpSettings { password: wrong, ..settings(&server, FtpTls::No) }));
    let error = storage.stat(&key("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let told = format!("{} {:?}", error.chain(), error.hint());
    assert!(told.contains(&format!("log in as `bk` to storage `ftp` (127.0.0.1:{})", server.port)), "{told}");
    assert!(!told.contains("wr0ng-pass") && told.contains("password"), "{told}");
}

#[test]
fn a_server_that_is_not_there_is_unreachable_and_named() {
    let server = servers::FtpServer::start(FtpKind::Vsftpd);
    let settings = FtpSettings { port: servers::free_port(), ..settings(&server, FtpTls::No) };
    let spec = spec(FtpSettings { host: "127.0.0.1".into(), ..settings.clone() });
    let error = open(&spec).stat(&key("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let expected = format!("cannot connect to storage `ftp` (127.0.0.1:{})", settings.port);
    assert!(error.chain().starts_with(&expected) && error.chain().contains("refused"), "{}", error.chain());
    let nowhere = FtpSettings { host: "no-such-host.invalid".into(), ..settings };
    let error = open(&self::spec(nowhere)).stat(&key("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.chain().contains("no-such-host.invalid"), "{}", error.chain());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_told_otherwise() {
    let server = servers::FtpServer::with(FtpKind::Proftpd, with_tls(Tls::Explicit));
    let other = servers::FtpServer::with(FtpKind::Proftpd, with_tls(Tls::Explicit));
    let strict = settings(&server, FtpTls::Explicit);
    let ca_file = Some(other.certificate.display().to_string());
    let error = open(&spec(FtpSettings { ca_file, ..strict.clone() })).stat(&key("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.chain());
    assert!(error.hint().is_some_and(|hint| hint.contains("ca_file")));
    let storage = open(&spec(FtpSettings { verify: false, ca_file: None, ..strict }));
    put(&*storage, "x", b"trusted anyway");
    assert_eq!(read(&*storage, "x", None), b"trusted anyway");
}

#[test]
fn a_password_never_goes_to_a_server_without_tls_where_tls_was_asked_for() {
    let server = servers::FtpServer::start(FtpKind::PureFtpd);
    let settings = FtpSettings { verify: false, ..settings(&server, FtpTls::Explicit) };
    let error = open(&spec(settings)).stat(&key("x")).unwrap_err();
    assert!(error.chain().contains("cannot secure the connection"), "{}", error.chain());
}

#[test]
fn a_directory_that_may_not_be_entered_is_denied_and_never_an_empty_list() {
    for kind in [FtpKind::Vsftpd, FtpKind::Proftpd, FtpKind::PureFtpd] {
        let server = servers::FtpServer::start(kind);
        let storage = open(&spec(settings(&server, FtpTls::No)));
        put(&*storage, "mine/x", b"");
        let dir = server.root.join("backups/web 1/theirs");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("y"), b"").unwrap();
        std::os::unix::fs::chown(&dir, Some(0), Some(0)).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(kind_of(storage.list("", &mut |_| Ok(()))), Some(ErrorKind::Denied), "{kind:?}");
        assert_eq!(kind_of(storage.list("theirs", &mut |_| Ok(()))), Some(ErrorKind::Denied), "{kind:?}");
        assert_eq!(kind_of(stage(&*storage, "theirs/z", "1", b"")), Some(ErrorKind::Denied), "{kind:?}");
        assert_eq!(keys(&*storage, "mine"), ["mine/x"]);
    }
}

#[test]
fn what_may_not_be_written_or_deleted_is_denied_and_stays() {
    for kind in [FtpKind::Vsftpd, FtpKind::Proftpd, FtpKind::PureFtpd] {
        let server = servers::FtpServer::start(kind);
        let storage = open(&spec(settings(&server, FtpTls::No)));
        put(&*storage, "d/x", b"there");
        let dir = server.root.join("backups/web 1/d");
        std::os::unix::fs::chown(&dir, Some(0), Some(0)).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let seen = [
            kind_of(stage(&*storage, "d/y", "1", b"")),
            kind_of(storage.delete(&key("d/x"))),
            kind_of(storage.rename(&key("d/x"), &key("e/x"))),
            kind_of(storage.put_replace(&key("d/RESTORE.md"), &nxs_testkit::suite::tag("1"), b"")),
        ];
        assert_eq!(seen, [Some(ErrorKind::Denied); 4], "{kind:?}");
        assert_eq!(read(&*storage, "d/x", None), b"there");
    }
}

#[test]
fn a_full_disk_is_full_and_the_partial_goes() {
    for kind in [FtpKind::Vsftpd, FtpKind::Proftpd, FtpKind::PureFtpd] {
        let disk = nxs_testkit::SmallDisk::mount("size=2m");
        let options = FtpOptions { root: Some(disk.path().to_owned()), ..FtpOptions::default() };
        let server = servers::FtpServer::with(kind, options);
        let storage = open(&spec(settings(&server, FtpTls::No)));
        put(&*storage, "d/old", b"kept");
        let error = storage
            .stage(&key("d/x"), &nxs_testkit::suite::tag("1"), &mut io::repeat(7).take(16 << 20))
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Full, "{kind:?}: {}", error.chain());
        assert_eq!(keys(&*storage, ""), ["d/old"], "{kind:?}");
        put(&*storage, "d/small", b"there is room again");
    }
}

/// By way of a proxy, which must be able to read the replies: without TLS.
fn through(proxy: &Proxy, server: &servers::FtpServer) -> FtpSettings {
    FtpSettings { host: proxy.host.clone(), port: proxy.port, ..settings(server, FtpTls::No) }
}

#[test]
fn a_put_that_is_cut_at_any_block_publishes_nothing_and_keeps_what_is_there() {
    for kind in [FtpKind::Vsftpd, FtpKind::Proftpd, FtpKind::PureFtpd] {
        let server = servers::FtpServer::start(kind);
        let proxy = Proxy::before_ftp(server.port);
        let storage = open(&spec(through(&proxy, &server)));
        put(&*storage, "site/old", b"kept");
        let data = vec![5; 3 << 20];
        let mut failures = 0;
        for cut in (1..=8).map(|n| n * 420_000) {
            proxy.set(Trouble::CutAfter(cut));
            let outcome = stage(&*storage, "site/new", "1", &data).and_then(|pending| pending.commit());
            proxy.set(Trouble::None);
            match outcome {
                Ok(()) => {
                    assert_eq!(read(&*storage, "site/new", None).len(), data.len());
                    storage.delete(&key("site/new")).unwrap();
                }
                Err(error) => {
                    failures += 1;
                    let is_right = matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Corrupt);
                    assert!(is_right, "{kind:?}, {cut}: {}", error.chain());
                    let seen = keys(&*storage, "");
                    assert!(!seen.contains(&"site/new".to_owned()), "{kind:?}, {cut}: {seen:?}");
                }
            }
            assert_eq!(read(&*storage, "site/old", None), b"kept");
        }
        assert!(failures >= 6, "{kind:?}: only {failures} of 8 cuts were felt");
    }
}

#[test]
fn a_read_goes_on_after_a_cut() {
    let server = servers::FtpServer::start(FtpKind::Proftpd);
    let proxy = Proxy::before_ftp(server.port);
    let storage = open(&spec(through(&proxy, &server)));
    let data: Vec<u8> = (0..8u32 << 20).map(|n| (n / 7) as u8).collect();
    put(&*storage, "x", &data);
    let mut reader = storage.get(&key("x"), None).unwrap();
    let mut got = vec![0; 1 << 20];
    reader.read_exact(&mut got).unwrap();
    proxy.cut();
    reader.read_to_end(&mut got).unwrap();
    assert!(got == data);
}

#[test]
fn a_server_that_ends_idle_connections_does_not_hurt() {
    let more = vec!["idle_session_timeout=1".to_owned()];
    let server = servers::FtpServer::with(FtpKind::Vsftpd, FtpOptions { more, ..FtpOptions::default() });
    let proxy = Proxy::before_ftp(server.port);
    let storage = open(&spec(through(&proxy, &server)));
    put(&*storage, "a/x", b"1");
    proxy.cut();
    put(&*storage, "a/y", b"2");
    proxy.cut();
    assert_eq!(keys(&*storage, ""), ["a/x", "a/y"]);
    proxy.cut();
    storage.delete(&key("a/x")).unwrap();
    proxy.cut();
    assert_eq!(kind_of(storage.stat(&key("a/x"))), Some(ErrorKind::NotFound));
}

#[test]
fn a_server_that_falls_silent_is_a_time_out() {
    let server = servers::FtpServer::start(FtpKind::Vsftpd);
    let proxy = Proxy::before_ftp(server.port);
    let mut spec = spec(through(&proxy, &server));
    spec.traffic = Traffic { tries: 1, idle_timeout: Duration::from_millis(300), ..spec.traffic };
    let storage = open(&spec);
    put(&*storage, "x", b"");
    proxy.set(Trouble::Silent);
    let error = storage.list("", &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    proxy.set(Trouble::None);
    assert_eq!(keys(&*storage, ""), ["x"]);
}

#[test]
fn a_server_that_is_killed_in_mid_put_and_comes_back_has_nothing_half_published() {
    struct Killing<'a>(&'a mut servers::FtpServer, usize);
    impl Read for Killing<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                20 => self.0.kill(),
                100 => return Ok(0),
                _ => {}
            }
            buf.fill(1);
            Ok(buf.len())
        }
    }
    let mut server = servers::FtpServer::start(FtpKind::Proftpd);
    let storage = open(&spec(settings(&server, FtpTls::No)));
    put(&*storage, "d/old", b"kept");
    let tag = nxs_testkit::suite::tag("1");
    let error = storage.stage(&key("d/new"), &tag, &mut Killing(&mut server, 0)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.chain());
    server.run();
    let left = keys(&*storage, "");
    assert!(left.iter().all(|k| k == "d/old" || k.ends_with(".nxs-part")), "{left:?}");
    assert_eq!(read(&*storage, "d/old", None), b"kept");
    put(&*storage, "d/new", b"second try");
}

#[test]
fn a_rate_limit_holds() {
    let server = servers::FtpServer::start(FtpKind::Vsftpd);
    let mut spec = spec(settings(&server, FtpTls::No));
    spec.traffic.rate_limit = NonZeroU64::new(4 << 20);
    let storage = open(&spec);
    put(&*storage, "warm", b"");
    let data = vec![1; 4 << 20];
    let begin = std::time::Instant::now();
    put(&*storage, "x", &data);
    let took = begin.elapsed().as_secs_f64();
    assert!((0.95..2.0).contains(&took), "{took}");
}

#[test]
fn the_command_that_fetches_an_object_is_one_of_stock_tools_and_works() {
    let server = servers::FtpServer::with(FtpKind::Proftpd, with_tls(Tls::Explicit));
    let storage = open(&spec(settings(&server, FtpTls::Explicit)));
    let name = "site 1/daily/it's 100% #1.tar";
    put(&*storage, name, b"archive");
    let command = storage.fetch_command(&ObjectKey::new(name).unwrap()).unwrap();
    // People type the password; a test puts it beside the name.
    let command = command.replace("--user bk", &format!("--user 'bk:{}'", server.password));
    let dir = tempfile::tempdir().unwrap();
    let done =
        std::process::Command::new("sh").args(["-c", &command]).current_dir(dir.path()).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"archive");
}
