// The client of the JDK, java.net.http; the protocol of lines is in scenarios.py.
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;

class JdkClient {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(toJson(play(line.split("\t", -1))));
        }
        System.exit(0);
    }

    static Map<String, Object> play(String[] fields) throws Exception {
        var peer = new Peer(fields);
        var builder = CLIENT.newWebSocketBuilder();
        if (!fields[1].isEmpty()) {
            var names = fields[1].split(",");
            builder.subprotocols(names[0], Arrays.copyOfRange(names, 1, names.length));
        }
        try {
            builder.buildAsync(URI.create(fields[0]), peer).get();
            return peer.over.get();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof WebSocketHandshakeException) {
                var status = ((WebSocketHandshakeException) error.getCause()).getResponse().statusCode();
                return Map.of("status", status);
            }
            return Map.of("error", error.getCause().toString());
        }
    }

    static class Peer implements WebSocket.Listener {
        final Map<String, Object> seen = new LinkedHashMap<>();
        final CompletableFuture<Map<String, Object>> over = new CompletableFuture<>();
        final StringBuilder text = new StringBuilder();
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        final MessageDigest digest = MessageDigest.getInstance("SHA-256");
        final String[] fields;
        int messages;
        long started;

        Peer(String[] fields) throws Exception {
            this.fields = fields;
        }

        public void onOpen(WebSocket socket) {
            seen.put("protocol", socket.getSubprotocol());
            seen.put("extensions", null);
            // One send at a time: what is to be echoed comes after this one is over.
            if (fields[2].isEmpty()) {
                socket.request(1);
            } else {
                socket.sendText(fields[2], true).thenRun(() -> socket.request(1));
            }
        }

        public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean isLast) {
            text.append(part);
            if (!isLast) {
                socket.request(1);
                return null;
            }
            var message = text.toString();
            text.setLength(0);
            return take(socket, message.getBytes(StandardCharsets.UTF_8), message);
        }

        public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer part, boolean isLast) {
            var data = new byte[part.remaining()];
            part.get(data);
            bytes.writeBytes(data);
            if (!isLast) {
                socket.request(1);
                return null;
            }
            var message = bytes.toByteArray();
            bytes.reset();
            return take(socket, message, null);
        }

        CompletionStage<?> take(WebSocket socket, byte[] data, String asText) {
            messages++;
            digest.update(data);
            if (fields[3].isEmpty()) {
                var sent = asText == null ? socket.sendBinary(ByteBuffer.wrap(data), true) : socket.sendText(asText, true);
                return sent.thenRun(() -> socket.request(1));
            }
            if (messages == Integer.parseInt(fields[3])) {
                started = System.nanoTime();
                socket.sendClose(fields[4].isEmpty() ? 1000 : Integer.parseInt(fields[4]), fields[5])
                    .exceptionally(error -> {
                        seen.put("error", error.toString());
                        return socket.sendClose(1000, "").join();
                    });
            }
            socket.request(1);
            return null;
        }

        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            seen.put("code", code);
            seen.put("reason", reason);
            seen.put("messages", messages);
            var hash = new StringBuilder();
            for (var one : digest.digest()) {
                hash.append(String.format("%02x", one));
            }
            seen.put("sha256", hash.toString());
            if (started != 0) {
                seen.put("seconds", (System.nanoTime() - started) / 1e9);
            }
            over.complete(seen);
            return null;
        }

        public void onError(WebSocket socket, Throwable error) {
            seen.put("error", error.toString());
            over.complete(seen);
        }
    }

    static String toJson(Map<String, Object> values) {
        var parts = new StringBuilder();
        for (var entry : values.entrySet()) {
            var value = entry.getValue();
            var text = value instanceof String ? quote((String) value) : String.valueOf(value);
            parts.append(parts.length() == 0 ? "" : ", ").append(quote(entry.getKey())).append(": ").append(text);
        }
        return "{" + parts + "}";
    }

    static String quote(String text) {
        var parts = new StringBuilder("\"");
        for (var unit : text.toCharArray()) {
            parts.append(unit < ' ' || unit == '"' || unit == '\\' ? String.format("\\u%04x", (int) unit) : unit);
        }
        return parts.append('"').toString();
    }
}
