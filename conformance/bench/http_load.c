/* The load generator of HTTP: a client of many connections that costs little more than its system calls.

       http_load PORT REQUEST CONTENT

   REQUEST is sent as it is, the next on a connection when its response is complete, and CONTENT is what every
   response must hold. Each line on stdin is a job, each line on stdout its result in JSON:

       open COUNT      connect until COUNT connections are open
       run SECONDS     send requests on all of them, then wait for the last response; 0: one on each

   At the end of stdin the connections are closed. {"failed": ...} ends it with exit code 1.

   A connection that the server closes is opened again, and counted: among "closed" when a response has announced
   that (RFC 9112 9.6), among "lost" when a request was left without a response; it is sent again. */

#include "load.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_RESPONSE = 1 << 14 };

struct link {
    int fd;
    size_t length; /* of the response so far */
    char response[MAX_RESPONSE + 1];
};

/* What the head of a response says; `content` is where that begins, NULL while the head is incomplete. */
struct head {
    const char *content;
    long length;
    bool is_chunked, is_last;
};

static struct link *links[MAX_LINKS];
static size_t link_count;
static int port, poller;
static const char *request, *content;
static size_t request_length, content_length;
static uint64_t now, stop_at, responses, under_way, closed, lost;

/* ---------------------------------------------------------------- sending */

static void connect_link(struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (link->fd < 0) fail_call("socket");
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(link->fd, (struct sockaddr *)&there, sizeof there)) fail_call("connect");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event)) fail_call("epoll_ctl");
}

static void send_request(struct link *link)
{
    link->length = 0;
    ssize_t sent = send(link->fd, request, request_length, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* What the server has closed says so when it is read. */
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET) fail_call("send");
    if (sent >= 0 && (size_t)sent < request_length) fail("the server did not read its last request");
}

static void reconnect(struct link *link)
{
    close(link->fd);
    connect_link(link);
}

/* ---------------------------------------------------------------- receiving */

static struct head parse_head(const char *response)
{
    struct head head = {.length = -1};
    const char *end = strstr(response, "\r\n\r\n");
    if (!end) return head;
    if (strncmp(response, "HTTP/1.1 200 ", 13)) fail("a response that begins with %.12s", response);
    head.content = end + 4;
    for (const char *line = strstr(response, "\r\n"); line < end; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) head.length = strtol(line + 15, NULL, 10);
        if (!strncasecmp(line, "transfer-encoding: chunked\r", 27)) head.is_chunked = true;
        if (!strncasecmp(line, "connection: close\r", 18)) head.is_last = true;
    }
    if (head.is_chunked == (head.length >= 0)) fail("neither Content-Length nor Transfer-Encoding, or both");
    return head;
}

/* Put the chunks at `from` together at `into`, and set their length. Return where the response ends, NULL while it
   is incomplete. Trailers are none that a server would send here. */
static const char *join_chunks(const char *from, const char *end, char *into, size_t *length)
{
    for (*length = 0;;) {
        char *data;
        if (!strstr(from, "\r\n")) return NULL;
        size_t size = strtoul(from, &data, 16);
        if (memcmp(data, "\r\n", 2)) fail("a chunk whose size ends with %.8s", data);
        data += 2;
        if ((size_t)(end - data) < size + 2) return NULL;
        if (memcmp(data + size, "\r\n", 2)) fail("a chunk that is not as long as it says");
        memcpy(into + *length, data, size);
        *length += size;
        from = data + size + 2;
        if (!size) return from;
    }
}

/* Return whether the response is complete, and check it. */
static bool check_response(struct link *link, struct head head)
{
    static char joined[MAX_RESPONSE];
    const char *found = head.content, *end = link->response + link->length, *last;
    size_t length = (size_t)head.length;
    if (!found) return false;
    if (head.is_chunked) {
        last = join_chunks(found, end, joined, &length);
        found = joined;
    } else {
        last = length <= (size_t)(end - found) ? found + length : NULL;
    }
    if (!last) return false;
    if (last != end) fail("%zu bytes behind the response", (size_t)(end - last));
    if (length != content_length || memcmp(found, content, length)) fail("%zu bytes, not the content", length);
    return true;
}

static void end_request(struct link *link, bool is_last)
{
    responses++;
    if (is_last) {
        closed++;
        reconnect(link);
    }
    if (now < stop_at)
        send_request(link);
    else
        under_way--;
}

static void drain(struct link *link)
{
    ssize_t got = recv(link->fd, link->response + link->length, MAX_RESPONSE - link->length, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0 && errno != ECONNRESET) fail_call("recv");
    if (got <= 0) {
        if (++lost > responses + link_count) fail("the server closes without a response");
        reconnect(link);
        send_request(link);
        return;
    }
    link->length += (size_t)got;
    link->response[link->length] = 0;
    struct head head = parse_head(link->response);
    if (check_response(link, head))
        end_request(link, head.is_last);
    else if (link->length == MAX_RESPONSE)
        fail("a response of more than %d bytes", MAX_RESPONSE);
}

static void turn(void)
{
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, PATIENCE * 1000);
    if (count < 0) fail_call("epoll_wait");
    if (!count) fail("nothing came for %d s", PATIENCE);
    for (int at = 0; at < count; at++) {
        now = read_clock(CLOCK_MONOTONIC);
        drain(events[at].data.ptr);
    }
}

/* ---------------------------------------------------------------- jobs */

static uint64_t open_links(size_t count)
{
    if (count > MAX_LINKS) fail("more than %d connections", MAX_LINKS);
    while (link_count < count) {
        links[link_count] = calloc(1, sizeof **links);
        connect_link(links[link_count++]);
    }
    return link_count;
}

static uint64_t run(void)
{
    under_way = link_count;
    for (size_t at = 0; at < link_count; at++) send_request(links[at]);
    while (under_way) turn();
    return responses;
}

static void do_job(const char *name, double argument)
{
    struct start start = start_job();
    uint64_t count = 0;
    responses = closed = lost = 0;
    stop_at = start.time + (uint64_t)(argument * 1e9);
    if (!strcmp(name, "open"))
        count = open_links((size_t)argument);
    else if (!strcmp(name, "run"))
        count = run();
    else
        fail("there is no job %s", name);
    print_result(start, count);
    printf(", \"closed\": %ju, \"lost\": %ju}\n", (uintmax_t)closed, (uintmax_t)lost);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char name[8];
    double argument;
    if (argc != 4) {
        fputs("usage: http_load PORT REQUEST CONTENT\n", stderr);
        return 2;
    }
    port = atoi(argv[1]);
    request = argv[2];
    content = argv[3];
    request_length = strlen(request);
    content_length = strlen(content);
    poller = epoll_create1(0);
    while (scanf("%7s %lf", name, &argument) == 2) do_job(name, argument);
    return 0;
}
