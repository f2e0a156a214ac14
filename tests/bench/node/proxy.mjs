// A WebSocket proxy as one would write it with ws: proxy.mjs PORT UPSTREAM_PORT none|client|both CERTIFICATE KEY
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { WebSocket, WebSocketServer } from "ws";

const [port, upstreamPort, tls, certificate, key] = process.argv.slice(2);
const upstream = `${tls === "both" ? "wss" : "ws"}://127.0.0.1:${upstreamPort}`;
const options = { perMessageDeflate: false, maxPayload: 16 << 20 };

function forward(from, to) {
  from.on("message", (data, isBinary) => to.send(data, { binary: isBinary }));
  from.on("close", () => to.terminate());
  from.on("error", () => to.terminate());
}

function relay(client, request) {
  const provider = new WebSocket(upstream + request.url, { ...options, rejectUnauthorized: false });
  const early = [];
  const keep = (data, isBinary) => early.push([data, isBinary]);

  client.on("message", keep);
  provider.on("open", () => {
    client.off("message", keep);
    early.forEach(([data, isBinary]) => provider.send(data, { binary: isBinary }));
    forward(client, provider);
  });
  forward(provider, client);
}

const server = tls === "none"
  ? http.createServer()
  : https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
new WebSocketServer({ ...options, server }).on("connection", relay);
server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
