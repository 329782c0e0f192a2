#!/usr/bin/env bash
# Builds the binary and runs the coding batch on a fresh clone of this repository, which stays for you to look at.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

cargo build --locked -p jobshop

folder=$(mktemp -d "${TMPDIR:-/tmp}/jobshop-demo.XXXXXX")
clone=$folder/jobshop
git clone --quiet "$root" "$clone"
# Whatever is checked out here, a detached commit included, is the batch's base.
git -C "$clone" checkout --quiet -B main

# The last task of the batch builds the result: it needs to find Rust, and is quicker with what is built already.
export JOBSHOP_PASS_ENV=${JOBSHOP_PASS_ENV:+$JOBSHOP_PASS_ENV,}CARGO_HOME,RUSTUP_HOME,RUSTUP_TOOLCHAIN
say "running workflows/coding-batch.yaml on $clone"
"$out/debug/jobshop" run workflows/coding-batch.yaml -i "repo=$clone" -i "target=$out" -i "journal=$folder/journal"

say "the result is a branch in the clone: git -C $clone log --graph --oneline --branches='jobshop/*'"
