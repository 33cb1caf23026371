// The WebSocket clients of npm: `node node_client.js ws|undici|faye-websocket`; the protocol of lines is in scenarios.py.
"use strict";
const crypto = require("crypto");

// Each opens a connection whose events are those of a browser's WebSocket, and fills in `seen` what only it can tell.
const openers = {
  ws(url, protocols, seen) {
    const { WebSocket } = require("ws");
    const socket = new WebSocket(url, protocols);
    socket.on("unexpected-response", (request, response) => {
      seen.status = response.statusCode;
      response.setEncoding("utf8");
      seen.body = "";
      response.on("data", (chunk) => (seen.body += chunk));
      response.on("end", () => socket.terminate());
    });
    return socket;
  },
  undici(url, protocols, seen) {
    const { WebSocket } = require("undici");
    const socket = new WebSocket(url, protocols);
    socket.addEventListener("error", () => {
      if (seen.messages === undefined) Object.assign(seen, { status: null, body: null });
    });
    return socket;
  },
  "faye-websocket"(url, protocols, seen) {
    const { Client } = require("faye-websocket");
    const socket = new Client(url, protocols, { extensions: [require("permessage-deflate")] });
    socket.on("open", () => (seen.extensions = socket.headers["sec-websocket-extensions"] || ""));
    socket.on("error", ({ message }) => {
      const refusal = /Unexpected response code: (\d+)/.exec(message);
      if (refusal) Object.assign(seen, { status: Number(refusal[1]), body: null });
    });
    return socket;
  },
};

function play(open, [url, protocols, first, count, code, reason]) {
  return new Promise((resolve) => {
    const seen = {};
    const digest = crypto.createHash("sha256");
    let started;
    const socket = open(url, protocols ? protocols.split(",") : [], seen);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      seen.protocol = socket.protocol;
      if (socket.extensions !== undefined) seen.extensions = socket.extensions;
      seen.messages = 0;
      if (first) socket.send(first);
    };
    socket.onerror = (event) => {
      if (seen.messages === undefined) seen.error = String(event.message || event.error || "error");
    };
    socket.onmessage = ({ data }) => {
      seen.messages++;
      const bytes = Buffer.from(data);
      digest.update(bytes);
      if (!count) {
        socket.send(typeof data === "string" ? data : bytes);
      } else if (seen.messages === Number(count)) {
        started = process.hrtime.bigint();
        try {
          if (code) socket.close(Number(code), reason);
          else socket.close();
        } catch (error) {
          seen.error = String(error);
          socket.close();
        }
      }
    };
    socket.onclose = (event) => {
      if (seen.messages !== undefined) {
        seen.code = event.code;
        seen.reason = event.reason;
        seen.sha256 = digest.digest("hex");
      }
      if (started !== undefined) seen.seconds = Number(process.hrtime.bigint() - started) / 1e9;
      if (seen.status !== undefined) delete seen.error;
      resolve(seen);
    };
  });
}

async function main(name) {
  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    console.log(JSON.stringify(await play(openers[name], line.split("\t"))));
  }
}

main(process.argv[2]);
