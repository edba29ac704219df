#!/usr/bin/perl
# Makes one layer of several: flatten.pl TARGET LAYER..., the lowest layer first. Files are linked and not copied, so it
# costs directories and no content; the layers never change. What hides something becomes its absence. perl-base has all
# it needs.
#
# A job made what is in there: nothing of it is followed. A tree too deep for a path is refused when a layer is made of it.
use strict;
use warnings;
no warnings 'recursion';
use Fcntl qw(:mode);
use POSIX ();

my $machine = (POSIX::uname())[4];
my $LGETXATTR =
    $machine eq 'x86_64'                ? 192
  : $machine =~ /^(?:aarch64|riscv64)$/ ? 9
  :                                       die "no numbers of system calls for $machine\n";

sub is_opaque {
    my ($path) = @_;
    my ($name, $value) = ('trusted.overlay.opaque', "\0" x 8);
    my $length = syscall($LGETXATTR, $path, $name, $value, 8);
    return $length == 1 && substr($value, 0, 1) eq 'y';
}

sub names {
    my ($path) = @_;
    opendir(my $directory, $path) or die "$path: $!\n";
    my @names = grep { $_ ne '.' && $_ ne '..' } readdir $directory;
    closedir $directory;
    return @names;
}

sub drop {
    my ($path) = @_;
    lstat $path or return;
    if (-d _) {
        drop("$path/$_") for names($path);
        rmdir $path or die "$path: $!\n";
    }
    else { unlink $path or die "$path: $!\n" }
}

# Times of directories are set last: what is made in them changes these.
sub lay {
    my ($from, $to) = @_;
    for my $name (names($from)) {
        my ($source, $target) = ("$from/$name", "$to/$name");
        my @stat = lstat $source or die "$source: $!\n";
        if (S_ISCHR($stat[2]) && $stat[6] == 0) { drop($target); next }
        if (!S_ISDIR($stat[2])) {
            drop($target);
            link $source, $target or die "$target: $!\n";
            next;
        }
        drop($target) if (lstat $target && !-d _) || is_opaque($source);
        mkdir $target, 0700 or $!{EEXIST} or die "$target: $!\n";
        lay($source, $target);
        finish($target, @stat);
    }
}

sub finish {
    my ($path, @stat) = @_;
    chmod S_IMODE($stat[2]) & 01777, $path or die "$path: $!\n";
    utime $stat[8], $stat[9], $path or die "$path: $!\n";
}

my ($target, @layers) = @ARGV;
mkdir $target, 0700 or die "$target: $!\n";
for my $layer (@layers) {
    lay($layer, $target);
    finish($target, lstat $layer);
}
