# Hashes, regular expressions and references in perl.
use strict; use warnings;
my (%count, @chain);
for my $i (1 .. 200_000) {
  my $word = join '', map { chr 97 + ($i * $_ * 7919) % 26 } 1 .. 1 + $i % 9;
  $count{$word}++;
  push @chain, { word => $word, at => [$i, $i + 1] } if $i % 5 == 0;
  splice @chain, 0, 500 if @chain > 2000;
}
my $text = join ' ', sort keys %count;
(my $short = $text) =~ s/([aeiou])\w+/$1/g;
printf "%d words, %d chained, %d to %d bytes\n", scalar keys %count, scalar @chain, length $text, length $short;
print unpack('%32C*', $text), ' ', unpack('%32C*', $short), "\n";
