#include <libsoup/soup.h>

#include "peer.h"

static GMainLoop *loop;
static GChecksum *digest;
static int messages;
static gint64 started;

static void finish(void) {
    end_line();
    g_main_loop_quit(loop);
}

static void on_message(SoupWebsocketConnection *socket, gint kind, GBytes *message, gpointer data) {
    messages++;
    g_checksum_update(digest, g_bytes_get_data(message, NULL), g_bytes_get_size(message));
    if (!*fields[COUNT])
        soup_websocket_connection_send_message(socket, kind, message);
    else if (messages == atoi(fields[COUNT])) {
        started = g_get_monotonic_time();
        int code = *fields[CODE] ? atoi(fields[CODE]) : SOUP_WEBSOCKET_CLOSE_NO_STATUS;
        soup_websocket_connection_close(socket, code, *fields[REASON] ? fields[REASON] : NULL);
    }
}

static void on_closed(SoupWebsocketConnection *socket, gpointer data) {
    int code = soup_websocket_connection_get_close_code(socket);
    const char *reason = soup_websocket_connection_get_close_data(socket);
    print_number("code", code);
    print_text("reason", reason ? reason : "");
    print_number("messages", messages);
    print_text("sha256", g_checksum_get_string(digest));
    if (started)
        print_number("seconds", (g_get_monotonic_time() - started) / 1e6);
    finish();
}

static void on_error(SoupWebsocketConnection *socket, GError *error, gpointer data) {
    print_text("error", error->message);
}

static void on_connected(GObject *session, GAsyncResult *result, gpointer request) {
    GError *error = NULL;
    SoupWebsocketConnection *socket = soup_session_websocket_connect_finish(SOUP_SESSION(session), result, &error);
    if (!socket) {
        int status = soup_message_get_status(request);
        if (status >= 400)
            print_number("status", status);
        else
            print_text("error", error->message);
        g_error_free(error);
        finish();
        return;
    }
    const char *protocol = soup_websocket_connection_get_protocol(socket);
    SoupMessageHeaders *headers = soup_message_get_response_headers(request);
    const char *extensions = soup_message_headers_get_list(headers, "Sec-WebSocket-Extensions");
    print_text("protocol", protocol ? protocol : "");
    print_text("extensions", extensions ? extensions : "");
    soup_websocket_connection_set_max_incoming_payload_size(socket, 0);
    g_signal_connect(socket, "message", G_CALLBACK(on_message), NULL);
    g_signal_connect(socket, "closed", G_CALLBACK(on_closed), NULL);
    g_signal_connect(socket, "error", G_CALLBACK(on_error), NULL);
    if (*fields[FIRST])
        soup_websocket_connection_send_text(socket, fields[FIRST]);
}

int main(void) {
    SoupSession *session = soup_session_new();
    soup_session_add_feature_by_type(session, SOUP_TYPE_WEBSOCKET_EXTENSION_MANAGER);
    loop = g_main_loop_new(NULL, FALSE);
    while (read_fields()) {
        messages = 0;
        started = 0;
        digest = g_checksum_new(G_CHECKSUM_SHA256);
        begin_line();
        SoupMessage *request = soup_message_new("GET", fields[URL]);
        char **protocols = *fields[PROTOCOLS] ? g_strsplit(fields[PROTOCOLS], ",", 0) : NULL;
        soup_session_websocket_connect_async(session, request, NULL, protocols, 0, NULL, on_connected, request);
        g_main_loop_run(loop);
    }
    return 0;
}
