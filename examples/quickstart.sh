#!/usr/bin/env bash
# Backs up a directory (default: /usr/share/doc of this machine) to a local storage, lists, verifies and restores it,
# and compares the restored tree with the original. Everything it writes is below one scratch directory.
set -euo pipefail
tree=$(realpath "${1:-/usr/share/doc}")
here=$(cd "$(dirname "$0")/.." && pwd)
scratch=${2:-$(mktemp -d)}
cargo build --release --locked --manifest-path "$here/Cargo.toml" -p nxs-backup
nxs() { "$here/target/release/nxs-backup" -c "$scratch/nxs-backup.conf" "$@"; }
cat > "$scratch/nxs-backup.conf" <<CONF
main:
  server_name: quickstart
  admin_mail: root@localhost
  client_mail: ['']
  mail_from: root@localhost
  level_message: error
  log_file: $scratch/nxs-backup.log
  state_dir: $scratch/state
  lock_file: $scratch/lock
jobs:
- job: quickstart
  type: desc_files
  sources:
  - target: ["$tree"]
    gzip: yes
  storages:
  - storage: local
    enable: yes
    backup_dir: $scratch/backup
    store: {days: 6, weeks: 4, month: 6}
CONF
chmod 600 "$scratch/nxs-backup.conf"
nxs start
nxs ls
nxs verify
nxs restore quickstart --to "$scratch/restored"
diff -r --no-dereference "$tree" "$scratch/restored$tree"
echo "backed up and restored: $tree = $scratch/restored$tree"
