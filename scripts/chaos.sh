#!/usr/bin/env bash
# Breaks a Jobshop of its own on purpose while it does real work, and says what was violated (docs/reliability.md).
# Arguments go to the harness: --profile pr|nightly|release, --seed N.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

name_fetched_postgres
cargo build --locked -p jobshop-tests --bins
exec "$out/debug/chaos" "$@"
