#!/usr/bin/env bash
# What the scripted model has opencode do for the task `write` of agent-batch.yaml. Told `draft`, it forgets the last
# item of the first module, which the worker has to find out.
set -euo pipefail

page=docs/components/$NAME.md
{
    printf '# %s\n\n' "$NAME"
    sed -n '1s/^\/\/! *//p' "$FILE"
    # shellcheck disable=SC2016 # backticks are Markdown's
    printf '\nThe public items of `%s`:\n' "$FILE"
    grep -oE '^pub(\(\w+\))? (async fn|const fn|fn|struct|enum|trait|type|mod|const|static) \w+' "$FILE" |
        sed 's/.*/* `&`/'
} > "$page"
if [ "${1:-}" = draft ] && [ "$FIRST" = true ]; then sed -i '$d' "$page"; fi

if ! grep -q "$page" "$FILE"; then
    last=$(awk '/^\/\/!/ { n = NR; next } { exit } END { print n }' "$FILE")
    sed -i "${last}a //!\n//! Its public items are listed in \`$page\`." "$FILE"
fi
wc -l "$page"
