#!/usr/bin/perl
# System calls that neither Node nor mount(8) of Debian 12 can make, and what goes with them, in one process: mounts
# whose owners are mapped, overlays over them, and files written inside of a foreign tree. perl-base has all it needs,
# and is on every Debian.
#
# Steps are done in the order of the arguments; the first that fails ends it with a message. Each can be repeated.
#
#   lock FILE                     waits until no other process has it
#   until MOUNTPOINT MARK         ends here with success if something is mounted there, and there is a file MARK
#   ids UID                       to whom belongs what is made from here on, unless a step says so
#   private                       what is mounted from here on is seen by this process alone
#   chdir DIRECTORY
#   map SOURCE TARGET MODE UIDS GIDS   SOURCE at TARGET, with other owners; MODE rw or ro;
#                                 (nothing is done where something is mounted already);
#                                 ids as INSIDE:OUTSIDE:COUNT: INSIDE on the disk is OUTSIDE in the mount
#   overlay TARGET LOWER UPPER WORK REDIRECT   UPPER empty: to read only; REDIRECT on: a directory of LOWER can be renamed,
#                                 nofollow: it can't, and UPPER may become a layer that other layers lie under
#   unmount TARGET
#   opaque DIRECTORY              as a layer, hides what the layers under it have in this place
#   give PATH MODE UID GID        makes the directory if it is not there, gives it owner and mode; - leaves a mode
#   enter ROOT                    the root directory of all steps that follow; links in there lead to nowhere else.
#                                 Those below are refused before it: they would change the host
#   furnish PATH MODE UID GID     as give; what is in its place or on the way there and no directory makes room, and
#                                 everybody may pass the directories on the way; MODE +BITS adds to the mode that is there
#   plain PATH                    furnishes a directory that is no link and that everybody can read, for what is mounted there
#   file PATH                     makes an empty file unless there is one; what else is there makes room
#   entry FILE LINE               LINE in the place of the one with the same first field, else at the end
#   write FILE TEXT               a file with this text, in the place of what is there
#   drop PATH                     what is there goes, with all below it
#   show FILE                     prints a line with the bytes of a regular file in hex; empty without one
#   has PROGRAM                   prints a line with 1 for what can be executed, else 0
#   look PATTERN                  prints what is at each path of this pattern of a shell, at itself where there is none:
#                                 `place PATH CONTENT`, where it really is and its bytes in hex (- where it is no
#                                 regular file); before it, of each directory on the way, `directory MODE UID GID PATH`;
#                                 after them a dot. A path with white space is left out
#   homes                         prints `UID PATH` of each home in /etc/passwd that is a directory, then a dot
use strict;
use warnings;
use Fcntl qw(:DEFAULT :flock :mode);
use File::Glob qw(bsd_glob);
use POSIX ();

my ($AT_FDCWD, $AT_EMPTY_PATH, $OPEN_TREE_CLONE, $CLOEXEC) = (-100, 0x1000, 1, 0x80000);
my ($IDMAP, $RDONLY, $MOVE_F_EMPTY) = (0x100000, 1, 4);
my ($MS_RDONLY, $MS_NOSUID, $MS_NODEV, $MS_REC, $MS_PRIVATE, $MNT_DETACH) = (1, 2, 4, 0x4000, 0x40000, 2);
my ($NEWNS, $NEWUSER) = (0x20000, 0x10000000);
my $MAX_TEXT = 1024 * 1024;

# The first three have one number on every architecture; the others are older than that.
my ($OPEN_TREE, $MOVE_MOUNT, $MOUNT_SETATTR) = (428, 429, 442);
my $machine = (POSIX::uname())[4];
my ($MOUNT, $UMOUNT, $UNSHARE, $SETXATTR) =
    $machine eq 'x86_64'                  ? (165, 166, 272, 188)
  : $machine =~ /^(?:aarch64|riscv64)$/   ? (40,  39,  97,  5)
  :                                         die "no numbers of system calls for $machine\n";

# Constants are read-only, and syscall wants what it could write to.
sub call { my ($what, $number, @arguments) = @_; my $result = syscall($number, @arguments); die "$what: $!\n" if $result < 0; return $result }

sub is_mounted {
    my ($target) = @_;
    open(my $table, '<', '/proc/self/mountinfo') or die "mountinfo: $!\n";
    while (<$table>) {
        my $at = (split ' ')[4];
        $at =~ s/\\([0-7]{3})/chr oct $1/ge;
        return 1 if $at eq $target;
    }
    return 0;
}

# A user namespace that has nothing but a map; the kernel takes maps in this form alone.
sub namespace {
    my ($uids, $gids) = @_;
    pipe(my $born, my $birth) or die "pipe: $!\n";
    pipe(my $over, my $end) or die "pipe: $!\n";
    defined(my $child = fork) or die "fork: $!\n";
    if ($child == 0) {
        close $_ for $born, $end;
        syswrite $birth, syscall($UNSHARE, $NEWUSER) == 0 ? "\n" : "$!\n";
        sysread $over, my $nothing, 1;
        POSIX::_exit(0);
    }
    close $_ for $birth, $over;
    my $said = <$born> // "it ended\n";
    die "user namespace: $said" if $said ne "\n";
    for (['uid_map', $uids], ['gid_map', $gids]) {
        my ($file, $map) = @$_;
        open(my $handle, '>', "/proc/$child/$file") or die "$file: $!\n";
        print $handle join(' ', split /:/, $map), "\n";
        close $handle or die "$file: $!\n";
    }
    open(my $namespace, '<', "/proc/$child/ns/user") or die "user namespace: $!\n";
    close $end;
    waitpid $child, 0;
    return $namespace;
}

my %namespaces;
sub map_owners {
    my ($source, $target, $mode, $uids, $gids) = @_;
    mkdir $target, 0700 or $!{EEXIST} or die "$target: $!\n";
    return if is_mounted($target);
    my $namespace = $namespaces{"$uids $gids"} //= namespace($uids, $gids);
    my $empty = '';
    my $tree = call("open_tree $source", $OPEN_TREE, $AT_FDCWD, $source, $OPEN_TREE_CLONE | $CLOEXEC);
    my $attributes = pack('Q4', $IDMAP | ($mode eq 'ro' ? $RDONLY : 0), 0, 0, fileno $namespace);
    call("mount_setattr $source", $MOUNT_SETATTR, $tree, $empty, $AT_EMPTY_PATH, $attributes, length $attributes);
    call("move_mount $target", $MOVE_MOUNT, $tree, $empty, $AT_FDCWD, $target, $MOVE_F_EMPTY);
    POSIX::close($tree);
}

sub overlay {
    my ($target, $lower, $upper, $work, $redirect) = @_;
    return if is_mounted($target);
    s/([\\:,])/\\$1/g for $upper, $work;
    my $options = "lowerdir=$lower";
    # Said, because the defaults of the three are the kernel's builder's.
    $options .= ",upperdir=$upper,workdir=$work,redirect_dir=$redirect,metacopy=off,index=off" if $upper ne '';
    die "overlay: the image has too many layers\n" if length $options > 4095;
    my ($name, $type) = ('flashpods', 'overlay');
    call("overlay $target", $MOUNT, $name, $target, $type, $MS_NOSUID | $MS_NODEV | ($upper eq '' ? $MS_RDONLY : 0), $options);
}

my $owner = 0;

sub make {
    my ($path) = @_;
    my $made = $path =~ m{^/} ? '' : '.';
    for my $segment (grep { length } split m{/}, $path) {
        $made .= "/$segment";
        if (mkdir $made, 0755) { chown $owner, $owner, $made or die "$made: $!\n" }
        elsif (!$!{EEXIST}) { die "$made: $!\n" }
    }
}

sub give {
    my ($path, $mode, $uid, $gid) = @_;
    make($path);
    -d $path or die "$path: not a directory\n";
    chown $uid, $gid, $path or die "$path: $!\n";
    $mode eq '-' or chmod oct $mode, $path or die "$path: $!\n";
}

# Only ever called inside of a root: what an image has there is hidden by the job's own layer.
sub make_room {
    my ($path) = @_;
    lstat $path or $!{ENOENT} ? return : die "$path: $!\n";
    if (-d _) { rename $path, "$path.image" or die "$path: $!\n" }
    else { unlink $path or die "$path: $!\n" }
}

sub add_mode {
    my ($path, $bits) = @_;
    my $mode = S_IMODE((stat $path)[2]);
    ($mode & $bits) == $bits or chmod $mode | $bits, $path or die "$path: $!\n";
}

# Links to directories of the image are followed: inside of its root they lead to nowhere else.
sub furnish {
    my ($path, $mode, $uid, $gid) = @_;
    my @segments = grep { length } split m{/}, $path;
    my $made = '';
    for my $at (0 .. $#segments) {
        $made .= "/$segments[$at]";
        if (!-d $made) {
            make_room($made);
            mkdir $made, 0755 or die "$made: $!\n";
            chown $owner, $owner, $made or die "$made: $!\n";
        }
        add_mode($made, 0111) if $at < $#segments;
    }
    chown $uid, $gid, $path or die "$path: $!\n" if $uid ne '-';
    if ($mode =~ /^\+/) { add_mode($path, oct substr $mode, 1) }
    else { chmod oct $mode, $path or die "$path: $!\n" }
}

sub plain {
    my ($path) = @_;
    make_room($path) if -l $path;
    furnish($path, '+555', '-', '-'); # the OCI runtime gives its own mounts the mode that is there
}

sub file {
    my ($path) = @_;
    return if -f $path;
    make_room($path);
    put($path, '');
}

# What is no regular file, or has no end, is nothing.
sub text {
    my ($file) = @_;
    sysopen(my $handle, $file, O_RDONLY | O_NONBLOCK | O_NOCTTY) or return undef;
    my @stat = stat $handle;
    return undef if !S_ISREG($stat[2]) || $stat[7] > $MAX_TEXT;
    local $/;
    return <$handle> // '';
}

sub entry {
    my ($file, $line) = @_;
    my ($key) = split /:/, $line;
    my $found = 0;
    my @lines = map { (split /:/, "$_:")[0] eq $key ? $found++ ? () : $line : $_ } split /\n/, text($file) // '';
    push @lines, $line if !$found;
    put($file, join '', map { "$_\n" } @lines);
}

sub put {
    my ($file, $text) = @_;
    make($file =~ s{/[^/]*$}{}r);
    my $beside = "$file.flashpods";
    unlink $beside;
    sysopen(my $handle, $beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644) or die "$beside: $!\n";
    print $handle $text;
    close $handle or die "$beside: $!\n";
    chown $owner, $owner, $beside or die "$beside: $!\n";
    chmod 0644, $beside or die "$beside: $!\n";
    # In the place of a link that an image may have there, not through it; a directory makes room.
    make_room($file) if -d $file && !-l $file;
    rename $beside, $file or die "$file: $!\n";
}

# Where a path really is; what is not there stays as it is named.
sub really {
    my ($path) = @_;
    my ($real, $links, @rest) = ('', 0, grep { length } split m{/}, $path);
    while (defined(my $segment = shift @rest)) {
        next if $segment eq '.';
        if ($segment eq '..') { $real =~ s{/[^/]*$}{}; next }
        my $to = readlink "$real/$segment";
        if (!defined $to) { $real .= "/$segment"; next }
        return undef if ++$links > 40;
        $real = '' if $to =~ m{^/};
        unshift @rest, grep { length } split m{/}, $to;
    }
    return $real;
}

sub look {
    my ($pattern) = @_;
    my @paths = $pattern =~ /[*?\[]/ ? bsd_glob($pattern) : $pattern;
    for my $path (map { really($_) // () } @paths) {
        next if $path eq '' || $path =~ /\s/;
        my $above = '';
        for my $segment (split m{/}, $path =~ s{/[^/]*$}{}r) {
            $above .= "/$segment" if length $segment;
            my @stat = stat($above || '/') or last;
            S_ISDIR($stat[2]) or last;
            printf "directory %o %d %d %s\n", $stat[2] & 07777, @stat[4, 5], $above || '/';
        }
        my $text = text($path);
        print "place $path ", defined $text ? unpack('H*', $text) || '=' : '-', "\n";
    }
    print ".\n";
}

sub drop {
    my ($path) = @_;
    lstat $path or return;
    if (-d _) {
        opendir(my $directory, $path) or die "$path: $!\n";
        my @names = grep { $_ ne '.' && $_ ne '..' } readdir $directory;
        closedir $directory;
        drop("$path/$_") for @names;
        rmdir $path or die "$path: $!\n";
    }
    else { unlink $path or die "$path: $!\n" }
}

my @locks;
my $has_entered = 0;
sub inside { my ($step) = @_; return sub { $has_entered or die "not inside of a root\n"; $step->(@_) } }

my %steps = (
    lock => [1, sub { open(my $file, '>', $_[0]) or die "$_[0]: $!\n"; flock($file, LOCK_EX) or die "$_[0]: $!\n"; push @locks, $file }],
    until => [2, sub { exit 0 if -e $_[1] && is_mounted($_[0]) }],
    ids => [1, sub { $owner = $_[0] }],
    private => [0, sub {
        call('unshare', $UNSHARE, $NEWNS);
        my ($none, $root) = ('none', '/');
        call('mount', $MOUNT, $none, $root, 0, $MS_REC | $MS_PRIVATE, 0);
    }],
    chdir => [1, sub { chdir $_[0] or die "$_[0]: $!\n" }],
    map => [5, \&map_owners],
    overlay => [5, \&overlay],
    unmount => [1, sub { my $target = $_[0]; call("unmount $target", $UMOUNT, $target, $MNT_DETACH) }],
    opaque => [1, sub {
        my ($path, $name, $value) = ($_[0], 'trusted.overlay.opaque', 'y');
        my $is_set = syscall($SETXATTR, $path, $name, $value, 1, 0) == 0;
        # Without such attributes what the image has there is seen as well.
        die "opaque $path: $!\n" if !$is_set && !$!{EOPNOTSUPP};
    }],
    give => [4, \&give],
    enter => [1, sub { chroot $_[0] or die "$_[0]: $!\n"; chdir '/' or die "$!\n"; $has_entered = 1 }],
    furnish => [4, inside(\&furnish)],
    plain => [1, inside(\&plain)],
    file => [1, inside(\&file)],
    entry => [2, inside(\&entry)],
    write => [2, inside(\&put)],
    drop => [1, inside(\&drop)],
    show => [1, inside(sub { print unpack('H*', text($_[0]) // ''), "\n" })],
    has => [1, inside(sub { print -f $_[0] && -x _ ? "1\n" : "0\n" })],
    look => [1, inside(\&look)],
    homes => [0, inside(sub {
        for (split /\n/, text('/etc/passwd') // '') {
            my $home = (split /:/, $_)[5] // '';
            my @stat = $home =~ m{^/} ? stat $home : ();
            print "$stat[4] $home\n" if @stat && S_ISDIR($stat[2]);
        }
        print ".\n";
    })],
);

umask 022;
while (@ARGV) {
    my $name = shift @ARGV;
    my ($count, $step) = @{ $steps{$name} // die "no such step: $name\n" };
    die "$name: arguments are missing\n" if @ARGV < $count;
    $step->(splice @ARGV, 0, $count);
}
