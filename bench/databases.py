"""Backups of databases against the pipes that people write by hand: real servers, made here, of some 300 MB each.

How pairs are run and counted is said in tools.py. Peak memory is that of our process alone, read while it runs: that of the
dump programs is the same on both sides.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tools import CONFIG, MIB, STORE, pairs

# Rows of each of four tables: words that do not repeat, numbers, and noise that no packer shrinks.
ROWS = 160_000

FILL_MARIADB = """
CREATE DATABASE shop; USE shop;
CREATE TABLE t{n} (id INT PRIMARY KEY, name VARCHAR(80), doc TEXT, price DECIMAL(10,2), raw VARBINARY(200), KEY (name)) ENGINE=InnoDB;
INSERT INTO t{n} SELECT seq, CONCAT('customer ', seq * 7919 % 1000003, ' of ', MD5(seq + {n}000000)),
  CONCAT_WS(' ', 'order', SHA2(seq * 3 + {n}, 256), 'of', seq % 9973, SHA2(seq * 5 + {n}, 256)), seq * 37 % 100000 / 100,
  UNHEX(CONCAT(SHA2(seq * 11 + {n}, 512), SHA2(seq * 13 + {n}, 512))) FROM seq_1_to_{rows};
"""

FILL_POSTGRES = """
CREATE TABLE t{n} (id int PRIMARY KEY, name text, doc text, price numeric(10,2), raw bytea);
INSERT INTO t{n} SELECT seq, 'customer ' || seq::bigint * 7919 % 1000003 || ' of ' || md5((seq + {n}000000)::text),
  'order ' || encode(sha256((seq * 3 + {n})::text::bytea), 'hex') || ' of ' || seq % 9973 || ' ' || encode(sha256((seq * 5 + {n})::text::bytea), 'hex'),
  seq * 37 % 100000 / 100.0, sha512((seq * 11 + {n})::text::bytea) || sha512((seq * 13 + {n})::text::bytea) FROM generate_series(1, {rows}) seq;
CREATE INDEX ON t{n} (name);
"""

BARE = "-c fsync=off -c shared_buffers=128MB -c max_wal_size=2GB -c listen_addresses="


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server that ends with the `with` block."""

    def __init__(self, directory):
        self.dir = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT if isinstance(self, Postgres) else signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir)

    def launch(self, command):
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(command, shell=isinstance(command, str), stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            if subprocess.run(self.ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit(f"a server does not start: {(self.dir / 'log').read_text()[-2000:]}")


class MariaDb(Server):
    kind = "MariaDB"

    def start(self):
        data = self.dir / "data"
        user = ["--user=root"] if os.getuid() == 0 else []
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*install, f"--datadir={data}", *user], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.socket = self.dir / "s.sock"
        self.options = self.dir / "client.cnf"
        self.options.write_text(f"[client]\nuser=root\nsocket={self.socket}\n")
        self.options.chmod(0o600)
        self.ping = ["mariadb-admin", f"--defaults-file={self.options}", "ping"]
        self.launch(["mariadbd", "--no-defaults", *user, f"--datadir={data}", f"--socket={self.socket}", "--skip-networking",
                     f"--pid-file={self.dir}/pid", "--innodb-buffer-pool-size=256M", "--character-set-server=utf8mb4",
                     "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=256M"])
        text = "".join(FILL_MARIADB.format(n=n, rows=ROWS).replace("CREATE DATABASE", "CREATE DATABASE IF NOT EXISTS") for n in range(4))
        subprocess.run(["mariadb", f"--defaults-file={self.options}"], input=text.encode(), check=True)
        # What lies in the redo log alone would be copied from there by both sides.
        subprocess.run(["mariadb", f"--defaults-file={self.options}", "-e", "SET GLOBAL innodb_max_dirty_pages_pct=0"], check=True)
        time.sleep(5)

    def source(self, more):
        return f"- connect: {{auth_file: {self.options}}}\n    extra_keys: ''\n    {more}"


class Postgres(Server):
    kind = "PostgreSQL"

    def start(self):
        bins = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not bins:
            sys.exit("no PostgreSQL is installed")
        data, run = self.dir / "data", ""
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            run = "setpriv --reuid=postgres --regid=postgres --init-groups "
        initdb = f"{run}{bins[-1]}/initdb -U postgres --auth=trust --no-sync --encoding=UTF8 --locale=C.UTF-8 -D {data}"
        subprocess.run(initdb, shell=True, check=True, stdout=subprocess.DEVNULL)
        self.port = free_port()
        self.env = f"PGHOST={self.dir} PGPORT={self.port} PGUSER=postgres"
        self.ping = ["pg_isready", "-q", "-h", str(self.dir), "-p", str(self.port)]
        self.launch(f"exec {run}{bins[-1]}/postgres -D {data} -c port={self.port} -c unix_socket_directories={self.dir} {BARE}''")
        text = "".join(FILL_POSTGRES.format(n=n, rows=ROWS) for n in range(4)) + "VACUUM ANALYZE; CHECKPOINT;"
        psql = f"{self.env} psql -X -q -v ON_ERROR_STOP=1 -d"
        subprocess.run(f"{psql} postgres -c 'CREATE DATABASE shop'", shell=True, check=True)
        subprocess.run(f"{psql} shop", shell=True, input=text.encode(), check=True)

    def source(self, more):
        return f"- connect: {{db_host: '{self.dir}', db_port: {self.port}, db_user: postgres}}\n    extra_keys: ''\n    {more}"


def peak(command):
    """The most memory that our process had at once, in bytes."""
    process = subprocess.Popen(command.split())
    most = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        most = max([most] + [int(line.split()[1]) * 1024 for line in found])
        time.sleep(0.01)
    if process.wait() != 0:
        sys.exit(f"ended with {process.returncode}: {command}")
    return most


class Databases:
    def dump(self, kind, source, name, rival):
        """One comparison. `rival` is a command that writes what it makes to its standard output."""
        place = self.mem or self.work
        directory = place / "ours"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        files = '- target: ["{tree}"]\n    {compression}'
        text = CONFIG.replace(files, "SOURCE").format(dir=directory, kind=kind, store=STORE).replace("SOURCE", source)
        config = directory / "conf"
        config.write_text(text)
        config.chmod(0o600)
        ours = f"{self.bin} -c {config} start"
        theirs = place / "rival"
        sizes = [0, 0]

        def before(who):
            if theirs.exists():
                sizes[1] = theirs.stat().st_size
            if (directory / "backup").exists():
                stored = [p for p in (directory / "backup").rglob("*") if p.is_file() and ".nxs" not in p.name]
                sizes[0] = sum(p.stat().st_size for p in stored if p.name != "RESTORE.md" and "@" not in p.name)
            self.clear(directory, theirs)

        runs = pairs(self.count, ours, f"{rival} > {theirs}; sync {theirs}", before)
        before(0)
        note = f"stored {sizes[0] / 1e6:.1f} MB, rival {sizes[1] / 1e6:.1f} MB, {100 * sizes[0] / sizes[1] - 100:+.1f} %"
        self.table.at_most(name, runs, 1.05, None, note)
        memory = peak(ours) / MIB
        self.table.value(f"  peak memory of ours, {kind}", memory, "MiB", 96)
        shutil.rmtree(directory)
        theirs.unlink(missing_ok=True)

    def databases(self):
        # Servers that do not run as root have to get to their files.
        os.chmod(self.work, 0o711)
        zstd, zstd_of_ours = "zstd -q -3 -T0", "compression: {zstd: 3}"
        with MariaDb(self.work / "mariadb") as server:
            dump = f"mariadb-dump --defaults-file={server.options} --single-transaction --routines --events --triggers shop"
            source = server.source("target: [shop]\n    is_slave: no\n    {}")
            self.dump("mysql", source.replace("{}", "gzip: yes"), "mysql, gzip: yes : mariadb-dump | pigz", f"{dump} | pigz")
            self.dump("mysql", source.replace("{}", zstd_of_ours), "mysql, zstd 3 : mariadb-dump | zstd -T0", f"{dump} | {zstd}")
            copy = f"mariadb-backup --defaults-file={server.options} --backup --datadir={server.dir}/data --stream=xbstream"
            source = server.source(zstd_of_ours)
            self.dump("mariadb_backup", source, "mariadb_backup, zstd 3 : the tool | zstd -T0", f"{copy} 2> /dev/null | {zstd}")
        with Postgres(self.work / "postgres") as server:
            source = server.source("target: [shop]\n    " + zstd_of_ours)
            dump = f"{server.env} pg_dump shop"
            self.dump("postgresql", source, "postgresql, zstd 3 : pg_dump | zstd -T0", f"{dump} | {zstd}")
            copy = f"{server.env} pg_basebackup -D - -Ft -X fetch -c fast"
            source = server.source(zstd_of_ours)
            self.dump("postgresql_basebackup", source, "basebackup, zstd 3 : pg_basebackup | zstd -T0", f"{copy} | {zstd}")
