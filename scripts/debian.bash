# shellcheck shell=bash
# Sourced: the arguments with which mmdebstrap reaches Debian packages in the way that apt on this machine does.

# Where apt finds the component main of a release; nothing where it does not know that release.
# shellcheck disable=SC2016 # apt-get fills these in
mirror_of() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk -v release="$1" '$2 == release && $3 == "main" && !seen++ { print $1 }'
}

# Fills the array `sources` with the lines of a sources.list for a suite. It stays empty where apt knows no mirror:
# then mmdebstrap's own default serves.
debian_sources() {
  local wanted=$1 here='' release uri known
  sources=()
  # A mirror of one Debian release has the others as well.
  if [[ -f /etc/debian_version ]]; then here=$(. /etc/os-release && if [[ $ID == debian ]]; then echo "${VERSION_CODENAME:-}"; fi); fi
  for release in '' -updates -security; do
    known=$wanted$release
    uri=$(mirror_of "$known") || uri=''
    if [[ -z $uri && -n $here ]]; then uri=$(mirror_of "$here$release") || uri=''; fi
    if [[ -n $uri ]]; then
      sources+=("deb $uri $known main")
    elif [[ -z $release ]]; then
      return
    fi
  done
}

# Fills the array `proxies`: mmdebstrap does not read the proxy that apt is set up with.
debian_proxies() {
  local scheme proxy
  proxies=()
  for scheme in http https; do
    proxy=''
    eval "$(apt-config shell proxy "Acquire::$scheme::Proxy" 2>/dev/null || true)"
    if [[ -n $proxy ]]; then proxies+=(--aptopt="Acquire::$scheme::Proxy \"$proxy\";"); fi
  done
}
