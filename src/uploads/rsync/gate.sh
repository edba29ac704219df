#!/bin/sh
# Run by the rsync daemon before a transfer, outside of its chroot (`pre-xfer exec`): admits one writer at a
# time to an upload, and only one that the service has looked at. What it prints is shown to the client.
#
#   $1 directory of the daemon (see access.ts)   $2 uid:gid that the files belong to, or -
#   RSYNC_USER_NAME, RSYNC_PID: of the connection
set -eu
umask 077
dir=$1 owner=$2 user=$RSYNC_USER_NAME
writer=$dir/writers/$user
answer=$dir/answers/$user

# Clock ticks since boot at which a living process was started.
start_of() {
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # shellcheck disable=SC2086 # the fields after the name, which may hold anything
  set -- ${stat##*) }
  if [ "$1" != Z ]; then echo "${20}"; fi
}
refuse() {
  rm -f "$writer"
  echo "$1"
  exit 1
}

exec 9>"$dir/admission.lock"
flock 9
if [ -e "$writer" ]; then
  read -r pid start <"$writer"
  if [ "$(start_of "$pid")" = "$start" ]; then
    echo 'Another transfer into this upload is under way; one at a time.'
    exit 1
  fi
fi
rm -f "$answer"
echo "$RSYNC_PID $(start_of "$RSYNC_PID")" >"$writer.new"
mv "$writer.new" "$writer"
exec 9>&-

# The service answers within milliseconds; without one nobody would see to the limits.
tries=0
until [ -e "$answer" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 500 ]; then refuse 'The service does not answer; try again later.'; fi
  sleep 0.02
done
read -r verdict rest <"$answer"
if [ "$verdict" != ok ]; then refuse "$rest"; fi

# After the writer's name is written: who closes the upload looks for that after the link is gone.
if ! tree=$(readlink "$dir/trees/$user"); then refuse 'This upload takes no files now.'; fi

# The connection stands in the directory already, so that it is filled and not replaced.
if base=$(readlink "$dir/bases/$user") && [ ! -e "$tree.full" ]; then
  if [ -n "$(ls -A "$tree")" ]; then
    refuse 'This upload has a base and got files over HTTP; send the rest there.'
  fi
  # No hard links: a writer must never reach the base's own files.
  rm -rf "$tree.copy"
  cp -a --reflink=auto "$base" "$tree.copy"
  # Where the daemon is not locked into the tree, a link of the base must not be a way out for who writes now.
  if [ "$owner" = - ]; then
    find "$tree.copy" -type l -print0 | perl -ln0e '
      my $target = readlink; next if !defined $target || !unlink;
      symlink "/rsyncd-munged/$target", $_ or die "$_: $!\n"'
  fi
  # Interrupted from here on, what is missing is sent.
  : >"$tree.full"
  find "$tree.copy" -mindepth 1 -maxdepth 1 -exec mv -t "$tree" {} +
  rm -rf "$tree.copy"
fi

# No file may be larger than what is left. Only a process with the same ids may limit the connection.
if [ "$owner" = - ]; then
  prlimit --pid "$RSYNC_PID" --fsize="$rest"
else
  chown -hR "$owner" "$tree"
  setpriv --reuid "${owner%:*}" --regid "${owner#*:}" --clear-groups prlimit --pid "$RSYNC_PID" --fsize="$rest"
fi
