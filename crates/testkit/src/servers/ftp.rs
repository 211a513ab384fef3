//! FTP servers: vsftpd (no `MLSD`), ProFTPD, Pure-FTPd; with and without TLS.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{NOBODY, Process, fixtures, free_port, run};

/// User and group `bin` of Debian.
const BIN: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FtpKind {
    Vsftpd,
    Proftpd,
    PureFtpd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    #[default]
    No,
    Explicit,
    Implicit,
}

#[derive(Debug, Clone, Default)]
pub struct FtpOptions {
    pub tls: Tls,
    /// Lines for the configuration (vsftpd, ProFTPD), or arguments (Pure-FTPd).
    pub more: Vec<String>,
    /// Directory to serve instead of one of its own.
    pub root: Option<PathBuf>,
}

/// A running FTP server. Every user of it is [`FtpServer::user`].
pub struct FtpServer {
    pub port: u16,
    /// What a login sees as `/`. It may write in `backups`.
    pub root: PathBuf,
    pub user: &'static str,
    pub password: &'static str,
    /// The certificate of the server (PEM), where it has one.
    pub certificate: PathBuf,
    kind: FtpKind,
    options: FtpOptions,
    process: Option<Process>,
    dir: tempfile::TempDir,
}

impl FtpServer {
    pub fn start(kind: FtpKind) -> Self {
        Self::with(kind, FtpOptions::default())
    }

    pub fn with(kind: FtpKind, options: FtpOptions) -> Self {
        let dir = tempfile::Builder::new().prefix("nxs-ftp").tempdir().expect("cannot make a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
            .expect("cannot open the directory");
        let root = options.root.clone().unwrap_or_else(|| dir.path().join("root"));
        fs::create_dir_all(&root).expect("cannot make a directory");
        // vsftpd enters the home directory of its user first, and `nobody` has none; nor does it let a user own its
        // root.
        let owner = if kind == FtpKind::Vsftpd { BIN } else { NOBODY };
        let open = root.join("backups");
        fs::create_dir_all(&open).expect("cannot make a directory");
        chown(&open, Some(owner), Some(owner)).expect("servers are started by root");
        let root_owner = if kind == FtpKind::Vsftpd { 0 } else { NOBODY };
        chown(&root, Some(root_owner), Some(root_owner)).expect("servers are started by root");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("cannot open the directory");
        let certificate = dir.path().join("server.crt");
        if options.tls != Tls::No {
            make_certificate(dir.path());
        }
        let (user, password) = match kind {
            FtpKind::Vsftpd => ("anonymous", "me@example.org"),
            _ => ("bk", "s3cret pass"),
        };
        let port = free_port();
        let mut server = Self { port, root, user, password, certificate, kind, options, process: None, dir };
        server.run();
        server
    }

    /// Ends the server as `kill -9` does, with all its sessions.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Sessions are children of their own.
            let ended = Command::new("pkill").args(["-KILL", "-P", &process.id().to_string()]).status();
            ended.expect("this test needs `pkill`");
            process.kill();
        }
    }

    /// Starts it again on the same port.
    pub fn run(&mut self) {
        self.kill();
        let log = self.dir.path().join("log");
        let mut command = match self.kind {
            FtpKind::Vsftpd => self.vsftpd(),
            FtpKind::Proftpd => self.proftpd(),
            FtpKind::PureFtpd => self.pure_ftpd(),
        };
        let mut process = Process::start(&mut command, &log);
        process.wait_for_port(self.port, self.options.tls != Tls::Implicit);
        self.process = Some(process);
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("cannot write a configuration");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("cannot close a configuration");
        path
    }

    fn vsftpd(&self) -> Command {
        let empty = self.dir.path().join("empty");
        fs::create_dir_all(&empty).expect("cannot make a directory");
        let mut text = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={}\nbackground=NO\nanonymous_enable=YES\n\
             local_enable=NO\nwrite_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\n\
             anon_other_write_enable=YES\nanon_world_readable_only=NO\nanon_umask=077\nftp_username=bin\n\
             anon_root={}\nallow_writeable_chroot=YES\nsecure_chroot_dir={}\nseccomp_sandbox=NO\n\
             utf8_filesystem=YES\nxferlog_enable=NO\nmax_login_fails=1\n",
            self.port,
            self.root.display(),
            empty.display(),
        );
        if self.options.tls != Tls::No {
            let implicit = if self.options.tls == Tls::Implicit { "YES" } else { "NO" };
            text.push_str(&format!(
                "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n\
                 rsa_cert_file={}\nrsa_private_key_file={}\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n\
                 implicit_ssl={implicit}\n",
                self.certificate.display(),
                self.dir.path().join("server.key").display(),
            ));
        }
        for line in &self.options.more {
            text.push_str(&format!("{line}\n"));
        }
        let mut command = Command::new("/usr/sbin/vsftpd");
        command.arg(self.write("vsftpd.conf", &text));
        command
    }

    fn proftpd(&self) -> Command {
        let home = fixtures().join("ftpd");
        let dir = self.dir.path().display().to_string();
        let hash = run(Command::new("openssl").args(["passwd", "-6", self.password]));
        self.write(
            "passwd",
            &format!(
                "bk:{}:{NOBODY}:{NOBODY}::{}:/bin/sh\n",
                String::from_utf8_lossy(&hash.stdout).trim(),
                self.root.display()
            ),
        );
        let mut text = format!(
            "ModulePath {}\nServerName t\nServerType standalone\nDefaultAddress 127.0.0.1\nSocketBindTight on\n\
             Port {}\nUseIPv6 off\nUseReverseDNS off\nWtmpLog off\nUser nobody\nGroup nogroup\nUmask 077\n\
             PidFile {dir}/pid\nScoreboardFile {dir}/scoreboard\nDelayEngine off\nSystemLog {dir}/system.log\n\
             TransferLog none\nAuthOrder mod_auth_file.c\nAuthUserFile {dir}/passwd\nRequireValidShell off\n\
             DefaultRoot ~\nMaxInstances 40\nAllowOverwrite on\nAllowStoreRestart on\nAllowRetrieveRestart on\n",
            home.join("usr/lib/proftpd").display(),
            self.port,
        );
        if self.options.tls != Tls::No {
            let implicit = if self.options.tls == Tls::Implicit { " UseImplicitSSL" } else { "" };
            text.push_str(&format!(
                "LoadModule mod_tls.c\nTLSEngine on\nTLSRSACertificateFile {dir}/server.crt\n\
                 TLSRSACertificateKeyFile {dir}/server.key\nTLSRequired on\nTLSLog {dir}/tls.log\n"
            ));
            text.push_str(&format!("TLSOptions NoSessionReuseRequired{implicit}\n"));
        }
        for line in &self.options.more {
            text.push_str(&format!("{line}\n"));
        }
        let mut command = Command::new(home.join("usr/sbin/proftpd"));
        command.args(["-n", "-q", "-c"]).arg(self.write("proftpd.conf", &text));
        command
    }

    fn pure_ftpd(&self) -> Command {
        let home = fixtures().join("ftpd");
        let (passwd, db) = (self.dir.path().join("pw"), self.dir.path().join("pdb"));
        if !db.exists() {
            let id = NOBODY.to_string();
            let mut child = Command::new(home.join("usr/bin/pure-pw"))
                .args(["useradd", self.user, "-u", &id, "-g", &id, "-m", "-d"])
                .arg(&self.root)
                .arg("-f")
                .arg(&passwd)
                .arg("-F")
                .arg(&db)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("this test needs `pure-pw`: `cargo xtask setup` brings it");
            let twice = format!("{0}\n{0}\n", self.password);
            let mut input = child.stdin.take().expect("the input is a pipe");
            input.write_all(twice.as_bytes()).expect("`pure-pw` takes a password");
            drop(input);
            assert!(child.wait().is_ok_and(|s| s.success()), "`pure-pw` failed");
        }
        let mut command = Command::new(home.join("usr/sbin/pure-ftpd"));
        command.arg("-S").arg(format!("127.0.0.1,{}", self.port));
        command.arg("-l").arg(format!("puredb:{}", db.display()));
        command.args(["-A", "-E", "-H", "-C", "50", "-P", "127.0.0.1", "-U", "077:077"]);
        if self.options.tls != Tls::No {
            let both = self.dir.path().join("server.pem");
            let mut pem = fs::read(&self.certificate).expect("the certificate was made");
            pem.extend(fs::read(self.dir.path().join("server.key")).expect("the key was made"));
            fs::write(&both, pem).expect("cannot write a certificate");
            assert_ne!(self.options.tls, Tls::Implicit, "Pure-FTPd has no TLS from the first byte on");
            command.args(["-Y", "2"]);
            command.arg("-2").arg(both);
        }
        command.args(&self.options.more);
        command
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `server.crt` and `server.key` for this host.
fn make_certificate(dir: &Path) {
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout"])
        .arg(dir.join("server.key"))
        .arg("-out")
        .arg(dir.join("server.crt")));
}
