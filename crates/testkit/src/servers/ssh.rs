//! OpenSSH servers with users, passwords and keys of their own: the files of the host that name them are covered in a
//! mount namespace, so nothing of the host changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::{NOBODY, Process, free_port, run};

/// Where a locked-in user is locked in: sshd wants every directory above to be the administrator's.
const CHROOT: &str = "/mnt";

#[derive(Debug, Clone, Default)]
pub struct SshOptions {
    /// Lines for the configuration.
    pub more: Vec<String>,
    /// Arguments for the SFTP server.
    pub sftp: String,
    /// Directory to serve instead of one of its own.
    pub root: Option<PathBuf>,
    /// The user gets SFTP alone, and sees [`SshServer::root`] as `/`.
    pub is_locked_in: bool,
    /// No passwords but as answers to questions (PAM).
    pub asks: bool,
}

/// A running sshd.
pub struct SshServer {
    pub port: u16,
    /// Home directory of the user, who may write in `backups`.
    pub root: PathBuf,
    pub user: &'static str,
    pub password: &'static str,
    /// Private key that the server accepts.
    pub key: PathBuf,
    /// Lines of `known_hosts` for this server at `127.0.0.1`.
    pub known_hosts: PathBuf,
    options: SshOptions,
    process: Option<Process>,
    dir: tempfile::TempDir,
}

impl SshServer {
    pub fn start() -> Self {
        Self::with(SshOptions::default())
    }

    pub fn with(options: SshOptions) -> Self {
        let dir = tempfile::Builder::new().prefix("nxs-ssh").tempdir().expect("cannot make a directory");
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        open(dir.path()).expect("cannot open the directory");
        let root = options.root.clone().unwrap_or_else(|| dir.path().join("root"));
        let backups = root.join("backups");
        fs::create_dir_all(&backups).expect("cannot make a directory");
        open(&root).expect("cannot open the directory");
        chown(&backups, Some(NOBODY), Some(NOBODY)).expect("servers are started by root");
        let owner = if options.is_locked_in { 0 } else { NOBODY };
        chown(&root, Some(owner), Some(owner)).expect("servers are started by root");
        let port = free_port();
        let mut server = Self {
            port,
            root,
            user: "bk",
            password: "s3cret pass",
            key: PathBuf::new(),
            known_hosts: dir.path().join("known_hosts"),
            options,
            process: None,
            dir,
        };
        server.write_users();
        server.new_host_key(&["-t", "ed25519"]);
        server.key = server.new_key("user", &["-t", "ed25519", "-N", ""]);
        server.run();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The user, before those of the host.
    fn write_users(&self) {
        let hash = run(Command::new("openssl").args(["passwd", "-6", self.password])).stdout;
        let hash = String::from_utf8(hash).expect("a hash is text");
        let home = if self.options.is_locked_in { "/".into() } else { self.root.display().to_string() };
        let user = self.user;
        for (name, line) in [
            ("passwd", format!("{user}:x:{NOBODY}:{NOBODY}::{home}:/bin/sh")),
            ("shadow", format!("{user}:{}:19000:0:99999:7:::", hash.trim())),
        ] {
            let of_host =
                fs::read_to_string(Path::new("/etc").join(name)).expect("servers are started by root");
            self.write(name, &format!("{line}\n{of_host}"));
            let mode = if name == "passwd" { 0o644 } else { 0o600 };
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode))
                .expect("cannot set a mode");
        }
        self.write(
            "pam",
            "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
        );
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("cannot write a file of a server");
    }

    fn keygen(&self, name: &str, args: &[&str]) -> (PathBuf, String) {
        let path = self.path(name);
        run(Command::new("ssh-keygen").arg("-q").args(args).arg("-f").arg(&path));
        let public = fs::read_to_string(path.with_extension("pub")).expect("the key was made");
        (path, public)
    }

    /// Makes a pair of keys that the server accepts, with these arguments of `ssh-keygen`; returns the private one.
    pub fn new_key(&self, name: &str, args: &[&str]) -> PathBuf {
        let (path, public) = self.keygen(name, args);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path("authorized_keys"));
        let file = file.as_mut().expect("cannot open a file of a server");
        file.write_all(public.as_bytes()).expect("cannot write a file of a server");
        path
    }

    /// Gives the server another key of its own, from its next start on, and writes it into [`Self::known_hosts`].
    pub fn new_host_key(&self, args: &[&str]) {
        // An old one is in the way.
        for old in ["host", "host.pub"] {
            drop(fs::remove_file(self.path(old)));
        }
        let (_, public) = self.keygen("host", &[args, &["-N", ""]].concat());
        self.write("known_hosts", &format!("[127.0.0.1]:{} {public}", self.port));
    }

    /// Ends the server as `kill -9` does, with all its sessions.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill_below(process.id());
            process.kill();
        }
    }

    /// Starts it again on the same port.
    pub fn run(&mut self) {
        self.kill();
        fs::create_dir_all("/run/sshd").expect("cannot make /run/sshd");
        let dir = self.dir.path().display();
        let (pam, password) = if self.options.asks { ("yes", "no") } else { ("no", "yes") };
        let mut text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nPidFile none\n\
             AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nUsePAM {pam}\n\
             PasswordAuthentication {password}\nKbdInteractiveAuthentication {pam}\nUseDNS no\nMaxStartups 100:30:200\n\
             MaxAuthTries 3\nSubsystem sftp internal-sftp -u 077 {}\nAllowUsers {}\n",
            self.port, self.options.sftp, self.user
        );
        if self.options.is_locked_in {
            text.push_str(&format!("ChrootDirectory {CHROOT}\nForceCommand internal-sftp -u 077\n"));
        }
        for line in &self.options.more {
            text.push_str(&format!("{line}\n"));
        }
        self.write("sshd_config", &text);
        let covered = [("passwd", "/etc/passwd"), ("shadow", "/etc/shadow"), ("pam", "/etc/pam.d/sshd")];
        let mut covered: Vec<_> = covered.map(|(name, place)| (self.path(name), place)).into();
        if self.options.is_locked_in {
            covered.push((self.root.clone(), CHROOT));
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        // Pairs of what covers and what is covered, then the configuration.
        command.arg(
            "while [ $# -gt 1 ]; do mount --bind \"$1\" \"$2\" || exit; shift 2; done; exec /usr/sbin/sshd -D -e -f \"$1\"",
        );
        command.arg("sh");
        for (file, place) in covered {
            command.arg(file).arg(place);
        }
        command.arg(self.path("sshd_config"));
        let mut process = Process::start(&mut command, &self.path("log"));
        process.wait_for_port(self.port, true);
        self.process = Some(process);
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills all that a process has started.
fn kill_below(id: u32) {
    let found =
        Command::new("pgrep").args(["-P", &id.to_string()]).output().expect("this test needs `pgrep`");
    for child in String::from_utf8_lossy(&found.stdout).lines().filter_map(|line| line.parse().ok()) {
        kill_below(child);
        let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { continue };
        let killed = kill_process(pid, Signal::KILL);
        assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "cannot kill a session: {killed:?}");
    }
}

/// An ssh-agent that holds one key.
pub struct SshAgent {
    /// Its socket.
    pub socket: PathBuf,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl SshAgent {
    pub fn with(key: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("nxs-agent").tempdir().expect("cannot make a directory");
        let socket = dir.path().join("socket");
        let log = dir.path().join("log");
        let process = Process::start(Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket), &log);
        super::wait_until("an ssh-agent", &log, || socket.exists());
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket));
        Self { socket, _process: process, _dir: dir }
    }
}
