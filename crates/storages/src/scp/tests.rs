//! SFTP against a real OpenSSH server: the suite, ways to log in, keys of hosts, and what goes wrong on the way.

use std::fs;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use nxs_base::ports::storage::{ObjectKey, ObjectKind, Storage};
use nxs_base::spec::Retention;
use nxs_base::spec::storage::{HostKey, StorageSettings};
use nxs_testkit::Fixture;
use nxs_testkit::servers::{self, Proxy, SshAgent, SshOptions, SshServer, Trouble};
use nxs_testkit::suite::{key, keys, list as listed, put, read, stage, tag};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn secret(text: &str) -> Option<SecretRef> {
    Some(SecretRef::Literal(Secret::new(text)))
}

/// With the key, which is faster than the password.
fn settings(server: &SshServer) -> ScpSettings {
    ScpSettings {
        host: "127.0.0.1".into(),
        port: server.port,
        user: server.user.into(),
        password: None,
        key_file: Some(server.key.display().to_string()),
        passphrase: None,
        agent: None,
        host_key: HostKey::Strict,
        known_hosts: Some(server.known_hosts.display().to_string()),
    }
}

fn with_password(server: &SshServer, password: &str) -> ScpSettings {
    ScpSettings { key_file: None, password: secret(password), ..settings(server) }
}

fn with_key(server: &SshServer, key: &std::path::Path, passphrase: &str) -> ScpSettings {
    ScpSettings {
        key_file: Some(key.display().to_string()),
        passphrase: secret(passphrase),
        ..settings(server)
    }
}

fn spec(settings: ScpSettings) -> StorageSpec {
    StorageSpec {
        name: "scp".into(),
        enable: true,
        backup_dir: "backups/web 1".into(),
        retention: Retention::default(),
        settings: StorageSettings::Scp(settings),
        traffic: Traffic { tries: 2, idle_timeout: 20 * SECOND, ..Traffic::default() },
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

fn storage(settings: ScpSettings) -> Arc<dyn Storage> {
    open(&spec(settings))
}

fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|e| e.kind())
}

fn refused(settings: ScpSettings) -> Error {
    storage(settings).stat(&key("x")).unwrap_err()
}

/// What a user reads of an error.
fn told(error: &Error) -> String {
    format!("{} {}", error.chain(), error.hint().unwrap_or_default())
}

/// It lets in who asks with these settings.
fn lets_in(settings: ScpSettings) {
    let storage = storage(settings);
    put(&*storage, "d/x", b"hello");
    assert_eq!(read(&*storage, "d/x", None), b"hello");
    storage.delete(&key("d/x")).unwrap();
}

mod openssh {
    use super::*;
    nxs_testkit::storage_suite!(|| {
        let server = SshServer::start();
        let mut spec = spec(with_password(&server, server.password));
        spec.backup_dir = server.root.join("backups/web 1").display().to_string();
        Fixture::keeping(open(&spec), server)
    });
}

/// SFTP alone, below a root of its own.
mod locked_in {
    use super::*;
    nxs_testkit::storage_suite!(|| {
        let server = SshServer::with(SshOptions { is_locked_in: true, ..SshOptions::default() });
        let spec = StorageSpec { backup_dir: "/backups".into(), ..spec(settings(&server)) };
        Fixture::keeping(open(&spec), server)
    });
}

/// A server without the extensions of OpenSSH.
mod plain_server {
    use super::*;
    nxs_testkit::storage_suite!(|| {
        let server = SshServer::with(SshOptions {
            sftp: "-P limits,fsync,posix-rename".into(),
            ..SshOptions::default()
        });
        Fixture::keeping(storage(settings(&server)), server)
    });
}

#[test]
fn links_have_the_text_that_v2_gave_them_or_a_relative_one() {
    let server = SshServer::start();
    let mut spec = spec(settings(&server));
    let root = server.root.join("backups/old");
    spec.backup_dir = root.display().to_string();
    let storage = open(&spec);
    put(&*storage, "s/monthly/x", b"content");
    storage.link(&key("s/weekly/x"), &key("s/monthly/x")).unwrap();
    assert_eq!(fs::read_link(root.join("s/weekly/x")).unwrap().to_str(), Some("../monthly/x"));
    // As v2 made them: with the path of the remote host.
    std::os::unix::fs::symlink(root.join("s/monthly/x"), root.join("s/daily.x")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("s/out")).unwrap();
    let kinds: Vec<_> = listed(&*storage, "s").into_iter().map(|i| (i.key.to_string(), i.kind)).collect();
    let to = |target: Option<&str>| ObjectKind::Link { target: target.map(key) };
    assert_eq!(
        kinds,
        [
            ("s/daily.x".to_owned(), to(Some("s/monthly/x"))),
            ("s/monthly/x".to_owned(), ObjectKind::File),
            ("s/out".to_owned(), to(None)),
            ("s/weekly/x".to_owned(), to(Some("s/monthly/x"))),
        ]
    );
    assert_eq!(read(&*storage, "s/daily.x", None), b"content");
    assert_eq!(kind_of(storage.get(&key("s/out"), None)), Some(ErrorKind::NotFound));
}

#[test]
fn objects_are_for_their_owner_alone() {
    let server = SshServer::start();
    put(&*storage(settings(&server)), "d/x", b"");
    for (path, mode) in [("d", 0o700), ("d/x", 0o600)] {
        let found = fs::metadata(server.root.join("backups/web 1").join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_key_lets_in_with_and_without_a_passphrase_in_every_format() {
    let server = SshServer::start();
    lets_in(settings(&server));
    for (name, args) in [
        ("locked", &["-t", "ed25519", "-N", "open sesame"][..]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", "open sesame"]),
        ("pem", &["-t", "rsa", "-b", "2048", "-N", "open sesame", "-m", "PEM"]),
        ("pkcs8", &["-t", "ecdsa", "-N", "open sesame", "-m", "PKCS8"]),
        ("ecdsa", &["-t", "ecdsa", "-b", "521", "-N", "open sesame"]),
    ] {
        let path = server.new_key(name, args);
        lets_in(with_key(&server, &path, "open sesame"));
        for wrong in ["", "open s3same"] {
            let error = refused(with_key(&server, &path, wrong));
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {}", told(&error));
            assert!(told(&error).contains(&format!("`{}`", path.display())), "{}", told(&error));
            assert!(
                told(&error).contains("`passphrase`") && !told(&error).contains("s3same"),
                "{}",
                told(&error)
            );
        }
    }
    let nowhere = with_key(&server, std::path::Path::new("/nonexistent/key"), "");
    assert!(told(&refused(nowhere)).contains("No such file"));
}

#[test]
fn an_agent_lets_in_and_an_empty_one_does_not() {
    let server = SshServer::start();
    let agent = SshAgent::with(&server.key);
    let with = |socket: &std::path::Path| ScpSettings {
        key_file: None,
        agent: Some(socket.display().to_string()),
        ..settings(&server)
    };
    lets_in(with(&agent.socket));
    let other = tempfile::tempdir().unwrap();
    let key = other.path().join("other");
    servers::run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key));
    let stranger = SshAgent::with(&key);
    let error = refused(with(&stranger.socket));
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", told(&error));
    let error = refused(with(std::path::Path::new("/nonexistent/agent")));
    assert!(told(&error).contains("`/nonexistent/agent`"), "{}", told(&error));
}

#[test]
fn a_server_that_asks_for_the_password_gets_it() {
    let server = SshServer::with(SshOptions { asks: true, ..SshOptions::default() });
    lets_in(with_password(&server, server.password));
    let error = refused(with_password(&server, "wr0ng-pass"));
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", told(&error));
}

#[test]
fn a_server_that_wants_key_and_password_gets_both() {
    let more = vec!["AuthenticationMethods publickey,password".to_owned()];
    let server = SshServer::with(SshOptions { more, ..SshOptions::default() });
    lets_in(ScpSettings { password: secret(server.password), ..settings(&server) });
    assert_eq!(refused(settings(&server)).kind(), ErrorKind::Denied);
}

#[test]
fn a_wrong_password_is_denied_and_named_without_being_told() {
    let server = SshServer::start();
    let error = refused(with_password(&server, "wr0ng-pass"));
    assert_eq!(error.kind(), ErrorKind::Denied);
    let told = told(&error);
    assert!(told.contains(&format!("log in as `bk` to storage `scp` (127.0.0.1:{})", server.port)), "{told}");
    assert!(!told.contains("wr0ng-pass") && told.contains("`password`"), "{told}");
}

#[test]
fn a_server_that_is_not_there_is_unreachable_and_named() {
    let server = SshServer::start();
    let port = servers::free_port();
    let error = refused(ScpSettings { port, ..settings(&server) });
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let expected = format!("cannot connect to storage `scp` (127.0.0.1:{port})");
    assert!(error.chain().starts_with(&expected) && error.chain().contains("refused"), "{}", error.chain());
    let error = refused(ScpSettings { host: "no-such-host.invalid".into(), ..settings(&server) });
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.chain().contains("no-such-host.invalid"), "{}", error.chain());
}

#[test]
fn what_answers_and_is_no_ssh_server_is_named() {
    let server = SshServer::start();
    let ftp = servers::FtpServer::start(servers::FtpKind::Vsftpd);
    let mut spec = spec(ScpSettings { port: ftp.port, ..settings(&server) });
    spec.traffic = Traffic { tries: 1, idle_timeout: SECOND, connect_timeout: SECOND, ..spec.traffic };
    let error = open(&spec).stat(&key("x")).unwrap_err();
    assert!(error.chain().contains("speak SSH") || error.kind() == ErrorKind::Timeout, "{}", error.chain());
}

#[test]
fn a_user_without_sftp_is_told_so() {
    let more = vec!["ForceCommand /bin/echo This account is closed.".to_owned()];
    let server = SshServer::with(SshOptions { more, ..SshOptions::default() });
    let error = refused(settings(&server));
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", told(&error));
    assert!(told(&error).contains("SFTP"), "{}", told(&error));
}

#[test]
fn the_key_of_the_host_is_asked_for_as_configured() {
    let mut server = SshServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/known_hosts");
    let ours = ScpSettings { known_hosts: Some(file.display().to_string()), ..settings(&server) };
    let with = |host_key| ScpSettings { host_key, ..ours.clone() };
    let error = refused(with(HostKey::Strict));
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(told(&error).contains("is not known") && told(&error).contains("SHA256:"), "{}", told(&error));
    assert!(!file.exists());

    lets_in(with(HostKey::AcceptNew));
    let known = fs::read_to_string(&file).unwrap();
    assert!(known.starts_with(&format!("[127.0.0.1]:{} ssh-ed25519 ", server.port)), "{known}");
    assert_eq!(known.lines().count(), 1);
    lets_in(with(HostKey::Strict));

    server.new_host_key(&["-t", "ecdsa"]);
    server.run();
    for check in [HostKey::AcceptNew, HostKey::Strict] {
        let error = refused(with(check));
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(told(&error).contains("is not the one that is known"), "{}", told(&error));
        assert!(told(&error).contains("ssh-keygen -R"), "{}", told(&error));
    }
    lets_in(with(HostKey::Off));
    assert_eq!(fs::read_to_string(&file).unwrap(), known);
}

#[test]
fn a_host_with_several_keys_is_known_by_any_of_them() {
    let server = SshServer::start();
    let rsa = server.known_hosts.with_file_name("rsa");
    servers::run(
        Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "rsa", "-b", "2048", "-f"]).arg(&rsa),
    );
    let more = vec![format!("HostKey {}", rsa.display())];
    let both = SshServer::with(SshOptions { more, ..SshOptions::default() });
    let public = fs::read_to_string(rsa.with_extension("pub")).unwrap();
    fs::write(&both.known_hosts, format!("[127.0.0.1]:{} {public}", both.port)).unwrap();
    lets_in(settings(&both));
}

#[test]
fn a_directory_that_may_not_be_entered_is_denied_and_never_an_empty_list() {
    let server = SshServer::start();
    let storage = storage(settings(&server));
    put(&*storage, "mine/x", b"");
    let dir = server.root.join("backups/web 1/theirs");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("y"), b"").unwrap();
    chown(&dir, Some(0), Some(0)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(kind_of(storage.list("", &mut |_| Ok(()))), Some(ErrorKind::Denied));
    assert_eq!(kind_of(storage.list("theirs", &mut |_| Ok(()))), Some(ErrorKind::Denied));
    assert_eq!(kind_of(stage(&*storage, "theirs/z", "1", b"")), Some(ErrorKind::Denied));
    assert_eq!(keys(&*storage, "mine"), ["mine/x"]);
    let outside = StorageSpec { backup_dir: "/root/nxs-none".into(), ..spec(settings(&server)) };
    assert_eq!(kind_of(stage(&*open(&outside), "x", "1", b"")), Some(ErrorKind::Denied));
}

#[test]
fn what_may_not_be_written_or_deleted_is_denied_and_stays() {
    let server = SshServer::start();
    let storage = storage(settings(&server));
    put(&*storage, "d/x", b"there");
    let dir = server.root.join("backups/web 1/d");
    chown(&dir, Some(0), Some(0)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let seen = [
        kind_of(stage(&*storage, "d/y", "1", b"")),
        kind_of(storage.delete(&key("d/x"))),
        kind_of(storage.rename(&key("d/x"), &key("e/x"))),
        kind_of(storage.put_replace(&key("d/RESTORE.md"), &tag("1"), b"")),
        kind_of(storage.link(&key("d/l"), &key("d/x"))),
    ];
    assert_eq!(seen, [Some(ErrorKind::Denied); 5]);
    assert_eq!(read(&*storage, "d/x", None), b"there");
    assert_eq!(keys(&*storage, ""), ["d/x"]);
}

#[test]
fn a_full_disk_is_full_and_the_partial_goes() {
    let disk = nxs_testkit::SmallDisk::mount("size=2m");
    let root = Some(disk.path().to_owned());
    let server = SshServer::with(SshOptions { root, ..SshOptions::default() });
    let storage = storage(settings(&server));
    put(&*storage, "d/old", b"kept");
    let free = storage.free_bytes().unwrap().unwrap();
    assert!((1 << 20..=2 << 20).contains(&free), "{free}");
    let error = storage.stage(&key("d/x"), &tag("1"), &mut io::repeat(7).take(16 << 20)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
    assert_eq!(keys(&*storage, ""), ["d/old"]);
    put(&*storage, "d/small", b"there is room again");
}

#[test]
fn a_read_only_disk_is_denied() {
    let disk = nxs_testkit::SmallDisk::mount("size=2m");
    let root = Some(disk.path().to_owned());
    let server = SshServer::with(SshOptions { root, ..SshOptions::default() });
    let storage = storage(settings(&server));
    put(&*storage, "d/old", b"kept");
    servers::run(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()));
    let seen = [
        kind_of(stage(&*storage, "d/y", "1", b"")),
        kind_of(stage(&*storage, "new/y", "1", b"")),
        kind_of(storage.delete(&key("d/old"))),
        kind_of(storage.link(&key("d/l"), &key("d/old"))),
    ];
    assert_eq!(seen, [Some(ErrorKind::Denied); 4]);
    assert_eq!(read(&*storage, "d/old", None), b"kept");
}

#[test]
fn a_server_that_cannot_tell_its_room_is_no_error() {
    let server = SshServer::with(SshOptions { sftp: "-P statvfs".into(), ..SshOptions::default() });
    assert_eq!(storage(settings(&server)).free_bytes().unwrap(), None);
}

fn through(proxy: &Proxy, server: &SshServer) -> ScpSettings {
    ScpSettings { host: proxy.host.clone(), port: proxy.port, host_key: HostKey::Off, ..settings(server) }
}

#[test]
fn a_put_that_is_cut_at_any_block_publishes_nothing_and_keeps_what_is_there() {
    let server = SshServer::start();
    let proxy = Proxy::before(server.port);
    let storage = storage(through(&proxy, &server));
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
                assert_eq!(error.kind(), ErrorKind::Unreachable, "{cut}: {}", error.chain());
                let seen = keys(&*storage, "");
                assert!(!seen.contains(&"site/new".to_owned()), "{cut}: {seen:?}");
            }
        }
        assert_eq!(read(&*storage, "site/old", None), b"kept");
    }
    assert!(failures >= 6, "only {failures} of 8 cuts were felt");
}

#[test]
fn a_read_goes_on_after_a_cut() {
    let server = SshServer::start();
    let proxy = Proxy::before(server.port);
    let storage = storage(through(&proxy, &server));
    let data: Vec<u8> = (0..24u32 << 20).map(|n| (n / 7) as u8).collect();
    put(&*storage, "x", &data);
    let mut reader = storage.get(&key("x"), None).unwrap();
    let mut got = vec![0; 1 << 20];
    reader.read_exact(&mut got).unwrap();
    proxy.cut();
    reader.read_to_end(&mut got).unwrap();
    assert!(got == data);
}

#[test]
fn a_connection_that_was_cut_while_idle_does_not_hurt() {
    let server = SshServer::start();
    let proxy = Proxy::before(server.port);
    let storage = storage(through(&proxy, &server));
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
    let server = SshServer::start();
    let proxy = Proxy::before(server.port);
    let mut spec = spec(through(&proxy, &server));
    spec.traffic = Traffic { tries: 1, idle_timeout: SECOND, connect_timeout: SECOND, ..spec.traffic };
    let storage = open(&spec);
    put(&*storage, "x", b"");
    proxy.set(Trouble::Silent);
    let error = storage.list("", &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    let error = stage(&*storage, "y", "1", &vec![1; 9 << 20]).err().unwrap();
    assert!(error.kind().is_transient(), "{}", error.chain());
    proxy.set(Trouble::None);
    assert_eq!(keys(&*storage, ""), ["x"]);
}

/// Bytes that come when somebody says so.
struct When<F>(F, usize);

impl<F: FnMut(usize)> Read for When<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.0)(self.1);
        self.1 += 1;
        if self.1 > 100 {
            return Ok(0);
        }
        buf.fill(1);
        Ok(buf.len())
    }
}

#[test]
fn a_source_that_takes_its_time_does_not_cost_the_connection() {
    // The server asks for a sign of life each second, and hangs up without one.
    let more = vec!["ClientAliveInterval 1".to_owned(), "ClientAliveCountMax 1".to_owned()];
    let server = SshServer::with(SshOptions { more, ..SshOptions::default() });
    let proxy = Proxy::before(server.port);
    let storage = storage(through(&proxy, &server));
    let mut source = When(
        |n| {
            if n == 50 {
                // Signs of life are small; what was sent before comes in blocks.
                let (mut last, mut signs) = (proxy.passed(), 0);
                let is_still_alive = || {
                    let now = proxy.passed();
                    signs += u32::from((1..1000).contains(&(now - last)));
                    last = now;
                    signs >= 3
                };
                assert!(servers::comes_true(30 * SECOND, is_still_alive), "no sign of life");
            }
        },
        0,
    );
    let pending = storage.stage(&key("slow"), &tag("1"), &mut source).unwrap();
    pending.commit().unwrap();
    assert_eq!(keys(&*storage, ""), ["slow"]);
}

#[test]
fn a_slow_server_is_waited_for_as_long_as_it_moves() {
    let server = SshServer::start();
    let proxy = Proxy::before(server.port);
    let mut spec = spec(through(&proxy, &server));
    spec.traffic.idle_timeout = 2 * SECOND;
    let storage = open(&spec);
    put(&*storage, "warm", b"");
    proxy.set(Trouble::Slow(400_000));
    let data = vec![9; 2 << 20];
    let begin = std::time::Instant::now();
    put(&*storage, "x", &data);
    assert!(begin.elapsed() > 4 * SECOND, "the proxy was no hindrance");
    proxy.set(Trouble::None);
    assert!(read(&*storage, "x", None) == data);
}

#[test]
fn a_server_that_is_killed_in_mid_put_and_comes_back_has_nothing_half_published() {
    let mut server = SshServer::start();
    let storage = storage(settings(&server));
    put(&*storage, "d/old", b"kept");
    let mut source = When(
        |n| {
            if n == 20 {
                server.kill()
            }
        },
        0,
    );
    let error = storage.stage(&key("d/new"), &tag("1"), &mut source).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.chain());
    server.run();
    let left = keys(&*storage, "");
    assert!(left.iter().all(|k| k == "d/old" || k.ends_with(".nxs-part")), "{left:?}");
    assert_eq!(read(&*storage, "d/old", None), b"kept");
    put(&*storage, "d/new", b"second try");
}

#[test]
fn a_server_that_restarts_in_mid_list_leaves_nothing_out() {
    let mut server = SshServer::start();
    let storage = storage(settings(&server));
    for n in 0..20 {
        put(&*storage, &format!("d{n}/x"), b"");
    }
    let mut seen = 0;
    storage
        .list("", &mut |_| {
            seen += 1;
            if seen == 5 {
                server.run();
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 20);
}

#[test]
fn many_write_at_once() {
    let server = SshServer::start();
    let storage = storage(settings(&server));
    std::thread::scope(|scope| {
        for n in 0..6u8 {
            let storage = &*storage;
            scope.spawn(move || put(storage, &format!("d/{n}"), &vec![n; 1 << 20]));
        }
    });
    for n in 0..6u8 {
        assert!(read(&*storage, &format!("d/{n}"), None) == vec![n; 1 << 20]);
    }
}

#[test]
fn a_rate_limit_holds() {
    let server = SshServer::start();
    let mut spec = spec(settings(&server));
    spec.traffic.rate_limit = NonZeroU64::new(4 << 20);
    let storage = open(&spec);
    put(&*storage, "warm", b"");
    let data = vec![1; 4 << 20];
    let begin = std::time::Instant::now();
    put(&*storage, "x", &data);
    let took = begin.elapsed().as_secs_f64();
    assert!((0.95..2.5).contains(&took), "{took}");
}

#[test]
fn the_command_that_fetches_an_object_is_one_of_stock_tools_and_works() {
    let server = SshServer::start();
    let plain = spec(settings(&server));
    let absolute = server.root.join("backups/web *2*").display().to_string();
    for (backup_dir, name) in [
        ("backups/web 1", "site 1/daily/it's \"100%\" #1.tar"),
        ("backups", "[x]\\y?.tar"),
        (&absolute, "größe/~a$(b);c&d.tar"),
    ] {
        let storage = open(&StorageSpec { backup_dir: backup_dir.into(), ..plain.clone() });
        put(&*storage, name, b"archive");
        let command = storage.fetch_command(&ObjectKey::new(name).unwrap()).unwrap();
        let known = format!("sftp -o BatchMode=yes -o UserKnownHostsFile={} ", server.known_hosts.display());
        let dir = tempfile::tempdir().unwrap();
        let command = command.replace("sftp ", &known);
        let done = Command::new("sh").args(["-c", &command]).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"archive", "{command}");
    }
}
