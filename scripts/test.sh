#!/usr/bin/env bash
# Builds everything, the binary included (end-to-end tests start it), and runs every test.
# Arguments go to nextest.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

scripts/tools.sh cargo-nextest
# Test clusters have data directories of their own, which hold no fetched binaries.
fetched=$(scripts/fetch-postgres.sh --where)/bin
if [ -z "${JOBSHOP_PG_BIN:-}" ] && [ -x "$fetched/postgres" ]; then export JOBSHOP_PG_BIN=$fetched; fi

cargo build --workspace --locked
cargo nextest run --workspace --locked "$@"
