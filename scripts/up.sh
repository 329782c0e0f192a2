#!/usr/bin/env bash
# Starts everything in one process. Arguments go to `jobshop up`.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

cargo build --locked -p jobshop
exec "$out/debug/jobshop" up "$@"
