#!/usr/bin/env bash
# Backs up a directory of this machine to a local storage, lists and verifies the backup, restores it with nxs-backup and
# once more with GNU tar alone, and compares both with the original.
#
#   examples/quickstart.sh [DIRECTORY [SCRATCH]]        (default: /usr/share/doc and a new temporary directory)
#
# Needs cargo and a C compiler. Everything it writes is in the build directory and in SCRATCH.
set -euo pipefail

tree=$(realpath "${1:-/usr/share/doc}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=${2:-$(mktemp -d -t nxs-quickstart.XXXXXX)}
mkdir -p "$scratch"
scratch=$(realpath "$scratch")

step() { printf '\n== %s\n' "$*"; }
# A text in single quotes, as YAML reads it.
yaml() { printf "'%s'" "${1//\'/\'\'}"; }
nxs() { "${CARGO_TARGET_DIR:-$here/target}/release/nxs-backup" -c "$scratch/nxs-backup.conf" "$@"; }

# Kind, mode, owner, time in nanoseconds, size, link target and path of everything below a directory but sockets.
metadata() {
  local owner='%U:%G'
  [ "$(id -u)" = 0 ] || owner='' # Only root can give files away.
  (cd "$1" && find . ! -type s \( -type d -printf "%y %m $owner %T@ %p\0" \
    -o -printf "%y %m $owner %T@ %s %l %n %p\0" \)) | LC_ALL=C sort -z
}

compare() {
  # Names and kinds are compared with the metadata; to diff, two FIFOs are never the same.
  if { diff -r --no-dereference "$tree" "$1" || true; } | grep -Ev '^Only in | is a (.*) while file .* is a \1$'; then
    echo "the contents differ" >&2
    return 1
  fi
  cmp <(metadata "$tree") <(metadata "$1")
  local owners='owners, '
  [ "$(id -u)" = 0 ] || owners=''
  echo "the same: names, bytes, modes, ${owners}times and links of $(find "$1" | wc -l) entries"
}

step "Building nxs-backup"
(cd "$here" && cargo build --release --locked -p nxs-backup)

cat > "$scratch/nxs-backup.conf" <<CONF
main:
  server_name: quickstart
  admin_mail: root@localhost
  client_mail: ['']
  mail_from: root@localhost
  level_message: error
  log_file: $(yaml "$scratch/nxs-backup.log")
  state_dir: $(yaml "$scratch/state")
  lock_file: $(yaml "$scratch/lock")
jobs:
- job: quickstart
  type: desc_files
  sources:
  - target: [$(yaml "$tree")]
    gzip: yes
  storages:
  - storage: local
    enable: yes
    backup_dir: $(yaml "$scratch/backup")
    store: {days: 6, weeks: 4, month: 6}
CONF
chmod 600 "$scratch/nxs-backup.conf"

step "Backing up $tree ($(du -sh "$tree" | cut -f1))"
nxs start
nxs ls

step "Verifying it"
nxs verify

step "Restoring it with nxs-backup"
nxs restore quickstart --to "$scratch/restored"
compare "$scratch/restored$tree"

step "Restoring it with GNU tar alone, by the command in $scratch/backup/RESTORE.md"
command=$(grep '^tar ' "$scratch/backup/RESTORE.md")
echo "$command"
mkdir "$scratch/tar"
(cd "$scratch/backup" && eval "${command//\/tmp\/restore/\"\$scratch/tar\"}")
compare "$scratch/tar$tree"

step "Done. All of it is in $scratch; remove that when you have seen enough."
