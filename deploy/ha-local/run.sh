#!/usr/bin/env bash
# Two Postgres servers under Patroni with a synchronous standby, etcd beside them, and Jobshop on top,
# all on this machine; then the leader is killed again and again under load. See README.md.
# Arguments go to drive.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${HA_DIR:-/var/tmp/jobshop-ha}

die() { echo "ha-local: $*" >&2; exit 1; }
command -v etcd >/dev/null || die "etcd is missing; on Debian: apt-get install etcd-server"
bin=$(pg_config --bindir 2>/dev/null) || die "Postgres is missing; on Debian: apt-get install postgresql"
jobshop=${JOBSHOP_BIN:-$root/target/release/jobshop}
[ -x "$jobshop" ] || jobshop=$root/target/debug/jobshop
[ -x "$jobshop" ] || die "no jobshop: run cargo build -p jobshop, or set JOBSHOP_BIN"

mkdir -p "$work"
chmod 755 "$work"
if [ ! -x "$work/venv/bin/patroni" ]; then
    # The system's Python: the user that Postgres runs as has to be able to read it.
    /usr/bin/python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet 'patroni[etcd3]==4.1.5' 'psycopg[binary]'
fi
exec "$work/venv/bin/python" "$here/drive.py" --dir "$work" --pg-bin "$bin" --jobshop "$jobshop" "$@"
