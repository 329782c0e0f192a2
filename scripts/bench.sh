#!/usr/bin/env bash
# Measures this machine through the public path with a release build, on a cluster of its own that is removed.
# Arguments go to `jobshop bench`; without any, everything is measured and compared with bare SQL, and
# then the pure rules are measured beside what they are made of.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

name_fetched_postgres
cargo build --locked --release -p jobshop
rules=$#
[ $# != 0 ] || set -- --limit

# Not /tmp: what lies in memory says nothing about durable commits.
JOBSHOP_DATA_DIR=$(mktemp -d /var/tmp/jobshop-bench.XXXXXX)
export JOBSHOP_DATA_DIR
trap 'rm -rf "$JOBSHOP_DATA_DIR"' EXIT
chmod 711 "$JOBSHOP_DATA_DIR" # root's Postgres runs as another user, who must be able to pass
"$out/release/jobshop" bench "$@"
[ "$rules" != 0 ] || cargo bench --locked -p jobshop-engine --bench rules
