"""Puts and gets of remote storages against the stock clients, to real servers on the loopback, made here.

How pairs are run and counted is said in tools.py. One file of noise, which nothing shrinks, lies in memory and goes to
memory, so that the protocol is what is measured; NXS_BENCH_BYTES is its size (default 1 GiB).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from databases import free_port, peak
from tools import CONFIG, MIB, pairs

SIZE = int(os.environ.get("NXS_BENCH_BYTES", 1 << 30))


class Storages:
    def noise(self, place):
        path = place / "noise"
        if not path.exists() or path.stat().st_size != SIZE:
            subprocess.run(f"head -c {SIZE} /dev/urandom > {path}", shell=True, check=True)
        return path

    def storage(self, directory, lines):
        """A configuration with one storage of these lines."""
        head, _ = CONFIG.split("  - storage: local")
        config = directory / "conf"
        text = head.format(dir=directory, tree=directory, compression="gzip: no", kind="desc_files")
        config.write_text(text + lines + "    store: {days: 1}\n")
        config.chmod(0o600)
        return f"{self.tools}/examples/put {config}"

    def scp(self):
        place = self.mem or self.work
        directory = place / "ssh"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        file = self.noise(place)
        port, stored = free_port(), directory / "stored"
        stored.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        public = (directory / "host.pub").read_text()
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
        (directory / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {directory}/user.pub\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        put = self.storage(
            directory,
            f"  - storage: scp\n    enable: yes\n    host: 127.0.0.1\n    port: {port}\n    user: {user}\n"
            f"    path_to_key: {directory}/user\n    known_hosts: {directory}/known_hosts\n    host_key: strict\n"
            f"    backup_dir: {stored}\n") + " scp"
        (directory / "put").write_text(f"put {file} {stored}/theirs\n")
        (directory / "get").write_text(f"get {stored}/theirs {directory}/got\n")
        with open(directory / "log", "wb") as log:
            server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", directory / "sshd_config"], stderr=log)
        try:
            time.sleep(1)
            if server.poll() is not None:
                sys.exit(f"sshd does not start: {(directory / 'log').read_text()}")
            options = f"-q -i {directory}/user -P {port} -o UserKnownHostsFile={directory}/known_hosts -o BatchMode=yes"
            to = f"{user}@127.0.0.1"

            def before(who):
                for path in (stored / "theirs", directory / "got"):
                    if who or path.name == "got":
                        path.unlink(missing_ok=True)

            rivals = [("sftp", f"sftp -f {options} -b {directory}/put {to} > /dev/null"), ("scp", f"scp {options} {file} {to}:{stored}/theirs")]
            fast = "-o Ciphers=aes128-gcm@openssh.com"
            rivals += [(f"{name}, our cipher", command.replace("-q", f"-q {fast}", 1)) for name, command in rivals]
            for name, theirs in rivals:
                runs = pairs(self.count, f"{put} put {file}", theirs, before)
                self.table.pairs(f"put of {SIZE // MIB} MiB : {name}", runs, 1.0)
            runs = pairs(self.count, f"{put} get {file.name}", f"sftp {options} -b {directory}/get {to} > /dev/null", lambda _: None)
            self.table.pairs(f"get of {SIZE // MIB} MiB, thrown away : sftp, to tmpfs", runs, 1.0)
            self.table.value("  peak memory of ours, put", peak(f"{put} put {file}") / MIB, "MiB", 96)
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(directory)
