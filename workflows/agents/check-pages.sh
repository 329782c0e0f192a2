#!/usr/bin/env bash
# Whether the pages that the last commits added say of their modules what is true: all of the public items, and nothing
# else. agent-batch.yaml has it run by the worker, on the commit of each agent and on the stack of the merge train.
set -euo pipefail

items() {
    grep -oE '^pub(\(\w+\))? (async fn|const fn|fn|struct|enum|trait|type|mod|const|static) \w+' "$1"
}

found=0
for page in docs/components/workers-*.md; do
    [ -f "$page" ] || continue
    found=1
    # shellcheck disable=SC2016 # backticks are Markdown's
    file=$(sed -n 's/^The public items of `\(.*\)`:$/\1/p' "$page")
    [ -f "$file" ] || { echo "$page does not name its module" >&2; exit 1; }
    # shellcheck disable=SC2016
    diff <(sed -n 's/^\* `\(.*\)`$/\1/p' "$page") <(items "$file") >&2 || {
        echo "$page does not list the public items of $file" >&2
        exit 1
    }
    grep -q "$page" "$file" || { echo "$file does not point to $page" >&2; exit 1; }
done
[ "$found" = 1 ] || { echo "there is no page" >&2; exit 1; }
