# shellcheck shell=bash
# Sourced: finds a Node that runs this checkout's TypeScript as it stands (22.18, 23.6, 24 and later).
# Expects `root`, the directory of the checkout.

node_is_current() {
  local version
  version=$("$1" --version 2>/dev/null) || return 1
  [[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]] || return 1
  local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
  case $major in
    22) ((minor >= 18)) ;;
    23) ((minor >= 6)) ;;
    *) ((major >= 24)) ;;
  esac
}

# Puts such a Node first on the PATH. Fails when there is none: scripts/ensure-node fetches one.
use_node() {
  local fetched=${root:?}/.node/node/bin
  # Fetched means that the one on the PATH was too old; asking it again at every command would only take time.
  if [[ -x $fetched/node ]]; then
    PATH=$fetched:$PATH
    export PATH
  else
    node_is_current node
  fi
}
