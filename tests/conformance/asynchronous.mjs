// @openai/agents-realtime while tools of the gateway take their time: each answer is kept back until the test lets it go.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './call.mjs';
import { TURN } from './dialogue.mjs';
import { World, test } from './harness.mjs';
import { spoken } from './ledger.mjs';

const FRAMES = 100; // of 20 ms
const SILENCE = Buffer.alloc(960);

const world = new World();

before(async () => {
  await world.provider('simulated');
  await world.tools();
  await world.gateway();
});
after(() => world.stop());

test('audio goes on while a tool runs, and its result is told once', async () => {
  const call = new Call(world);
  await call.begin();
  await world.hold('get_balance');
  await call.speak(TURN.GATEWAY);
  await world.called('get_balance');
  for (let i = 0; i < FRAMES; i++) {
    call.session.sendAudio(SILENCE.buffer.slice(SILENCE.byteOffset, SILENCE.byteOffset + SILENCE.length));
  }
  // The answer to this comes behind all that: nothing was told before the tool has answered.
  const from = call.ledger.length;
  call.session.transport.sendEvent({ type: 'conversation.item.retrieve', item_id: 'nobody' });
  await call.ledger.waitForType('error', from);
  assert.deepEqual(call.ledger.all('response.created'), []);
  await world.release();
  await call.answer(TURN.GATEWAY);
  call.reports.events.length = 0; // the error was ours
  await call.finish();
  assert.equal(call.ledger.all('response.done').length, 1);
});

test("the SDK's request behind its own tool waits for the gateway's", async () => {
  const call = new Call(world);
  await call.begin();
  await world.hold('get_tariff');
  await call.speak(TURN.BOTH);
  await world.called('get_tariff');
  // The SDK has run its tool, answered, and asked for a response.
  await call.ledger.waitFor('the output of the SDK', (event) => event.type === 'conversation.item.added' &&
    event.item.type === 'function_call_output');
  const from = call.ledger.length;
  call.session.transport.sendEvent({ type: 'conversation.item.retrieve', item_id: 'nobody' });
  await call.ledger.waitForType('error', from);
  assert.equal(call.ledger.all('response.created').length, 1);
  await world.release();
  await call.answer(TURN.BOTH);
  call.reports.events.length = 0; // the error was ours
  await call.finish();
  const done = call.ledger.all('response.done');
  assert.equal(done.length, 2);
  assert.equal(spoken(done[0]), '');
});
