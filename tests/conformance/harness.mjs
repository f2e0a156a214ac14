// Starts the programs of one test file: simulated provider, tool server, gateway; and ends them.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test as runTest } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DIALOGUE, GATEWAY_TOOLS, TOOLS, dialogueLine } from './dialogue.mjs';

const SOURCE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const PATIENCE = 30_000; // milliseconds a program may take to start or to end
const PORT_FIRST = 10_000; // below the ports the kernel hands out, so that nobody else takes one meanwhile
const PORTS_EACH = 8;
const PORT_BLOCKS = 2_500;

export const CONNECT_TIMEOUT = 1_500; // milliseconds, of the gateway

const TEST_LIMIT = 120_000; // milliseconds

// A test that fails rather than waits for ever.
export function test(name, run) {
  runTest(name, { timeout: TEST_LIMIT }, run);
}

function environment(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: start the tests with run.py`);
  }
  return value;
}

function request(port, target, body = null) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: target, method: body === null ? 'GET' : 'POST' };
    const sent = http.request(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece) => { text += piece; });
      answer.on('end', () => resolve({ status: answer.statusCode, body: text }));
    });
    sent.on('error', reject);
    sent.end(body === null ? undefined : JSON.stringify(body));
  });
}

async function isFree(port) {
  const probe = net.createServer();
  const free = await new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => resolve(true));
  });
  if (free) {
    probe.close();
    await once(probe, 'close');
  }
  return free;
}

// Ports by process id: test files that run at the same time never try the same.
async function* freePorts() {
  const first = PORT_FIRST + (process.pid % PORT_BLOCKS) * PORTS_EACH;
  for (let port = first; port < first + PORTS_EACH; port++) {
    if (await isFree(port)) {
      yield port;
    }
  }
  throw new Error(`no free port from ${first} on`);
}

// A listener that takes connections and never says a word.
function silentServer() {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  const stop = () => {
    server.close();
    sockets.forEach((socket) => socket.destroy());
  };
  return { server, stop };
}

function toolToml(tool, port) {
  const url = `http://127.0.0.1:${port}/d/${DIALOGUE}/tools/${tool.name}`;
  return ['[[tool]]', `name = "${tool.name}"`, `description = ${JSON.stringify(tool.description)}`,
          `parameters = ${JSON.stringify(JSON.stringify(tool.parameters))}`,
          `request = { method = "POST", url = "${url}", headers = { "Content-Type" = "application/json" }, body = "{*}" }`,
          'effect = "read"', 'disclosure = "first_party"', 'idempotency = "natural"', ''].join('\n');
}

export class World {
  #programs = [];
  #stops = [];
  #upstreams = []; // { name, url }
  #tools = '';
  #ports = freePorts();
  #keys = new Map();

  folder = environment('CONFORMANCE_FOLDER');
  build = environment('CONFORMANCE_BUILD');

  constructor() {
    // Whatever ends this process ends the programs, too.
    process.on('exit', () => this.#programs.forEach(({ process: child }) => child.kill('SIGKILL')));
  }

  path(name) {
    return path.join(this.folder, name);
  }

  async #start(name, parts, args, announces) {
    const errors = openSync(this.path(`${name}.err`), 'w');
    const child = spawn(path.join(this.build, ...parts), args,
                        { cwd: this.folder, stdio: ['ignore', announces ? 'pipe' : 'ignore', errors] });
    closeSync(errors);
    const ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(code ?? signal));
      child.once('error', (error) => resolve(error.message));
    });
    this.#programs.push({ name, process: child, ended });
    if (!announces) {
      return ended;
    }
    let said = '';
    child.stdout.setEncoding('utf8');
    const listening = new Promise((resolve) => {
      child.stdout.on('data', (piece) => {
        said += piece;
        const match = /listening (\d+)\n/.exec(said);
        if (match) {
          resolve(Number(match[1]));
        }
      });
    });
    const port = await Promise.race([listening, ended.then(() => null)]);
    if (port === null) {
      throw new Error(`${name} did not start: ${readFileSync(this.path(`${name}.err`), 'utf8')}`);
    }
    return port;
  }

  // A simulated provider, known to the gateway by that name.
  async provider(name, ...options) {
    const key = `sk-${randomBytes(16).toString('hex')}`;
    writeFileSync(this.path('dialogue.jsonl'), dialogueLine);
    const port = await this.#start(name, ['tests', 'provider', 'simprovider'], [
      '--listen', '127.0.0.1:0', '--cert', 'cert.pem', '--key-file', 'key.pem', '--key', key,
      '--dialogues', 'dialogue.jsonl', '--timing', path.join(SOURCE, 'tests/provider/timing.json'),
      '--scale', '4', '--log', `${name}.log`, ...options], true);
    this.upstream(name, `wss://localhost:${port}/v1/realtime`, key);
  }

  // The tool server; from then on the gateway runs its tools.
  async tools() {
    writeFileSync(this.path('dialogue.jsonl'), dialogueLine);
    this.toolPort = await this.#start('toolserver', ['tests', 'toolserver', 'toolserver'], [
      '--listen', '0', '--timing', path.join(SOURCE, 'tests/provider/timing.json'), '--profile', '0.05',
      '--dialogues', 'dialogue.jsonl'], true);
    this.#tools = TOOLS.filter((tool) => GATEWAY_TOOLS.includes(tool.name))
      .map((tool) => toolToml(tool, this.toolPort)).join('\n');
  }

  // End a program without a word, as a power cut would.
  kill(name) {
    this.#programs.find((program) => program.name === name).process.kill('SIGKILL');
  }

  // The calls the tool server has answered so far.
  async toolRuns() {
    const { body } = await request(this.toolPort, '/control/calls');
    return JSON.parse(body);
  }

  // Keep the answers of a tool back until they are released.
  async hold(tool) {
    await request(this.toolPort, '/control/hold', { tool });
  }

  async release() {
    await request(this.toolPort, '/control/release', {});
  }

  // Wait until that tool was called.
  async called(tool) {
    const limit = Date.now() + PATIENCE;
    while (!(await this.toolRuns()).some((run) => JSON.stringify(run).includes(`"${tool}"`))) {
      if (Date.now() > limit) {
        throw new Error(`${tool} was never called`);
      }
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  }

  // A provider nobody is at: connections are refused.
  async deadProvider(name) {
    const { value: port } = await this.#ports.next();
    this.upstream(name, `ws://127.0.0.1:${port}/v1/realtime`);
  }

  // A provider that takes the connection and says nothing.
  async silentProvider(name) {
    const { server, stop } = silentServer();
    this.#stops.push(stop);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.upstream(name, `ws://127.0.0.1:${server.address().port}/v1/realtime`);
  }

  upstream(name, url, key = 'sk-none') {
    writeFileSync(this.path(`${name}.key`), `${key}\n`, { mode: 0o600 });
    this.#upstreams.push({ name, url });
    this.#keys.set(name, `bk-${randomBytes(16).toString('hex')}`);
  }

  // The client key that leads to the upstream of that name.
  key(name) {
    return this.#keys.get(name);
  }

  async gateway() {
    const { value: port } = await this.#ports.next();
    const { value: admin } = await this.#ports.next();
    const upstreams = this.#upstreams.map(({ name, url }) => [
      '[[upstream]]', `name = "${name}"`, `url = "${url}"`, `key = "file:${name}.key"`, 'ca_file = "cert.pem"',
      `connect_timeout = "${CONNECT_TIMEOUT}ms"`, '',
      '[[client_key]]', `name = "${name}"`, `upstream = "${name}"`,
      `sha256 = "${createHash('sha256').update(this.key(name)).digest('hex')}"`, ''].join('\n'));
    writeFileSync(this.path('backchannel.toml'), [
      '[daemon]', 'workers = 1', 'log_level = "debug"', 'drain_timeout = "1s"', '',
      '[[listen]]', 'address = "127.0.0.1"', `port = ${port}`, 'certificate = "cert.pem"', 'key = "key.pem"', '',
      '[admin]', `port = ${admin}`, '', '[auth]', 'mode = "keys"', '', ...upstreams,
      '[speculation]', 'mode = "strict"', '', '[journal]', 'path = "journal.db"', '', this.#tools].join('\n'));
    this.port = port;
    this.admin = admin;
    const ended = await this.#startDaemon();
    await this.#ready(ended);
  }

  async #startDaemon() {
    let over = false;
    const ended = this.#start('backchanneld', ['daemon', 'backchanneld'], ['--config', 'backchannel.toml'], false);
    ended.then(() => { over = true; });
    return () => over;
  }

  async #ready(isOver) {
    const limit = Date.now() + PATIENCE;
    while (Date.now() < limit && !isOver()) {
      const answer = await request(this.admin, '/readyz').catch(() => null);
      if (answer?.status === 200) {
        return;
      }
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    throw new Error(`backchanneld did not become ready: ${readFileSync(this.path('backchanneld.err'), 'utf8')}`);
  }

  // What clients are given as base URL.
  get baseURL() {
    return `https://localhost:${this.port}/v1`;
  }

  get socketURL() {
    return `wss://localhost:${this.port}/v1/realtime`;
  }

  // End everything; a gateway that does not end well is an error.
  async stop() {
    const failures = [];
    for (const { name, process: child, ended } of this.#programs.reverse()) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
      const how = await ended;
      clearTimeout(timer);
      if (name === 'backchanneld' && how !== 0) {
        failures.push(`${name} ended with ${how}: ${readFileSync(this.path(`${name}.err`), 'utf8').slice(-2000)}`);
      }
    }
    this.#programs = [];
    this.#stops.forEach((stop) => stop());
    if (failures.length > 0) {
      throw new Error(failures.join('\n'));
    }
  }
}
