#!/usr/bin/perl
# Sets times of files to the nanosecond, which no call of Node does. perl-base has all it needs, and is on every Debian.
#
# Handle 3 is the top directory of a tree. Standard input has a record for each entry, `SECONDS NANOSECONDS PATH` and a
# NUL; the path is relative, `.` is the top directory. Nothing outside the tree is reached: each directory on the way is
# opened from the one above it, and no symlink is followed. What is not there any longer is passed over.
use strict;
use warnings;
use Errno qw(ENOENT ENOTDIR ELOOP);
use Fcntl;
use POSIX ();

my $machine = (POSIX::uname())[4];
my ($UTIMENSAT, $OPENAT) =
    $machine eq 'x86_64'                ? (280, 257)
  : $machine =~ /^(?:aarch64|riscv64)$/ ? (88,  56)
  :                                       die "no numbers of system calls for $machine\n";
my ($AT_FDCWD, $NOFOLLOW) = (-100, 0x100);
# O_PATH, O_DIRECTORY and O_NOFOLLOW have other numbers on some architectures; a directory needs only to be passed.
my $FLAGS = 010000000 | Fcntl::O_DIRECTORY() | Fcntl::O_NOFOLLOW() | 02000000;

# Directories that are open, from the top one down: the next entry is mostly near the last.
my @names;
my @handles = (3);

sub gone { return $! == ENOENT || $! == ENOTDIR || $! == ELOOP }

sub directory {
    my @wanted = @_;
    my $common = 0;
    $common++ while $common < @names && $common < @wanted && $names[$common] eq $wanted[$common];
    while (@names > $common) { pop @names; POSIX::close(pop @handles) }
    for my $name (@wanted[$common .. $#wanted]) {
        my ($above, $copy) = ($handles[-1], $name);
        my $handle = syscall($OPENAT, $above, $copy, $FLAGS, 0);
        if ($handle < 0) { return if gone(); die "$name: $!\n" }
        push @names, $name;
        push @handles, $handle;
    }
    return $handles[-1];
}

$/ = "\0";
while (my $record = <STDIN>) {
    chomp $record;
    my ($seconds, $nanoseconds, $path) = $record =~ /\A(-?\d+) (\d+) (.+)\z/s or die "not a record\n";
    my $times = pack('q4', $seconds, $nanoseconds, $seconds, $nanoseconds);
    my $result;
    if ($path eq '.') {
        my $self = '/proc/self/fd/3';
        my $at = $AT_FDCWD;
        $result = syscall($UTIMENSAT, $at, $self, $times, 0);
    } else {
        my @segments = split m{/}, $path;
        my $name = pop @segments;
        my $handle = directory(@segments);
        next if !defined $handle;
        $result = syscall($UTIMENSAT, $handle, $name, $times, $NOFOLLOW);
    }
    die "$path: $!\n" if $result < 0 && !gone();
}
