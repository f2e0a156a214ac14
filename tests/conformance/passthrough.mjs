// Without a tool of its own the gateway changes no byte of any message, in either direction.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before } from 'node:test';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { WebSocket, WebSocketServer } from 'ws';
import { World, test } from './harness.mjs';

const LAST = '{"type":"last"}';

// JSON that does not survive being parsed and written again, and events nobody has heard of.
const ODD = [
  '{ "type" : "session.update",\n\t"session":{"type":"realtime","tools":[],"instructions":"a\\u0062\\/c"} }',
  '{"type":"session.update","session":{"type":"realtime","tools":[{"type":"function","name":"f","parameters":{}}]}}',
  '{"type":"x.unknown","n":12345678901234567890123,"f":1.10,"e":1E400,"n":2}',
  '{"event_id":"e1","type":"response.create","response":{"metadata":{"k":"v"},"tools":[]}}',
  '{"type":"conversation.item.create","previous_item_id":"root","item":{"type":"message","role":"user",' +
    '"content":[{"type":"input_text","text":"\\ud83d\\ude00 \u00fc \u{1f600}"}]}}',
  '{"type":"response.created","response":{"id":"resp_1","object":"realtime.response","status":"in_progress",' +
    '"metadata":{"bc":"f"},"output":[]}}',
  '{"type":"response.function_call_arguments.done","response_id":"resp_1","item_id":"bc_1","name":"f",' +
    '"call_id":"call_1","arguments":"{}","output_index":0}',
  '{"type":"response.done","response":{"id":"resp_1","object":"realtime.response","status":"completed",' +
    '"metadata":{"bc":"f"},"output":[{"id":"bc_1","type":"function_call","name":"f"}]}}',
  '{"type":"error","event_id":"event_1","error":{"type":"invalid_request_error","event_id":"bc_x1"}}',
  '{"no":"type"}',
  '["not an event"]',
  'no JSON at all',
  '',
  `{"type":"input_audio_buffer.append","audio":"${'AAAA'.repeat(500_000)}"}`,
];

// A provider that keeps what it is sent and sends what it is told.
class Recorder {
  #server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'realtime' });
  #connections = [];
  #waiting = [];

  constructor() {
    this.#server.on('connection', (socket) => {
      const connection = { socket, received: recorded(socket) };
      this.#connections.push(connection);
      this.#waiting.shift()?.(this.#connections.shift());
    });
  }

  async url() {
    if (this.#server.address() === null) {
      await once(this.#server, 'listening');
    }
    return `ws://127.0.0.1:${this.#server.address().port}/v1/realtime`;
  }

  connection() {
    const ready = this.#connections.shift();
    return ready ?? new Promise((resolve) => { this.#waiting.push(resolve); });
  }

  stop() {
    this.#server.clients.forEach((socket) => socket.terminate());
    this.#server.close();
  }
}

// Resolves to all messages of a socket up to the last one, as [kind, bytes in hexadecimal].
function recorded(socket) {
  const messages = [];
  return new Promise((resolve, reject) => {
    socket.on('message', (data, isBinary) => {
      if (data.toString() === LAST) {
        resolve(messages);
      } else {
        messages.push([isBinary ? 'binary' : 'text', data.toString('hex')]);
      }
    });
    socket.on('close', (code) => reject(new Error(`closed with ${code} behind ${messages.length} messages`)));
    socket.on('error', reject);
  });
}

function asRecorded(texts) {
  return texts.map((text) => ['text', Buffer.from(text).toString('hex')]);
}

function same(actual, expected) {
  assert.equal(actual.length, expected.length);
  actual.forEach((message, i) => assert.ok(message[0] === expected[i][0] && message[1] === expected[i][1],
                                           `message ${i} was changed`));
}

const world = new World();
const recorder = new Recorder();

before(async () => {
  world.upstream('recorder', await recorder.url());
  await world.gateway();
});
after(async () => {
  recorder.stop();
  await world.stop();
});

async function connect() {
  const client = new WebSocket(`${world.socketURL}?model=any`, {
    headers: { Authorization: `Bearer ${world.key('recorder')}` } });
  const received = recorded(client);
  await once(client, 'open');
  return { client, received, provider: await recorder.connection() };
}

async function hangUp(client, provider) {
  const ends = [once(client, 'close'), once(provider, 'close')];
  provider.close(1000, 'done');
  await Promise.all(ends);
}

test('a provider receives exactly what the client has sent', async () => {
  const { client, received, provider } = await connect();
  received.catch(() => {}); // nothing is sent this way
  ODD.forEach((text) => client.send(text));
  client.send(LAST);
  same(await provider.received, asRecorded(ODD));
  await hangUp(client, provider.socket);
});

test('a client receives exactly what the provider has sent', async () => {
  const { client, received, provider } = await connect();
  provider.received.catch(() => {}); // nothing is sent this way
  ODD.forEach((text) => provider.socket.send(text));
  provider.socket.send(LAST);
  same(await received, asRecorded(ODD));
  await hangUp(client, provider.socket);
});

test('fragmented messages keep their bytes', async () => {
  const { client, received, provider } = await connect();
  for (const socket of [client, provider.socket]) {
    for (const text of ODD.filter((odd) => odd.length > 2)) {
      const bytes = Buffer.from(text);
      const cut = Math.floor(bytes.length / 3); // may fall into a character
      socket.send(bytes.subarray(0, cut), { binary: false, fin: false });
      socket.ping();
      socket.send(bytes.subarray(cut), { binary: false, fin: true });
    }
    socket.send(LAST);
  }
  const expected = asRecorded(ODD.filter((odd) => odd.length > 2));
  same(await provider.received, expected);
  same(await received, expected);
  await hangUp(client, provider.socket);
});

test("the openai SDK's session is the provider's own", async () => {
  const client = new OpenAI({ apiKey: world.key('recorder'), baseURL: world.baseURL });
  const realtime = new OpenAIRealtimeWS({ model: 'any' }, client);
  const received = recorded(realtime.socket);
  const failures = [];
  realtime.on('error', (error) => failures.push(error));
  await once(realtime.socket, 'open');
  const provider = await recorder.connection();
  const events = [
    { type: 'session.update', session: { type: 'realtime', tools: [{ type: 'function', name: 'f', parameters: {} }] } },
    { type: 'input_audio_buffer.append', audio: Buffer.alloc(4800).toString('base64') },
    { type: 'input_audio_buffer.commit' },
    { type: 'response.create', response: { metadata: { a: 'b' } } },
  ];
  events.forEach((event) => realtime.send(event));
  realtime.send(JSON.parse(LAST));
  const answers = ODD.filter((text) => /^\{\s*"(type|event_id)"/.test(text) && !text.includes('"error"'));
  answers.forEach((text) => provider.socket.send(text));
  provider.socket.send(LAST);
  same(await provider.received, asRecorded(events.map((event) => JSON.stringify(event))));
  same(await received, asRecorded(answers));
  const closed = once(realtime.socket, 'close');
  realtime.close();
  assert.equal((await closed)[0], 1000);
  assert.deepEqual(failures, []);
});
