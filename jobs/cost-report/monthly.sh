#!/bin/sh
# Reports on a month of results: the page, its figures as JSON, and what matters as text.
#
#     monthly.sh [YYYY-MM]      # without a month, the one before this one
set -eu
cd "$(dirname "$0")"

this=$(date -u +%Y-%m)
year=${this%-*} month=${this#*-}
month=$((${month#0} - 1))
[ "$month" -gt 0 ] || { month=12; year=$((year - 1)); }
month=${1:-$(printf '%04d-%02d' "$year" "$month")}

results=${RESULTS:-output/results/*.jsonl*}
budget=${BUDGET:-10}
report() { ${BATCHER:-batcher} report "$results" --since "$month" --until "$month" "$@"; }

mkdir -p output
report -o "output/$month.html" --title "Requests in $month" --budget "$budget"
report -o "output/$month.json"
report --by model --to markdown
echo
echo "The page: $PWD/output/$month.html"
