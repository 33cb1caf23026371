# Mojolicious' user agent; the protocol of lines is in scenarios.py.
use Mojo::Base -strict;
use Digest::SHA;
use Mojo::IOLoop;
use Mojo::JSON qw(encode_json);
use Mojo::UserAgent;
use Mojo::Util qw(decode);
use Time::HiRes qw(time);

$| = 1;
while (my $line = <STDIN>) {
  chomp $line;
  my ($url, $protocols, $first, $count, $code, $reason) = split /\t/, decode('UTF-8', $line), -1;
  my ($seen, $digest, $started) = ({}, Digest::SHA->new(256));
  my $ua = Mojo::UserAgent->new(inactivity_timeout => 0, max_connections => 0);
  my $headers = {'Sec-WebSocket-Extensions' => 'permessage-deflate'};
  $ua->websocket($url => $headers => [split /,/, $protocols] => sub {
    my ($ua, $tx) = @_;
    return @$seen{qw(status body)} = (0 + $tx->res->code, $tx->res->text) unless $tx->is_websocket;
    $tx->max_websocket_size(16 << 20);
    $seen->{protocol} = $tx->protocol;
    $seen->{extensions} = $tx->res->headers->sec_websocket_extensions // '';
    $seen->{messages} = 0;
    my $take = sub {
      my ($kind, $bytes) = @_;
      $seen->{messages}++;
      $digest->add($bytes);
      if (!$count) { $tx->send({$kind => $bytes}) }
      elsif ($seen->{messages} == $count) { $started = time; $tx->finish($code ? ($code, $reason) : ()) }
    };
    $tx->on(text => sub { $take->(text => $_[1]) });
    $tx->on(binary => sub { $take->(binary => $_[1]) });
    $tx->on(finish => sub {
      @$seen{qw(code reason sha256)} = (0 + $_[1], $_[2] // '', $digest->hexdigest);
    });
    $tx->send({text => $first}) if $first;
  });
  # Until nothing is left to wait for: "finish" is told before the CLOSE is written.
  Mojo::IOLoop->start;
  $seen->{seconds} = time - $started if $started;
  say encode_json $seen;
}
