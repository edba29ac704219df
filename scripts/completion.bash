# shellcheck shell=bash
# Sourced: whether the one file that completion loads (scripts/bundle-completion.ts) is made and newer than its parts.
# Expects `root`, the directory of the checkout.

completion_bundle=${root:?}/.node/complete.mjs
completion_parts=("$root"/{bin/complete,scripts/bundle-completion,src/cli/terminal}.ts
  "$root"/src/{,client/,cli/completion/}*.ts)

bundle_is_current() {
  [[ -f $completion_bundle ]] || return 1
  local part
  for part in "${completion_parts[@]}"; do
    [[ $part -nt $completion_bundle ]] && return 1
  done
  return 0
}
