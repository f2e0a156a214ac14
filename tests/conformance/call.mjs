import assert from 'node:assert/strict';
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { CLIENT_TOOL, DIALOGUE, GATEWAY_TOOLS, TURNS } from './dialogue.mjs';
import { Ledger, spoken } from './ledger.mjs';
import { speak } from './speech.mjs';

// One session of @openai/agents-realtime: the SDK's objects, what it received, what it reported.
export class Call {
  ledger = new Ledger();
  reports = new Ledger(); // of the SDK: tools it ran, interruptions, errors
  shown = []; // pages the client's tool was asked for

  constructor(world) {
    this.world = world;
    const agent = new RealtimeAgent({
      name: 'helper',
      instructions: 'You help with telephone bills.',
      tools: [tool({
        name: CLIENT_TOOL.name,
        description: CLIENT_TOOL.description,
        parameters: CLIENT_TOOL.parameters,
        strict: false,
        execute: ({ page }) => {
          this.shown.push(page);
          return '{"shown":true}';
        },
      })],
    });
    this.session = new RealtimeSession(agent, { transport: 'websocket', model: DIALOGUE, tracingDisabled: true });
    const { transport } = this.session;
    transport.on('*', (event) => this.ledger.take(event));
    for (const type of ['agent_tool_start', 'audio_interrupted', 'error']) {
      this.session.on(type, (...details) => this.reports.take({ type, details }));
    }
    this.closed = new Promise((resolve) => {
      transport.on('connection_change', () => {
        transport.connectionState.websocket?.addEventListener('close', ({ code }) => resolve(code));
      });
    });
  }

  // Connect as the client whose key leads to that upstream, and wait until the SDK has configured the session.
  async begin(upstream = 'simulated') {
    await this.connect(this.world.key(upstream));
    await this.ledger.waitFor('the session with its tool', (event) => event.type === 'session.updated' &&
      event.session.tools?.some(({ name }) => name === CLIENT_TOOL.name));
  }

  connect(key) {
    this.started = Date.now();
    return this.session.connect({ apiKey: key, url: `${this.world.socketURL}?model=${DIALOGUE}` });
  }

  speak(turn) {
    return speak(turn, TURNS[turn].user, (chunk) =>
      this.session.sendAudio(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.length)));
  }

  // The end of the response that says this.
  answer(turn) {
    return this.ledger.waitFor(`the answer of turn ${turn}`, (event) => event.type === 'response.done' &&
      spoken(event) === TURNS[turn].reply);
  }

  async finish() {
    this.session.close();
    await this.closed;
    assert.deepEqual(this.reports.all('error'), []);
    this.ledger.checkSession(GATEWAY_TOOLS);
    // The SDK's own picture of the conversation.
    for (const item of this.session.history) {
      assert.ok(!item.itemId.startsWith('bc_') && !GATEWAY_TOOLS.includes(item.name), JSON.stringify(item));
    }
  }
}
