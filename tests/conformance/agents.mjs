// @openai/agents-realtime: a RealtimeSession over its WebSocket transport, which runs the client's tools itself.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './call.mjs';
import { CLIENT_TOOL, TURN, TURNS } from './dialogue.mjs';
import { CONNECT_TIMEOUT, World, test } from './harness.mjs';
import { calls } from './ledger.mjs';

const SLACK = 10_000; // milliseconds a loaded machine may take beyond the configured time

const world = new World();

async function toolRan(name) {
  assert.ok((await world.toolRuns()).some((run) => JSON.stringify(run).includes(`"${name}"`)), `${name} was not run`);
}

before(async () => {
  await world.provider('simulated');
  await world.provider('refusing', '--refuse', '401');
  await world.deadProvider('dead');
  await world.silentProvider('silent');
  await world.tools();
  await world.gateway();
});
after(() => world.stop());

test('a spoken turn with a gateway tool', async () => {
  const call = new Call(world);
  await call.begin();
  await call.speak(TURN.GATEWAY);
  await call.answer(TURN.GATEWAY);
  await call.finish();
  assert.equal(call.ledger.all('response.created').length, 1);
  assert.deepEqual(call.session.history.map((item) => item.role), ['user', 'assistant']);
  assert.equal(call.session.history[1].content[0].transcript, TURNS[TURN.GATEWAY].reply);
  await toolRan('get_balance');
});

test('a spoken turn with a client tool', async () => {
  const call = new Call(world);
  await call.begin();
  await call.speak(TURN.CLIENT);
  await call.answer(TURN.CLIENT);
  await call.finish();
  assert.deepEqual(call.shown, ['bill']);
  assert.equal(call.ledger.all('response.created').length, 2);
});

test('one response with a client tool and a gateway tool', async () => {
  const call = new Call(world);
  await call.begin();
  await call.speak(TURN.BOTH);
  await call.answer(TURN.BOTH);
  await call.finish();
  assert.deepEqual(call.shown, ['tariff']);
  const done = call.ledger.all('response.done');
  assert.deepEqual(calls(done[0]).map(({ name }) => name), [CLIENT_TOOL.name]);
  assert.equal(done.length, 2);
  await toolRan('get_tariff');
});

test('a typed turn with a gateway tool', async () => {
  const call = new Call(world);
  await call.begin();
  call.session.sendMessage(TURNS[TURN.TYPED].user);
  await call.answer(TURN.TYPED);
  await call.finish();
  assert.equal(call.ledger.all('response.created').length, 1);
  await toolRan('get_usage');
});

test('turns with and without tools in one session', async () => {
  const call = new Call(world);
  await call.begin();
  for (const turn of [TURN.GATEWAY, TURN.CLIENT, TURN.BOTH]) {
    await call.speak(turn);
    await call.answer(turn);
  }
  call.session.sendMessage(TURNS[TURN.TYPED].user);
  await call.answer(TURN.TYPED);
  await call.finish();
  assert.deepEqual(call.shown, ['bill', 'tariff']);
  assert.equal(call.ledger.all('response.created').length, 6);
});

test('the caller breaks in and the SDK truncates', async () => {
  const call = new Call(world);
  await call.begin();
  await call.speak(TURN.LONG);
  const { item_id: item } = await call.ledger.waitForType('response.output_audio.delta');
  const from = call.ledger.length;
  await call.speak(TURN.STOP);
  const cut = await call.ledger.waitForType('response.done', from);
  assert.equal(cut.response.status, 'cancelled');
  assert.equal((await call.ledger.waitForType('conversation.item.truncated', from)).item_id, item);
  await call.reports.waitForType('audio_interrupted');
  // The SDK asks for the item again after it was cut.
  assert.equal((await call.ledger.waitForType('conversation.item.retrieved', from)).item.id, item);
  await call.answer(TURN.STOP);
  await call.finish();
});

test('a wrong key is refused', async () => {
  const call = new Call(world);
  await assert.rejects(call.connect('bk-wrong'), (error) => /401/.test(error.message));
  assert.equal(call.ledger.length, 0);
  assert.equal(call.session.transport.status, 'disconnected');
});

// Each: the upstream, the error's code, the close code.
for (const [upstream, code, closeCode] of [
  ['dead', 'upstream_unavailable', 1013],
  ['silent', 'upstream_timeout', 1013],
  ['refusing', 'upstream_refused', 4003],
]) {
  test(`a provider that is ${upstream}: ${code}, closed with ${closeCode}`, async () => {
    const call = new Call(world);
    await call.connect(world.key(upstream));
    assert.equal(await call.closed, closeCode);
    assert.ok(Date.now() - call.started < CONNECT_TIMEOUT + SLACK);
    assert.deepEqual(call.ledger.events.filter((event) => event.type === 'error')
      .map((event) => event.error.code), [code]);
    assert.equal(call.reports.all('error').length, 1, 'the SDK reports it');
  });
}
