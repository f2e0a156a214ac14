// The tests of a Realtime class of the openai package; both classes have the same face.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import OpenAI from 'openai';
import { CLIENT_TOOL, DIALOGUE, GATEWAY_TOOLS, TURN, TURNS } from './dialogue.mjs';
import { CONNECT_TIMEOUT, World, test } from './harness.mjs';
import { Ledger, calls, spoken } from './ledger.mjs';
import { speak } from './speech.mjs';

const SLACK = 10_000; // milliseconds a loaded machine may take beyond the configured time

const OPEN = 1; // readyState of a WebSocket

// One connection: the SDK's object, what it received, what went wrong, how it ended.
export class Connection {
  ledger = new Ledger();
  errors = new Ledger();

  constructor(Realtime, world, key, model = DIALOGUE) {
    const client = new OpenAI({ apiKey: key, baseURL: world.baseURL });
    this.started = Date.now();
    this.realtime = new Realtime({ model }, client);
    this.realtime.on('event', (event) => this.ledger.take(event));
    this.realtime.on('error', (error) => this.errors.take({ type: error.error?.code ?? 'transport', error }));
    this.closed = new Promise((resolve) => {
      this.realtime.socket.addEventListener('close', ({ code, reason }) => resolve({ code, reason }));
    });
  }

  send(event) {
    this.realtime.send(event);
  }

  speak(turn) {
    return speak(turn, TURNS[turn].user, (chunk) =>
      this.send({ type: 'input_audio_buffer.append', audio: chunk.toString('base64') }));
  }

  say(text) {
    this.send({ type: 'conversation.item.create',
                item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] } });
  }

  responseDone(from) {
    return this.ledger.waitForType('response.done', from);
  }

  async hangUp() {
    this.realtime.close();
    await this.closed;
  }
}

// A session with the client's own tool.
async function begin(Realtime, world) {
  const connection = new Connection(Realtime, world, world.key('simulated'));
  await connection.ledger.waitForType('session.created');
  const { name, description, parameters } = CLIENT_TOOL;
  connection.send({ type: 'session.update', session: {
    type: 'realtime', instructions: 'You help with telephone bills.',
    tools: [{ type: 'function', name, description, parameters }] } });
  const { session } = await connection.ledger.waitForType('session.updated');
  assert.deepEqual(session.tools.map((tool) => tool.name), [name], 'the client is shown its own tools');
  return connection;
}

async function finish(connection) {
  await connection.hangUp();
  assert.deepEqual(connection.errors.events, []);
  connection.ledger.checkSession(GATEWAY_TOOLS);
}

function answerCall(connection, call) {
  connection.send({ type: 'conversation.item.create',
                    item: { type: 'function_call_output', call_id: call.call_id, output: '{"shown":true}' } });
  connection.send({ type: 'response.create' });
}

async function toolRan(world, name) {
  assert.ok((await world.toolRuns()).some((run) => JSON.stringify(run).includes(`"${name}"`)), `${name} was not run`);
}

function callTests(context) {
  test('a spoken turn with a gateway tool', async () => {
    const connection = await begin(context.Realtime, context.world);
    await connection.speak(TURN.GATEWAY);
    const done = await connection.responseDone();
    assert.equal(done.response.status, 'completed');
    assert.equal(spoken(done), TURNS[TURN.GATEWAY].reply);
    await finish(connection);
    assert.equal(connection.ledger.all('response.created').length, 1, 'the client sees one response');
    assert.ok(connection.ledger.all('response.output_audio.delta').length > 0);
    const order = ['input_audio_buffer.speech_started', 'input_audio_buffer.speech_stopped',
                   'input_audio_buffer.committed', 'conversation.item.added', 'conversation.item.done',
                   'response.created', 'response.output_item.added', 'conversation.item.added'];
    assert.deepEqual(connection.ledger.events.map((event) => event.type)
      .filter((type) => order.includes(type)).slice(0, order.length), order);
    await toolRan(context.world, 'get_balance');
  });

  test('a spoken turn with a client tool', async () => {
    const connection = await begin(context.Realtime, context.world);
    await connection.speak(TURN.CLIENT);
    const [call] = calls(await connection.responseDone());
    assert.equal(call.name, CLIENT_TOOL.name);
    assert.deepEqual(JSON.parse(call.arguments), { page: 'bill' });
    const from = connection.ledger.length;
    answerCall(connection, call);
    assert.equal(spoken(await connection.responseDone(from)), TURNS[TURN.CLIENT].reply);
    await finish(connection);
    assert.equal(connection.ledger.all('response.created').length, 2);
  });

  test('one response with a client tool and a gateway tool', async () => {
    const connection = await begin(context.Realtime, context.world);
    await connection.speak(TURN.BOTH);
    const first = await connection.responseDone();
    assert.deepEqual(calls(first).map((call) => call.name), [CLIENT_TOOL.name]);
    const from = connection.ledger.length;
    answerCall(connection, calls(first)[0]);
    assert.equal(spoken(await connection.responseDone(from)), TURNS[TURN.BOTH].reply);
    await finish(connection);
    assert.equal(connection.ledger.all('response.created').length, 2);
    await toolRan(context.world, 'get_tariff');
  });

  test('a typed turn with a gateway tool, answered in text', async () => {
    const connection = await begin(context.Realtime, context.world);
    connection.say(TURNS[TURN.TYPED].user);
    connection.send({ type: 'response.create', response: { output_modalities: ['text'],
                                                           metadata: { purpose: 'typed' } } });
    const done = await connection.responseDone();
    assert.equal(spoken(done), TURNS[TURN.TYPED].reply);
    assert.deepEqual(done.response.metadata, { purpose: 'typed' });
    await finish(connection);
    const created = connection.ledger.all('response.created');
    assert.deepEqual(created.map((event) => event.response.metadata), [{ purpose: 'typed' }],
                     'the response the client asked for, and no other');
    assert.equal(connection.ledger.all('response.output_text.done')[0].text, TURNS[TURN.TYPED].reply);
    await toolRan(context.world, 'get_usage');
  });

  test('a typed turn of a client that has opted in to give its words early', async () => {
    const connection = await begin(context.Realtime, context.world);
    const { user, reply } = TURNS[TURN.TYPED];
    const before = (await context.world.toolRuns()).length;
    connection.send({ type: 'backchannel.hello', events: ['backchannel.tool_call.speculated',
                                                          'backchannel.tool_call.committed'] });
    await connection.ledger.waitForType('backchannel.welcome');
    connection.send({ type: 'backchannel.input_text.partial', revision: 1, text: user.slice(0, 12) });
    connection.send({ type: 'backchannel.input_text.final', revision: 2, text: user });
    const speculated = await connection.ledger.waitForType('backchannel.tool_call.speculated');
    assert.deepEqual([speculated.tool, speculated.arguments], ['get_usage', { account: '2093' }]);
    connection.say(user);
    connection.send({ type: 'response.create', response: { output_modalities: ['text'] } });
    assert.equal(spoken(await connection.responseDone()), reply);
    const committed = await connection.ledger.waitForType('backchannel.tool_call.committed');
    assert.equal(committed.call, speculated.call);
    await connection.hangUp();
    assert.deepEqual(connection.errors.events, []);
    assert.equal(connection.ledger.all('response.output_text.done')[0].text, reply);
    assert.equal((await context.world.toolRuns()).length, before + 1, 'the guess is the call');
  });

  test('the caller breaks in and the client truncates', async () => {
    const connection = await begin(context.Realtime, context.world);
    await connection.speak(TURN.LONG);
    const { item_id: item } = await connection.ledger.waitForType('response.output_audio.delta');
    const from = connection.ledger.length;
    const speaking = connection.speak(TURN.STOP);
    await connection.ledger.waitForType('input_audio_buffer.speech_started', from);
    connection.send({ type: 'conversation.item.truncate', item_id: item, content_index: 0, audio_end_ms: 100 });
    const cut = await connection.responseDone(from);
    assert.equal(cut.response.status, 'cancelled');
    assert.equal(cut.response.status_details.reason, 'turn_detected');
    const truncated = await connection.ledger.waitForType('conversation.item.truncated', from);
    assert.equal(truncated.item_id, item);
    assert.equal(truncated.audio_end_ms, 100);
    await speaking;
    const next = connection.ledger.events.indexOf(cut) + 1;
    assert.equal(spoken(await connection.responseDone(next)), TURNS[TURN.STOP].reply);
    await finish(connection);
  });
}

function failureTests(context) {
  test('a wrong key is refused', async () => {
    const connection = new Connection(context.Realtime, context.world, 'bk-wrong');
    const { error } = await connection.errors.waitFor('an error', () => true);
    context.judgeRefusal(error);
    assert.notEqual(connection.realtime.socket.readyState, OPEN);
    assert.equal(connection.ledger.length, 0);
  });

  // Each: the upstream, the error's code, the close code, milliseconds until then.
  for (const [upstream, code, closeCode, limit] of [
    ['dead', 'upstream_unavailable', 1013, CONNECT_TIMEOUT],
    ['silent', 'upstream_timeout', 1013, CONNECT_TIMEOUT],
    ['refusing', 'upstream_refused', 4003, CONNECT_TIMEOUT],
  ]) {
    test(`a provider that is ${upstream}: ${code}, closed with ${closeCode}`, async () => {
      const connection = new Connection(context.Realtime, context.world, context.world.key(upstream));
      const closed = await connection.closed;
      assert.equal(closed.code, closeCode);
      assert.ok(Date.now() - connection.started < limit + SLACK);
      assert.deepEqual(connection.ledger.events.map((event) => [event.type, event.error?.code]), [['error', code]]);
      const [event] = connection.ledger.events;
      assert.equal(typeof event.event_id, 'string');
      assert.ok(event.error.message.length > 0);
      assert.equal(connection.errors.events[0].error.error.code, code, 'the SDK reports it as an error of the API');
    });
  }

  test('a provider that vanishes in the middle of an answer', async () => {
    const connection = new Connection(context.Realtime, context.world, context.world.key('vanishing'));
    await connection.ledger.waitForType('session.created');
    await connection.speak(TURN.LONG);
    await connection.ledger.waitForType('response.output_audio.delta');
    context.world.kill('vanishing');
    assert.equal((await connection.closed).code, 1013);
    const done = await connection.responseDone();
    assert.equal(done.response.status, 'failed');
    assert.equal(connection.ledger.events.at(-1).error.code, 'upstream_lost');
    assert.equal(connection.ledger.all('response.created').length, 1);
    assert.equal(connection.ledger.all('response.done').length, 1);
  });
}

// judgeRefusal: whether the class's error about a 401 is as clear as the class can be.
export function openaiTests(Realtime, judgeRefusal) {
  const context = { Realtime, judgeRefusal, world: new World() };
  const { world } = context;

  before(async () => {
    await world.provider('simulated');
    await world.provider('refusing', '--refuse', '401');
    await world.provider('vanishing');
    await world.deadProvider('dead');
    await world.silentProvider('silent');
    await world.tools();
    await world.gateway();
  });
  after(() => world.stop());
  callTests(context);
  failureTests(context);
}
