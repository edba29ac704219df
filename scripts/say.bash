# shellcheck shell=bash
# Sourced by every script here: how they speak. All of it goes to stderr, so stdout stays free for results.

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi
# shellcheck disable=SC2034 # used by those who source this
readonly bold dim red green plain

# A step begins.
say() { printf '%s==>%s %s\n' "$bold$green" "$plain" "$*" >&2; }

# A detail of the step.
note() { printf '    %s\n' "$*" >&2; }

# Ends the script. First argument: what went wrong; the others: how to go on, a line each.
die() {
  printf '%serror:%s %s\n' "$bold$red" "$plain" "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}
