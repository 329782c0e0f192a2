#!/usr/bin/env bash
# Unpacks the pinned npm package of the coding agent opencode into the data directory.
# `--where` only prints the program's path. It knows nothing of providers and logins: those are yours.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

version=1.18.33
package=opencode-linux-x64
integrity=sha512-q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==

# As `jobshop` itself decides (docs/operations.md).
if [ "$(id -u)" = 0 ]; then
    default_data=/var/lib/jobshop mode=711
else
    default_data=${XDG_DATA_HOME:-$HOME/.local/share}/jobshop mode=700
fi
data=${JOBSHOP_DATA_DIR:-$default_data}
folder=$data/agents/opencode-$version
program=$data/agents/bin/opencode

if [ "${1:-}" = --where ]; then
    echo "$program"
    exit
fi
if [ -x "$program" ] && [ "$("$program" --version 2>/dev/null)" = "$version" ]; then
    exit
fi

[ "$(uname -sm)" = "Linux x86_64" ] || die "opencode is fetched for Linux x86_64 only; set OPENCODE_BIN to yours"
if ! have node || ! have npm; then
    die "Node is missing to fetch opencode. Install Node 20 or later, or set OPENCODE_BIN to your opencode."
fi

say "fetching opencode ($package@$version) into $folder"
[ -d "$data" ] || install -d -m "$mode" "$data"
mkdir -p "$data/agents/bin"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package@$version" >/dev/null)

INTEGRITY=$integrity node --input-type=module - "$work"/*.tgz <<'JS' || die "the package does not match its pinned checksum"
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
const found = "sha512-" + createHash("sha512").update(readFileSync(process.argv[2])).digest("base64");
process.exit(found === process.env.INTEGRITY ? 0 : 1);
JS

tar -xzf "$work"/*.tgz -C "$work"
chmod 755 "$work/package/bin/opencode"
"$work/package/bin/opencode" --version >/dev/null || die "the fetched opencode does not start on this machine"
mv -T "$work/package" "$folder" 2>/dev/null || [ -x "$folder/bin/opencode" ] # somebody was faster
ln -sfn "../opencode-$version/bin/opencode" "$program"
