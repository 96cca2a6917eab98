#!/usr/bin/env bash
# acceptance.sh FOLDER PAGE[:STACK]...: runs the page scripts of the folder, if it is there, against
# bin/duet, with $STACK set where one is named.
# The last line is the sum of theirs, "N passed, N failed".
set -uo pipefail
folder=$1
shift
[ -d "$folder" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "pages skipped: clusters need root"
  exit 0
fi
passed=0 failed=0 status=0
for run in "$@"; do
  echo "== ${run/:/, }"
  page=${run%%:*} stack=${run#"$page"}
  out=$(env ${stack:+"STACK=${stack#:}"} DUET="$PWD/bin/duet" "$folder/$page.sh") || status=1
  printf '%s\n' "$out" | grep -vE '^[0-9]+ passed, [0-9]+ failed$'
  if sum=$(printf '%s\n' "$out" | grep -E '^[0-9]+ passed, [0-9]+ failed$' | tail -1) && [ -n "$sum" ]; then
    passed=$((passed + $(cut -d' ' -f1 <<<"$sum"))) failed=$((failed + $(cut -d' ' -f3 <<<"$sum")))
  else # it stopped before it could count
    failed=$((failed + 1)) status=1
  fi
done
echo "$passed passed, $failed failed"
exit $status
