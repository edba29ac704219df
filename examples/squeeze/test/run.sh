#!/bin/sh
# run.sh REPORT PROGRAM...: runs each test program, shows its lines as they come and keeps them in REPORT.
set -eu

report=$1
shift
: >"$report"
started=$(date +%s)
for program in "$@"; do
  echo "$(basename "$program"):" | tee -a "$report"
  # Shown and kept; the exit code of a pipe is tee's, so the program's own takes another way.
  { "$program" || echo "FAIL  $(basename "$program") ended with $?"; } | tee -a "$report"
done

passed=$(grep -c '^ok' "$report" || true)
failed=$(grep -c '^FAIL' "$report" || true)
echo "$passed passed, $failed failed, $(($(date +%s) - started)) s" | tee -a "$report"
[ "$failed" = 0 ]
