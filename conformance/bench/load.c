/* The load generator: a WebSocket client of many connections that costs little more than its system calls.

       load [-b] [-m IN_FLIGHT] [-r] [-z OFFER] PORT PAYLOAD

   PAYLOAD is a file. -b: binary messages. -m: messages under way on each connection. -r: the server sends raw bytes
   back as they are. -z: PAYLOAD is compressed, and OFFER is the permessage-deflate to negotiate. Each line on stdin
   is a job, each line on stdout its result in JSON:

       open COUNT      connect and upgrade until COUNT connections are open
       run SECONDS     echo messages on all of them, then wait for the last answer; 0: IN_FLIGHT on each
       visit SECONDS   connect, upgrade, close; 16 at a time

   At the end of stdin the connections are closed as the protocol says. {"failed": ...} ends it with exit code 1.

   Frames are masked before the clock starts, each with a key of its own (RFC 6455 5.3), and lie one behind the
   other, so that all that is due on a connection is one send(). Every header of a reply is read and every length
   compared; the payload on the first message of a connection and on each 64th of all. */

#include "load.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 16, CHECK_EACH = 64 };
enum { MAX_PAYLOAD = 1 << 26, RING_BYTES = 1 << 20, READ_BYTES = 1 << 18 };
enum { FIN = 0x80, RSV1 = 0x40, MASKED = 0x80, TEXT = 1, BINARY = 2, CLOSE = 8 };

static const char UPGRADE[] = "GET /echo?room=42 HTTP/1.1\r\n"
    "Host: 127.0.0.1:8000\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http://127.0.0.1:8000\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/* RFC 6455 1.3: what answers the sample key. */
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/* CLOSE 1000 behind a masking key of zeros. */
static const char GOODBYE[] = {(char)(FIN | CLOSE), (char)(MASKED | 2), 0, 0, 0, 0, 0x03, (char)0xe8};

struct link {
    int fd;
    enum { OPENING, OPEN, CLOSING } phase;
    const char *unsent; /* what the socket had no room for */
    size_t unsent_length;
    int owed;      /* messages to be sent once `unsent` has left */
    int under_way; /* messages sent or owed, and not answered */
    unsigned answered;
    unsigned char head[1024]; /* of the response or of a frame, while it is incomplete */
    size_t head_length;
    uint64_t left; /* bytes of the frame to come */
    uint64_t done; /* bytes of the message that have come */
    bool in_message, is_final, is_control, is_checked;
};

static struct {
    int port, in_flight, first_byte;
    const char *offer;
    bool is_raw;
} option = {.in_flight = 1, .first_byte = FIN | TEXT};

/* What a reply must be. Of a compressed one only its sender knows: the first on the first link sets it. */
static struct {
    bool is_known;
    int first_byte;
    char *payload;
    size_t length;
} reply;

static struct link *links;
static size_t link_count, open_count;
static int poller;
static char request[2048];
static char *ring; /* frames, one behind the other, and where the next to be sent begins */
static size_t frame_length, ring_count, ring_next;
static uint64_t now, stop_at, messages, under_way, visits;
static bool is_visiting;

/* ---------------------------------------------------------------- sending */

static void build_ring(const char *payload, size_t length)
{
    char header[14];
    size_t start = 0;
    header[start++] = (char)option.first_byte;
    if (length < 126) {
        header[start++] = (char)(MASKED | length);
    } else {
        bool is_long = length > 65535;
        header[start++] = (char)(MASKED | (126 + is_long));
        for (int shift = is_long ? 56 : 8; shift >= 0; shift -= 8) header[start++] = (char)(length >> shift);
    }
    frame_length = start + 4 + length;
    ring_count = RING_BYTES / frame_length + 4;
    /* So many more that `in_flight` frames from any place on lie together. */
    char *at = ring = malloc((ring_count + (size_t)option.in_flight) * frame_length);
    for (size_t count = ring_count + (size_t)option.in_flight; count--; at += frame_length) {
        int32_t key = (int32_t)mrand48(); /* unseeded: the same keys in every run */
        char *keyed = memcpy(mempcpy(at, header, start), &key, 4);
        for (size_t byte = 0; byte < length; byte++) keyed[4 + byte] = payload[byte] ^ keyed[byte & 3];
    }
}

static void flush(struct link *link)
{
    while (link->unsent_length || link->owed) {
        if (!link->unsent_length) {
            link->unsent = ring + ring_next * frame_length;
            link->unsent_length = (size_t)link->owed * frame_length;
            ring_next = (ring_next + (size_t)link->owed) % ring_count;
            link->owed = 0;
        }
        ssize_t sent = send(link->fd, link->unsent, link->unsent_length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) fail_call("send");
        link->unsent += sent;
        link->unsent_length -= (size_t)sent;
    }
}

/* To be sent by the next `flush`. */
static void owe(struct link *link, int count)
{
    link->owed += count;
    link->under_way += count;
    under_way += (uint64_t)count;
}

static void start_closing(struct link *link)
{
    link->phase = CLOSING;
    link->unsent = GOODBYE;
    link->unsent_length = option.is_raw ? 0 : sizeof GOODBYE;
    if (option.is_raw) shutdown(link->fd, SHUT_WR);
    flush(link);
}

static void open_link(struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = link};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    int on = 1;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(link, 0, sizeof *link);
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (link->fd < 0) fail_call("socket");
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(link->fd, (struct sockaddr *)&there, sizeof there) && errno != EINPROGRESS) fail_call("connect");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event)) fail_call("epoll_ctl");
    open_count++;
    link->unsent = request;
    link->unsent_length = strlen(request);
    flush(link);
}

/* ---------------------------------------------------------------- receiving */

static void check_response(struct link *link)
{
    const char *response = (const char *)link->head;
    if (memcmp(response, "HTTP/1.1 101 ", 13)) fail("refused: %.12s", response);
    if (!strstr(response, ACCEPT)) fail("wrong Sec-WebSocket-Accept");
    if (option.offer && !strcasestr(response, "permessage-deflate")) {
        puts("{\"unsupported\": \"permessage-deflate is not negotiated\"}");
        exit(1);
    }
    link->phase = OPEN;
    if (is_visiting) start_closing(link);
}

static void end_message(struct link *link)
{
    if (!link->under_way) fail("an answer to no message");
    if (link == links) reply.is_known = true;
    if (reply.is_known && link->done != reply.length)
        fail("an answer of %zu bytes, not of %zu%s", (size_t)link->done, reply.length,
             option.offer ? ": is a context taken over?" : "");
    link->answered++;
    link->in_message = false;
    link->done = 0;
    link->under_way--;
    under_way--;
    messages++;
    if (now < stop_at) owe(link, 1);
}

static void begin_frame(struct link *link)
{
    int first = link->head[0], opcode = first & 15;
    if (link->head[1] & MASKED) fail("a masked frame");
    if (opcode == CLOSE) fail("the server sent CLOSE");
    /* A PING needs no answer: no measurement takes as long as a server waits for one. */
    link->is_control = opcode > CLOSE;
    if (link->is_control) return;
    if (link == links && !reply.is_known && !link->in_message) reply.first_byte |= first & RSV1;
    int wanted = link->in_message ? 0 : reply.first_byte;
    if (reply.is_known && (first & ~FIN) != wanted) fail("a frame that begins with 0x%02x, not 0x%02x", first, wanted);
    if (!link->in_message) link->is_checked = messages % CHECK_EACH == 0 || !link->answered;
    link->in_message = true;
    link->is_final = first & FIN;
}

static void take_payload(struct link *link, const char *data, size_t length)
{
    link->left -= length;
    if (link->is_control) return;
    if (link == links && !reply.is_known) {
        reply.payload = realloc(reply.payload, reply.length += length);
        memcpy(reply.payload + link->done, data, length);
    } else if (link->is_checked && reply.is_known && link->done + length <= reply.length &&
               memcmp(reply.payload + link->done, data, length)) {
        fail("an answer with other bytes than the message");
    }
    link->done += length;
    if (!link->left && link->is_final) end_message(link);
}

/* Take one byte of a response or of a frame's header. */
static void take_byte(struct link *link, unsigned char byte)
{
    size_t length = ++link->head_length, need = 2;
    link->head[length - 1] = byte;
    if (link->phase == OPENING) {
        if (length == sizeof link->head) fail("a long response to the opening handshake");
        if (byte != '\n' || length < 4 || memcmp(link->head + length - 4, "\r\n\r\n", 4)) return;
        link->head[length] = 0;
        link->head_length = 0;
        check_response(link);
        return;
    }
    int short_length = length < 2 ? 0 : link->head[1] & 127;
    if (short_length > 125) need = short_length == 126 ? 4 : 10;
    if (length < need) return;
    link->left = need == 2 ? (uint64_t)short_length : 0;
    for (size_t at = 2; at < need; at++) link->left = link->left << 8 | link->head[at];
    link->head_length = 0;
    begin_frame(link);
    if (!link->left) take_payload(link, "", 0);
}

static void take(struct link *link, const char *data, size_t length)
{
    if (option.is_raw && link->phase == OPEN) {
        for (link->left += length; link->left >= frame_length; link->left -= frame_length) {
            link->done = reply.length;
            end_message(link);
        }
        return;
    }
    while (length && link->phase != CLOSING) { /* what comes behind our CLOSE is discarded */
        size_t some = link->left < length ? link->left : length;
        if (some)
            take_payload(link, data, some);
        else
            take_byte(link, (unsigned char)data[some++]);
        data += some;
        length -= some;
    }
}

static void end_link(struct link *link)
{
    if (link->phase != CLOSING) fail("the server closed the connection");
    close(link->fd);
    open_count--;
    visits++;
    if (is_visiting && now < stop_at) open_link(link);
}

static void drain(struct link *link, bool is_ended)
{
    static char buffer[READ_BYTES];
    ssize_t got;
    do {
        got = recv(link->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno != EAGAIN) fail_call("recv");
        if (got > 0) take(link, buffer, (size_t)got);
    } while (got == sizeof buffer); /* less than was asked for: there is no more */
    if (is_ended || !got)
        end_link(link);
    else
        flush(link);
}

static void turn(void)
{
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, PATIENCE * 1000);
    if (count < 0) fail_call("epoll_wait");
    if (!count) fail("nothing came for %d s", PATIENCE);
    for (int at = 0; at < count; at++) {
        struct link *link = events[at].data.ptr;
        now = read_clock(CLOCK_MONOTONIC);
        if (events[at].events & EPOLLOUT) flush(link);
        if (events[at].events & ~(uint32_t)EPOLLOUT) drain(link, events[at].events & EPOLLRDHUP);
    }
}

/* ---------------------------------------------------------------- jobs */

static uint64_t open_links(size_t count)
{
    if (count > MAX_LINKS) fail("more than %d connections", MAX_LINKS);
    while (link_count < count) {
        size_t first = link_count;
        while (link_count < count && link_count < first + AT_ONCE) open_link(&links[link_count++]);
        for (size_t at = first; at < link_count; at++)
            while (links[at].phase == OPENING) turn();
    }
    return link_count;
}

static uint64_t run(void)
{
    for (size_t at = 0; at < link_count; at++) {
        owe(&links[at], option.in_flight);
        flush(&links[at]);
    }
    while (under_way) turn();
    return messages;
}

static uint64_t visit(void)
{
    is_visiting = true;
    for (size_t at = 0; at < AT_ONCE; at++) open_link(&links[at]);
    while (open_count) turn();
    is_visiting = false;
    return visits;
}

static void do_job(const char *name, double argument)
{
    struct start start = start_job();
    uint64_t count = 0;
    now = start.time;
    messages = visits = 0;
    stop_at = now + (uint64_t)(argument * 1e9);
    if (!strcmp(name, "open"))
        count = open_links((size_t)argument);
    else if (!strcmp(name, "run"))
        count = run();
    else if (!strcmp(name, "visit"))
        count = visit();
    else
        fail("there is no job %s", name);
    print_result(start, count);
    if (option.offer && reply.is_known) {
        printf(", \"reply_rsv1\": %s, \"reply\": \"", reply.first_byte & RSV1 ? "true" : "false");
        for (size_t at = 0; at < reply.length; at++) printf("%02x", (unsigned char)reply.payload[at]);
        printf("\"");
    }
    puts("}");
    fflush(stdout);
}

static void prepare(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *payload = malloc(MAX_PAYLOAD);
    if (!file) fail_call(path);
    size_t length = fread(payload, 1, MAX_PAYLOAD, file);
    poller = epoll_create1(0);
    links = calloc(MAX_LINKS, sizeof *links);
    build_ring(payload, length);
    snprintf(request, sizeof request, "%s%s%s%s\r\n", UPGRADE, option.offer ? "Sec-WebSocket-Extensions: " : "",
             option.offer ? option.offer : "", option.offer ? "\r\n" : "");
    reply.first_byte = option.first_byte & ~(FIN | RSV1);
    if (!option.offer) reply.is_known = true, reply.payload = payload, reply.length = length;
}

int main(int argc, char **argv)
{
    char name[8];
    double argument;
    for (int letter; (letter = getopt(argc, argv, "bm:rz:")) != -1;) {
        if (letter == 'b') option.first_byte ^= TEXT ^ BINARY;
        if (letter == 'm') option.in_flight = atoi(optarg);
        if (letter == 'r') option.is_raw = true;
        if (letter == 'z') option.offer = optarg, option.first_byte |= RSV1;
    }
    if (argc - optind != 2) {
        fputs("usage: load [-b] [-m IN_FLIGHT] [-r] [-z OFFER] PORT PAYLOAD\n", stderr);
        return 2;
    }
    option.port = atoi(argv[optind]);
    prepare(argv[optind + 1]);
    while (scanf("%7s %lf", name, &argument) == 2) do_job(name, argument);
    for (size_t at = 0; at < link_count; at++) start_closing(&links[at]);
    while (open_count) turn();
    return 0;
}
