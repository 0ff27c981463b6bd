# Hashes of strings and of arrays, sorting, joining and splitting.

use strict;
use warnings;

my (%count, %lists);
for my $i (1 .. 350_000) {
  my $word = "word" . ($i * 7919 % 50021);
  $count{$word} .= chr(97 + $i % 26);
  push @{$lists{length $count{$word}}}, "$word:$i";
}
my $total = 0;
for my $key (sort { $a <=> $b } keys %lists) {
  my @parts = map { [split /:/, $_] } @{$lists{$key}};
  $total += $_->[1] % 97 for @parts;
}
my $text = join ",", map { "$_=$count{$_}" } sort keys %count;
my $matches = () = $text =~ /[aeiou]{2}/g;
my %inverse = reverse %count;
print scalar(keys %count), " ", scalar(keys %inverse), " ", length($text), " $matches $total\n";
