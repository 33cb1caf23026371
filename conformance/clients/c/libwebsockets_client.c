#define _GNU_SOURCE
#include <libwebsockets.h>
#include <openssl/sha.h>

#include "peer.h"

/* One lws_write of 1 MiB of compressible text ends in an assertion of lws; so it sends what is long in frames of this. */
enum { PART = 16384 };

typedef struct message {
    struct message *next;
    size_t size, sent;
    enum lws_write_protocol kind;
    unsigned char data[];
} message;

static message *first, **last;
static unsigned char *partial;
static size_t partial_size, partial_room;
static SHA256_CTX digest;
static int messages, is_open, is_over, is_closing, close_code;
static char close_reason[128], protocol[128], extensions[256];
static double started;

static double now(void) { return lws_now_usecs() / 1e6; }

static void queue(const void *data, size_t size, enum lws_write_protocol kind) {
    message *one = calloc(1, sizeof *one + LWS_PRE + size + 16);
    one->size = size;
    one->kind = kind;
    memcpy(one->data + LWS_PRE, data, size);
    *last = one;
    last = &one->next;
}

static void take(struct lws *wsi) {
    messages++;
    SHA256_Update(&digest, partial, partial_size);
    if (!*fields[COUNT])
        queue(partial, partial_size, lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT);
    else if (messages == atoi(fields[COUNT])) {
        started = now();
        is_closing = 1;
    }
    partial_size = 0;
    lws_callback_on_writable(wsi);
}

static void print_end(void) {
    char hex[65];
    unsigned char hash[32];
    SHA256_Final(hash, &digest);
    for (int at = 0; at < 32; at++)
        sprintf(hex + 2 * at, "%02x", hash[at]);
    if (is_closing) {
        printf(", \"code\": null, \"reason\": null");
        print_number("seconds", now() - started);
    } else {
        print_number("code", close_code);
        print_text("reason", close_reason);
    }
    print_text("protocol", protocol);
    print_text("extensions", extensions);
    print_number("messages", messages);
    print_text("sha256", hex);
}

static int write_next(struct lws *wsi) {
    if (is_closing) {
        /* Returning -1 sends this CLOSE; lws tells nothing of the answer. */
        if (*fields[CODE])
            lws_close_reason(wsi, atoi(fields[CODE]), (unsigned char *)fields[REASON], strlen(fields[REASON]));
        return -1;
    }
    message *one = first;
    if (!one)
        return 0;
    size_t left = one->size - one->sent, size = left < PART ? left : PART;
    int flags = lws_write_ws_flags(one->kind, !one->sent, size == left);
    if (lws_write(wsi, one->data + LWS_PRE + one->sent, size, flags) < (int)size)
        return -1;
    one->sent += size;
    if (one->sent == one->size) {
        first = one->next;
        if (!first)
            last = &first;
        free(one);
    }
    lws_callback_on_writable(wsi);
    return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in, size_t size) {
    switch (why) {
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        lws_hdr_copy(wsi, protocol, sizeof protocol, WSI_TOKEN_PROTOCOL);
        lws_hdr_copy(wsi, extensions, sizeof extensions, WSI_TOKEN_EXTENSIONS);
        break;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        is_open = 1;
        if (*fields[FIRST]) {
            queue(fields[FIRST], strlen(fields[FIRST]), LWS_WRITE_TEXT);
            lws_callback_on_writable(wsi);
        }
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (partial_size + size > partial_room) {
            partial_room = 2 * (partial_size + size);
            partial = realloc(partial, partial_room);
        }
        memcpy(partial + partial_size, in, size);
        partial_size += size;
        if (lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi))
            take(wsi);
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return write_next(wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        if (size >= 2) {
            close_code = ((unsigned char *)in)[0] << 8 | ((unsigned char *)in)[1];
            memcpy(close_reason, (char *)in + 2, size - 2);
            close_reason[size - 2] = 0;
        }
        break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        if (lws_http_client_http_response(wsi) >= 400)
            print_number("status", lws_http_client_http_response(wsi));
        else
            print_text("error", in ? in : "connection error");
        is_over = 1;
        break;
    case LWS_CALLBACK_CLIENT_CLOSED:
        print_end();
        is_over = 1;
        break;
    default:
        break;
    }
    return 0;
}

static const struct lws_protocols handlers[] = {
    {"chat.v1", on_event, 0, 65536}, {"chat.v2", on_event, 0, 65536}, {NULL, NULL, 0, 0}};
static const struct lws_extension offers[] = {
    {"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate; client_max_window_bits"},
    {NULL, NULL, NULL}};

int main(void) {
    struct lws_context_creation_info info = {0};
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = handlers;
    info.extensions = offers;
    info.gid = info.uid = -1;
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    while (read_fields()) {
        const char *scheme, *address, *path;
        char host[300], target[8192];
        struct lws_client_connect_info to = {0};
        lws_parse_uri(fields[URL], &scheme, &address, &to.port, &path);
        snprintf(host, sizeof host, "%s:%d", address, to.port);
        snprintf(target, sizeof target, "/%s", path);
        to.context = context;
        to.address = address;
        to.path = target;
        to.host = to.origin = host;
        to.protocol = *fields[PROTOCOLS] ? fields[PROTOCOLS] : NULL;
        to.local_protocol_name = "chat.v1";
        to.ietf_version_or_minus_one = -1;
        first = NULL;
        last = &first;
        messages = is_open = is_over = is_closing = 0;
        partial_size = 0;
        close_code = NO_CODE;
        *close_reason = *protocol = *extensions = 0;
        started = 0;
        SHA256_Init(&digest);
        begin_line();
        lws_client_connect_via_info(&to);
        while (!is_over)
            lws_service(context, 0);
        end_line();
    }
    return 0;
}
