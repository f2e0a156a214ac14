// An independent mock of the Realtime API as the provider, so that our own simulator is not the only judge.
//
// It speaks text only, knows no voice activity detection, echoes no metadata and announces no item of its own
// with conversation.item.added: a provider leaner than the documented one, which the gateway must bear.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { CLIENT_TOOL, GATEWAY_TOOLS, TURN, TURNS } from './dialogue.mjs';
import { World, test } from './harness.mjs';
import { calls, spoken } from './ledger.mjs';
import { Connection } from './openai_suite.mjs';

// Its CommonJS form loads on Node 18, too.
const { LLMock } = createRequire(import.meta.url)('@copilotkit/aimock');

const world = new World();
const mock = new LLMock({ port: 0, logLevel: 'silent' });

function toolCalls(turn) {
  return TURNS[turn].calls.map(({ name, args }, i) => ({
    id: `call_${turn}_${i}`, name, arguments: JSON.stringify(args) }));
}

// What the mock answers: the calls of a turn, then what is said once their outputs are there.
function script(turn) {
  const userMessage = TURNS[turn].user;
  if (TURNS[turn].calls.length > 0) {
    mock.on({ userMessage, hasToolResult: false }, { toolCalls: toolCalls(turn) });
  }
  mock.on({ userMessage }, { content: TURNS[turn].reply });
}

before(async () => {
  [TURN.GATEWAY, TURN.CLIENT, TURN.BOTH, TURN.STOP].forEach(script);
  await mock.start();
  world.upstream('aimock', `${mock.url.replace('http', 'ws')}/v1/realtime`);
  await world.tools();
  await world.gateway();
});
after(async () => {
  await world.stop();
  await mock.stop();
});

async function begin() {
  const connection = new Connection(OpenAIRealtimeWS, world, world.key('aimock'), 'gpt-realtime');
  await connection.ledger.waitForType('session.created');
  const { name, description, parameters } = CLIENT_TOOL;
  connection.send({ type: 'session.update', session: {
    type: 'realtime', output_modalities: ['text'], tools: [{ type: 'function', name, description, parameters }] } });
  const { session } = await connection.ledger.waitForType('session.updated');
  assert.deepEqual(session.tools.map((tool) => tool.name), [name]);
  return connection;
}

async function ask(connection, turn, response = {}) {
  const from = connection.ledger.length;
  connection.say(TURNS[turn].user);
  connection.send({ type: 'response.create', response });
  return connection.responseDone(from);
}

async function finish(connection) {
  await connection.hangUp();
  assert.deepEqual(connection.errors.events, []);
  connection.ledger.checkSession(GATEWAY_TOOLS);
}

// What the provider was told of the outputs of tools.
function outputs() {
  return mock.getRequests().flatMap(({ body }) => body?.messages ?? [])
    .filter((message) => message.role === 'tool').map((message) => message.content);
}

test('a text turn', async () => {
  const connection = await begin();
  assert.equal(spoken(await ask(connection, TURN.STOP)), TURNS[TURN.STOP].reply);
  await finish(connection);
  assert.equal(connection.ledger.all('response.created').length, 1);
});

test('a turn with a gateway tool', async () => {
  const connection = await begin();
  assert.equal(spoken(await ask(connection, TURN.GATEWAY)), TURNS[TURN.GATEWAY].reply);
  await finish(connection);
  assert.equal(connection.ledger.all('response.created').length, 1);
  assert.ok(outputs().some((output) => output.includes('"owed":31')), 'the provider was given the result');
});

for (const [what, turn] of [['a client tool', TURN.CLIENT], ['a client tool and a gateway tool', TURN.BOTH]]) {
  test(`a turn with ${what}`, async () => {
    const connection = await begin();
    const [call, ...others] = calls(await ask(connection, turn));
    assert.equal(call.name, CLIENT_TOOL.name);
    assert.deepEqual(others, []);
    const from = connection.ledger.length;
    connection.send({ type: 'conversation.item.create',
                      item: { type: 'function_call_output', call_id: call.call_id, output: '{"shown":true}' } });
    connection.send({ type: 'response.create' });
    assert.equal(spoken(await connection.responseDone(from)), TURNS[turn].reply);
    await finish(connection);
    assert.equal(connection.ledger.all('response.created').length, 2);
  });
}

test('two turns with a gateway tool in one session', async () => {
  const connection = await begin();
  for (const turn of [TURN.GATEWAY, TURN.STOP, TURN.GATEWAY]) {
    const metadata = { purpose: `turn ${turn}` }; // which the mock does not send back
    assert.equal(spoken(await ask(connection, turn, { metadata })), TURNS[turn].reply);
  }
  await finish(connection);
  assert.equal(connection.ledger.all('response.created').length, 3);
});
