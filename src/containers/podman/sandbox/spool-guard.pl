#!/usr/bin/perl
# Keeps the spools of a host's sandboxes from filling its disk while nobody reads them: the worker may be away, and jobs
# go on. It outlives the worker, is on every Debian, and takes a few megabytes.
#
#   spool-guard.pl ROOT BYTES LOCK
#
# ROOT/*/spool.log may take BYTES of the disk each. Of one that takes more, the middle of what nobody has read is given
# back: the first part stays, and what was written last. What is left out is counted and written down first, as a line
# `FROM TO ENTRIES LINES BYTES` of `spool.gaps` beside it, and only then is it a hole in the file: a reader who finds
# nothing there finds the line. FROM and TO are beginnings of entries; BYTES is what the job had printed.
#
# stdin is a pipe of the worker's: once that is closed, it is not served any more, and ends as soon as there is no spool.
# One process at a time guards, by LOCK. A served one that waits holds LOCK.next, and is let in by one that is not served:
# it has the newer BYTES. One that waits ends with its worker.
use strict;
use warnings;
use Fcntl qw(:DEFAULT :flock SEEK_SET);
use POSIX ();

use constant {
    LOOK_SECONDS => 0.5,
    # After a failure: a full disk is not read through twice a second.
    PAUSE_SECONDS => 5,
    SEEK_DATA    => 3,
    BLOCK        => 1 << 20,
    # "2026-01-02T03:04:05.123456789+00:00 stdout F "
    HEADER       => 45,
    # Of `spool.gaps`, taken while there is room: on a full disk it has to be written.
    ROOM         => 4096,
    KEEP_SIZE    => 1,
    # Entries of one line that is cut within a character, one after the other.
    CUTS         => 4,
    # Parts of BYTES: when something is given back, and what of the beginning and the end stays.
    FULL  => 0.8,
    FIRST => 0.4,
    LAST  => 0.25,
    # A reader that is so near to a place may have passed it.
    NEAR  => 0.25,
};

my ($root, $max, $lock) = @ARGV;
my $is_served = 1;
my (%fails, %is_ready);
my $machine = (POSIX::uname())[4];
my $FALLOCATE = $machine eq 'x86_64' ? 285 : $machine =~ /^(?:aarch64|riscv64)$/ ? 47 : undef;

open my $held, '>>', $lock or exit;
open my $next, '>>', "$lock.next" or exit;
until (flock $held, LOCK_EX | LOCK_NB) {
    $is_served or exit;
    flock $next, LOCK_EX | LOCK_NB;
    wait_for_end();
}
flock $next, LOCK_UN;
while (1) {
    give_way() unless $is_served;
    my @spools = spools() or $is_served or exit;
    %is_ready = map { $_ => $is_ready{$_} // take_room($_) } @spools;
    for my $spool (@spools) {
        my $taken = ((stat $spool)[12] // 0) * 512;
        relieve($spool) if $taken > FULL * $max && time >= ($fails{$spool} // 0);
    }
    wait_for_end();
}

# To one that waits. If that has ended meanwhile, the spools are not left alone.
sub give_way {
    if (!flock $next, LOCK_EX | LOCK_NB) {
        flock $held, LOCK_UN;
        wait_for_end() for 1 .. 2;
        flock $held, LOCK_EX | LOCK_NB or exit;
        return;
    }
    flock $next, LOCK_UN;
}

# The root is gone with its installation.
sub spools {
    opendir my $dir, $root or exit;
    my @found = grep { -f } map { "$root/$_/spool.log" } grep { !/^\./ } readdir $dir;
    return @found;
}

sub wait_for_end {
    my $rin = '';
    vec($rin, 0, 1) = 1 if $is_served;
    return unless select $rin, undef, undef, LOOK_SECONDS;
    $is_served = 0 unless sysread STDIN, my $nothing, 1;
}

# Its size stays as it is: nobody reads what is not written.
sub take_room {
    my ($spool) = @_;
    sysopen my $file, gaps_of($spool), O_WRONLY | O_CREAT, 0644 or return;
    return defined $FALLOCATE && syscall($FALLOCATE, fileno $file, KEEP_SIZE, 0, ROOM) == 0 ? 1 : undef;
}

sub relieve {
    my ($spool) = @_;
    open my $file, '<:raw', $spool or return;
    my $size = -s $file;
    my $data = sysseek $file, 0, SEEK_DATA;
    return unless defined $data;
    my ($from, $to) = last_gap($spool);
    my $near = int(NEAR * $max);
    # What is given back begins at $start; the reader has to be before $bound until that is written down.
    my ($start, $bound, $hole);
    if (defined $from && $data < $from - $near) {
        # The gap before it is enlarged; if somebody ended this process before, all of it is no hole yet.
        ($start, $bound, $hole) = ($to, $from - $near, $from);
    } else {
        # Where the last gap is, or was, the reader may have passed it by now.
        my $behind = defined $from && $data <= $to ? $to + $near : $data + int(FIRST * $max);
        $start = between($file, $behind);
        $bound = $behind - int($near / 2);
        $hole = $start;
    }
    my $end = between($file, $size - int(LAST * $max));
    return unless defined $start && defined $end && $end > $start;
    my ($entries, $lines, $bytes) = counted($file, $start, $end) or return;
    # It frees what it has read, in steps that are small beside NEAR.
    my $now = sysseek $file, 0, SEEK_DATA;
    return unless defined $now && $now < $bound;
    if (!note(gaps_of($spool), "$start $end $entries $lines $bytes\n")) {
        $fails{$spool} = time + PAUSE_SECONDS;
        return;
    }
    my $status = system('fallocate', '--punch-hole', '--offset', $hole, '--length', $end - $hole, $spool);
    # A file system that makes no holes keeps all; it is not asked again. What could not be started is tried again.
    if ($status != 0) { $fails{$spool} = $status > 255 ? 9**20 : time + PAUSE_SECONDS }
}

# Adds a line whole or not at all; half of one, from a process that was ended there, goes first.
sub note {
    my ($gaps, $line) = @_;
    open my $file, '+>>:raw', $gaps or return;
    my $size = -s $file;
    my $there = '';
    if ($size > 0) {
        my $from = $size > 256 ? $size - 256 : 0;
        seek $file, $from, 0 or return;
        defined read $file, $there, 256 or return;
        $size = $from + rindex($there, "\n") + 1;
        # To cut it where it ends would give back the room behind it.
        if ($size != -s $file) { truncate $file, $size or return }
    }
    my $written = syswrite $file, $line;
    return 1 if defined $written && $written == length $line && close $file;
    truncate $gaps, $size if -s $gaps != $size;
    return;
}

sub gaps_of { return $_[0] =~ s/spool\.log$/spool.gaps/r }

# Lines that follow each other without anything between them are one gap.
sub last_gap {
    my ($spool) = @_;
    open my $file, '<', gaps_of($spool) or return;
    my ($from, $to);
    while (<$file>) {
        my ($begin, $end) = /^(\d+) (\d+) \d+ \d+ \d+\n$/ or next;
        $from = $begin unless defined $to && $to == $begin;
        $to = $end;
    }
    return defined $to ? ($from, $to) : ();
}

# The first beginning of an entry at an offset or behind it where no character is cut, if there is one near by.
sub between {
    my ($file, $offset) = @_;
    return 0 if $offset <= 0;
    my $first;
    for (1 .. CUTS) {
        my $begin = beginning($file, $offset);
        return $first unless defined $begin;
        $first //= $begin;
        sysseek $file, $begin + HEADER, SEEK_SET;
        my $read = sysread $file, my $byte, 1;
        return $begin unless $read && (ord($byte) & 0xC0) == 0x80;
        $offset = $begin + 1;
    }
    return $first;
}

sub beginning {
    my ($file, $offset) = @_;
    defined sysseek $file, $offset - 1, SEEK_SET or return;
    while (my $read = sysread $file, my $block, BLOCK) {
        my $newline = index $block, "\n";
        return $offset + $newline if $newline >= 0;
        $offset += $read;
    }
    return;
}

sub counted {
    my ($file, $start, $end) = @_;
    my ($entries, $parts, $rest) = (0, 0, '');
    sysseek $file, $start, SEEK_SET or $start == 0 or return;
    for (my $at = $start; $at < $end;) {
        my $want = $end - $at < BLOCK ? $end - $at : BLOCK;
        my $read = sysread $file, my $block, $want or return;
        $at += $read;
        $block = $rest . $block;
        my $whole = rindex($block, "\n") + 1;
        $rest = substr $block, $whole, length($block) - $whole, '';
        $entries += ($block =~ tr/\n//);
        # Entries whose newline the job has not printed.
        if (index($block, ' P ') >= 0) { $parts++ while $block =~ /^.{35} std(?:out|err) P /mg }
    }
    return ($entries, $entries - $parts, $end - $start - HEADER * $entries - $parts);
}
