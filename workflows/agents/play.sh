#!/usr/bin/env bash
# What the agents of agent-batch.yaml do where there is no model to decide it: the scripted model of the demo has opencode
# run this, and play.yaml has the scripted agent do so. The goal of that workflow says what is expected of each task.
set -euo pipefail

modules() {
    grep -l '^//!' workers/src/*.rs | grep -v '/lib.rs$' | xargs wc -l | grep -v ' total$' | sort -k1,1rn -k2 |
        head -n 2 | awk '{ print $2 }'
}

name_of() { basename "$1" .rs; }

plan() {
    local file pages=() needs=()
    while read -r file; do
        needs+=("\"page-$(name_of "$file" | tr _ -)\"")
        pages+=("$(printf '{"id":"page-%s","title":"The page of %s","requires":["documentation"],"estimate":{"optimistic":0.2,"likely":0.5,"pessimistic":2},"paths":["docs/components/workers-%s.md","%s"],"prompt":"Write docs/components/workers-%s.md about %s as the goal says, and let the opening comment of the module point to it."}' \
            "$(name_of "$file" | tr _ -)" "$file" "$(name_of "$file")" "$file" "$(name_of "$file")" "$file")")
    done < <(modules)
    printf '{"subtasks":[%s,{"id":"index","title":"Where to start reading","requires":["documentation"],"needs":[%s],"estimate":0.2,"paths":["docs/components/README.md"],"prompt":"Say in docs/components/README.md with which page to start reading. Ask people which one it is."}]}\n' \
        "$(IFS=,; echo "${pages[*]}")" "$(IFS=,; echo "${needs[*]}")" >"$JOBSHOP_OUTPUT"
    echo "planned the pages of" $(modules)
}

page() { # of this module; the first draft of the longest one forgets its last item, which the worker has to find out
    local file=$1 page is_draft=false
    page=docs/components/workers-$(name_of "$file").md
    if [ ! -f "$page" ] && [ "$file" = "$(modules | head -n 1)" ]; then is_draft=true; fi
    {
        printf '# workers-%s\n\n' "$(name_of "$file")"
        sed -n '1s/^\/\/! *//p' "$file"
        # shellcheck disable=SC2016 # backticks are Markdown's
        printf '\nThe public items of `%s`:\n' "$file"
        grep -oE '^pub(\(\w+\))? (async fn|const fn|fn|struct|enum|trait|type|mod|const|static) \w+' "$file" |
            sed 's/.*/* `&`/'
    } >"$page"
    if $is_draft; then sed -i '$d' "$page"; fi
    if ! grep -q "$page" "$file"; then
        local last
        last=$(awk '/^\/\/!/ { n = NR; next } { exit } END { print n }' "$file")
        sed -i "${last}a //!\n//! Its public items are listed in \`$page\`." "$file"
    fi
    echo "wrote $(wc -l <"$page") lines into $page"
}

index() { # told in $ANSWER which page it is; before, it asks
    local file page
    if [ -z "${ANSWER:-}" ]; then
        printf 'ask: {"questions":[{"question":"With which page shall readers start?","header":"Start","options":['
        modules | while read -r file; do
            printf '%s{"label":"workers-%s","description":"about %s"}' "${comma:-}" "$(name_of "$file")" "$file"
            comma=,
        done
        printf ']}]}\n'
        return
    fi
    for file in $(modules); do
        page=workers-$(name_of "$file")
        case $ANSWER in *"=\"$page\""* | "$page")
            sed -i "s/Start reading with: .*/Start reading with: [$page]($page.md)./" docs/components/README.md
            grep 'Start reading' docs/components/README.md
            return
            ;;
        esac
    done
    echo "there is no such page: $ANSWER" >&2
    exit 1
}

review() {
    local allowed changed
    allowed='^(docs/components/(README|workers-[a-z_]+)\.md|workers/src/[a-z_]+\.rs)$'
    changed=$(git diff --name-only "$BASE" HEAD)
    if grep -Evq "$allowed" <<<"$changed"; then
        printf '{"approved": false, "remarks": "something else is changed"}\n' >"$JOBSHOP_OUTPUT"
    else
        printf '{"approved": true, "remarks": "%s files are as they should be"}\n' "$(wc -l <<<"$changed")" >"$JOBSHOP_OUTPUT"
    fi
    cat "$JOBSHOP_OUTPUT"
}

case $JOBSHOP_TASK in
    page-*) page "workers/src/$(tr - _ <<<"${JOBSHOP_TASK#page-}").rs" ;;
    plan | index | review) "$JOBSHOP_TASK" ;;
    *) echo "nobody said what $JOBSHOP_TASK does" >&2 && exit 1 ;;
esac
