#!/usr/bin/perl
# Runs a program under an id without rights that sees some directories as its own. Called by root. What the program makes
# in them is root's on the disk, and nothing there is changed: owners are mapped in the mounts that it sees.
#
#   confine.pl ID FILES (share|read|hide|join PATH)… -- PROGRAM ARGUMENT…
#
# The program has the id ID on the host and 0 in a user namespace of its own. Beside it there is FILES, to which it may
# give files, and as which it may run. Of capabilities it has those below, over these two ids alone.
#
#   join PATH    the user namespace of an earlier program, as /proc has it: those in one may end each other
#   share PATH   what is root's there is the program's
#   read PATH    the same for the owner of PATH, to read only
#   hide PATH    an empty directory in the place of this one
#
# Paths are absolute, without links. Directories on the way that not everybody may pass (/root, say) are empty for the
# program but for what it was given.
use strict;
use warnings;
use Fcntl qw(:mode);
use POSIX ();

my ($AT_FDCWD, $AT_EMPTY_PATH, $OPEN_TREE_CLONE, $CLOEXEC, $MOVE_F_EMPTY) = (-100, 0x1000, 1, 0x80000, 4);
my ($RDONLY, $NOSUID, $NODEV, $IDMAP) = (1, 2, 4, 0x100000);
my ($MS_NOSUID, $MS_NODEV, $MS_REC, $MS_PRIVATE) = (2, 4, 0x4000, 0x40000);
my ($NEWNS, $NEWUSER) = (0x20000, 0x10000000);
my ($PR_CAPBSET_DROP, $PR_SET_NO_NEW_PRIVS) = (24, 38);
# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SYS_PTRACE (to see where rsync works)
my %kept = map { $_ => 1 } 0, 1, 3, 4, 5, 6, 7, 18, 19;

# The first three have one number on every architecture; the others are older than that.
my ($OPEN_TREE, $MOVE_MOUNT, $MOUNT_SETATTR) = (428, 429, 442);
my $machine = (POSIX::uname())[4];
my ($MOUNT, $UNSHARE, $SETNS, $PRCTL) =
    $machine eq 'x86_64'                ? (165, 272, 308, 157)
  : $machine =~ /^(?:aarch64|riscv64)$/ ? (40,  97,  268, 167)
  :                                       die "no numbers of system calls for $machine\n";

# Constants are read-only, and syscall wants what it could write to.
sub call { my ($what, $number, @arguments) = @_; my $result = syscall($number, @arguments); die "$what: $!\n" if $result < 0; return $result }

sub write_map {
    my ($pid, @lines) = @_;
    for my $file ('uid_map', 'gid_map') {
        open(my $handle, '>', "/proc/$pid/$file") or die "$file: $!\n";
        syswrite($handle, join '', map { "$_\n" } @lines) or die "$file: $!\n";
        close $handle or die "$file: $!\n";
    }
}

# A user namespace: nothing but a map, to run in or for the owners in a mount.
sub namespace {
    my (@lines) = @_;
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
    write_map($child, @lines);
    open(my $namespace, '<', "/proc/$child/ns/user") or die "user namespace: $!\n";
    close $end;
    waitpid $child, 0;
    return $namespace;
}

my ($id, $files, @rest) = @ARGV;
my %wanted = (share => [], read => [], hide => [], join => []);
while (@rest and (my $word = shift @rest) ne '--') {
    my $list = $wanted{$word} or die "no such word: $word\n";
    push @$list, shift @rest;
}
@rest or die "no program\n";
umask 0022;

my $nothing = '';
sub attributes { my ($flags, $namespace) = @_; return pack 'Q4', $flags | (defined $namespace ? $IDMAP : 0), 0, 0, defined $namespace ? fileno $namespace : 0 }

# Mounts are taken while everything can be reached, and put in their places when it can't any more.
my (%mounts, %namespaces);
sub take {
    my ($path, $flags, @lines) = @_;
    my $tree = call("open_tree $path", $OPEN_TREE, $AT_FDCWD, $path, $OPEN_TREE_CLONE | $CLOEXEC);
    my $namespace = $namespaces{"@lines"} //= namespace(@lines);
    my $mapped = attributes($flags, $namespace);
    my $plain = attributes($flags);
    # What is only read may be readable for everybody, where the file system maps no owners.
    syscall($MOUNT_SETATTR, $tree, $nothing, $AT_EMPTY_PATH, $mapped, length $mapped) == 0
      or $flags & $RDONLY && syscall($MOUNT_SETATTR, $tree, $nothing, $AT_EMPTY_PATH, $plain, length $plain) == 0
      or die "mount_setattr $path: $!\n";
    $mounts{$path} = $tree;
}

my ($joined) = @{ $wanted{join} };
my $own;
if (defined $joined) { open $own, '<', $joined or die "$joined: $!\n" }
else { $own = namespace("0 $id 1", "$files $files 1") }
call('unshare', $UNSHARE, $NEWNS);
my ($none, $slash) = ('none', '/');
call('private mounts', $MOUNT, $none, $slash, $none, $MS_REC | $MS_PRIVATE, 0);
take($_, $NOSUID | $NODEV, "0 $id 1", "$files $files 1") for @{ $wanted{share} };
for my $path (@{ $wanted{read} }) {
    my $owner = (stat $path)[4];
    defined $owner or die "$path: $!\n";
    take($path, $RDONLY | $NOSUID | $NODEV, "$owner $id 1");
}

sub above { my ($path) = @_; my @all; while ($path =~ m{/}g) { push @all, substr($path, 0, pos($path) - 1) if pos($path) > 1 } return @all }

my (%closed, %hollow);
for my $path (sort keys %mounts) {
    for my $directory (above($path)) {
        last if $mounts{$directory};
        my $mode = (stat $directory)[2] // die "$directory: $!\n";
        next if $mode & S_IXOTH and !$closed{$directory};
        $closed{$directory} = 1;
        push @{ $hollow{$directory} }, $path if !grep { $mounts{$_} } above($path);
        last;
    }
}
my $tmpfs = 'tmpfs';
for my $directory (sort keys %hollow) {
    my %is_directory = map { $_ => -d $_ } @{ $hollow{$directory} };
    my $options = 'mode=0755,size=1m';
    call("tmpfs $directory", $MOUNT, $tmpfs, $directory, $tmpfs, $MS_NOSUID | $MS_NODEV, $options);
    for my $path (@{ $hollow{$directory} }) {
        mkdir $_, 0755 or $!{EEXIST} or die "$_: $!\n" for grep { length > length $directory } above($path);
        if ($is_directory{$path}) { mkdir $path, 0755 or $!{EEXIST} or die "$path: $!\n" }
        else { open(my $file, '>', $path) or die "$path: $!\n" }
    }
}
for my $path (sort { length $a <=> length $b } keys %mounts) {
    call("move_mount $path", $MOVE_MOUNT, $mounts{$path}, $nothing, $AT_FDCWD, $path, $MOVE_F_EMPTY);
    POSIX::close($mounts{$path});
}
for my $path (@{ $wanted{hide} }) {
    my $options = "mode=0700,size=1m,uid=$id,gid=$id";
    call("tmpfs $path", $MOUNT, $tmpfs, $path, $tmpfs, $MS_NOSUID | $MS_NODEV, $options);
}
chdir '/' or die "/: $!\n";

call('setns', $SETNS, fileno $own, $NEWUSER);
$) = '0 0'; # no other groups
POSIX::setgid(0) // die "setgid: $!\n";
POSIX::setuid(0) // die "setuid: $!\n";
$( == 0 and $) == 0 and $< == 0 and $> == 0 or die "the ids could not be changed\n";
for my $capability (0 .. 63) {
    last if !$kept{$capability} and syscall($PRCTL, $PR_CAPBSET_DROP, $capability, 0, 0, 0) != 0;
}
call('no_new_privs', $PRCTL, $PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
exec { $rest[0] } @rest or die "$rest[0]: $!\n";
