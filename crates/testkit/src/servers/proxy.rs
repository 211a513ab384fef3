//! A TCP proxy that makes trouble: it cuts connections after so many bytes, lets bytes trickle, goes silent, refuses.
//!
//! It forwards one port. For FTP, whose data connections go to ports of their own, it reads the replies that name
//! them and forwards those as well, on the same numbers: clients of this project connect data to the host of the
//! commands, so `EPSV` and `PASV` need no rewriting as long as the proxy listens on another address of loopback.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    #[default]
    None,
    /// All connections are reset when this many bytes have passed upwards on them together, once.
    CutAfter(u64),
    /// Bytes per second, upwards, of all connections together.
    Slow(u64),
    /// Nothing passes any more, and nobody is told.
    Silent,
    /// Every new connection is ended at once, and every old one.
    Refuse,
}

struct Shared {
    trouble: Mutex<Trouble>,
    passed: AtomicU64,
    /// Raised each time that all connections are cut.
    cuts: AtomicU64,
    stopped: AtomicBool,
    ftp: bool,
}

impl Shared {
    fn trouble(&self) -> Trouble {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running proxy before a port of `127.0.0.1`.
pub struct Proxy {
    /// Where it listens: another address of loopback.
    pub host: String,
    pub port: u16,
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Before an ordinary server.
    pub fn before(port: u16) -> Self {
        Self::start(port, false)
    }

    /// Before an FTP server: also for the data connections.
    pub fn before_ftp(port: u16) -> Self {
        Self::start(port, true)
    }

    fn start(port: u16, ftp: bool) -> Self {
        let shared = Arc::new(Shared {
            trouble: Mutex::new(Trouble::None),
            passed: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            ftp,
        });
        let listener = TcpListener::bind(("127.0.0.2", 0)).expect("cannot listen on 127.0.0.2");
        let address = listener.local_addr().expect("a listener has an address");
        let to_serve = Arc::clone(&shared);
        thread::spawn(move || serve(&listener, port, &to_serve, ftp));
        Self { host: "127.0.0.2".into(), port: address.port(), shared, address }
    }

    /// From now on; bytes are counted anew.
    pub fn set(&self, trouble: Trouble) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        self.shared.passed.store(0, Ordering::SeqCst);
        if trouble == Trouble::Refuse {
            self.cut();
        }
    }

    /// Bytes that passed upwards since [`Proxy::set`].
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Ends all connections there are.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener; if that fails it has gone already.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(listener: &TcpListener, port: u16, shared: &Arc<Shared>, is_control: bool) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = stream else { continue };
        if shared.trouble() == Trouble::Refuse {
            continue;
        }
        forward(client, port, shared, is_control);
        if !is_control && shared.ftp {
            // A port for data is used once.
            return;
        }
    }
}

fn forward(client: TcpStream, port: u16, shared: &Arc<Shared>, is_control: bool) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(client_2), Ok(server_2)) = (client.try_clone(), server.try_clone()) else { return };
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || pump(client, server, &up, true, false));
    thread::spawn(move || pump(server_2, client_2, &down, false, is_control));
}

/// Carries bytes one way until an end, an error or a cut; a cut resets both sides.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Arc<Shared>, is_up: bool, is_control: bool) {
    let born = shared.cuts.load(Ordering::SeqCst);
    let mut block = [0; 16 << 10];
    let is_cut = |shared: &Shared| shared.cuts.load(Ordering::SeqCst) != born;
    if from.set_read_timeout(Some(Duration::from_millis(20))).is_err() {
        return;
    }
    loop {
        let n = match from.read(&mut block) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if is_cut(shared) {
                    break reset(&from, &to);
                }
                continue;
            }
            Err(_) => break reset(&from, &to),
        };
        if is_cut(shared) {
            break reset(&from, &to);
        }
        if n == 0 {
            // The other direction may go on.
            drop(to.shutdown(Shutdown::Write));
            return;
        }
        if shared.ftp && is_control && !is_up {
            follow_ftp(&block[..n], shared);
        }
        let mut pass = n;
        let passed = if is_up { shared.passed.fetch_add(n as u64, Ordering::SeqCst) } else { 0 };
        match shared.trouble() {
            Trouble::CutAfter(limit) if is_up && passed + n as u64 > limit => {
                pass = usize::try_from(limit.saturating_sub(passed)).unwrap_or(0).min(n);
            }
            Trouble::Slow(rate) if is_up => {
                let end = Instant::now() + Duration::from_secs_f64(n as f64 / rate as f64);
                while Instant::now() < end && !is_cut(shared) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            Trouble::Silent => {
                while shared.trouble() == Trouble::Silent && !is_cut(shared) {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            _ => {}
        }
        if to.write_all(&block[..pass]).is_err() {
            break reset(&from, &to);
        }
        if pass < n {
            *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Trouble::None;
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            break reset(&from, &to);
        }
    }
}

fn reset(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        // It may be closed already.
        drop(stream.shutdown(Shutdown::Both));
    }
}

/// Opens the same port here that a reply of the server names for data.
fn follow_ftp(bytes: &[u8], shared: &Arc<Shared>) {
    let text = String::from_utf8_lossy(bytes);
    let Some(port) = data_port(&text) else { return };
    let Ok(listener) = TcpListener::bind(("127.0.0.2", port)) else { return };
    let shared = Arc::clone(shared);
    thread::spawn(move || serve(&listener, port, &shared, false));
}

fn data_port(text: &str) -> Option<u16> {
    if let Some((_, rest)) = text.split_once("229 ") {
        return rest.split_once("(|||")?.1.split_once('|')?.0.parse().ok();
    }
    let (_, rest) = text.split_once("227 ")?;
    let (numbers, _) = rest.split_once('(')?.1.split_once(')')?;
    let mut bytes = numbers.split(',').skip(4).map(|n| n.trim().parse::<u16>());
    Some(bytes.next()?.ok()? * 256 + bytes.next()?.ok()?)
}
