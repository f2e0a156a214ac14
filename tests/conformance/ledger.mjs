// The events a client has received: waits for them, and judges whether they are what a provider may send.
import assert from 'node:assert/strict';

const PATIENCE = 30_000; // milliseconds; no test depends on how fast the machine is

export class Ledger {
  events = [];
  #waiting = new Set();

  take(event) {
    this.events.push(event);
    for (const waiting of this.#waiting) {
      waiting();
    }
  }

  // The first event behind position `from` that fits; what names it in the error when none comes.
  waitFor(what, fits, from = 0) {
    let next = from;
    return new Promise((resolve, reject) => {
      const look = () => {
        for (; next < this.events.length; next++) {
          if (fits(this.events[next])) {
            done(() => resolve(this.events[next]));
            return;
          }
        }
      };
      const timer = setTimeout(() => {
        const seen = this.events.slice(from).map((event) => event.type).slice(-30).join(' ');
        done(() => reject(new Error(`waited in vain for ${what}; events: ${seen}`)));
      }, PATIENCE);
      const done = (act) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        act();
      };
      this.#waiting.add(look);
      look();
    });
  }

  waitForType(type, from = 0) {
    return this.waitFor(type, (event) => event.type === type, from);
  }

  all(type, from = 0) {
    return this.events.slice(from).filter((event) => event.type === type);
  }

  get length() {
    return this.events.length;
  }

  // Whether the whole session could have come from a provider that knows no hidden tool.
  checkSession(hiddenTools) {
    assert.equal(this.events[0].type, 'session.created');
    for (const event of this.events) {
      const text = JSON.stringify(event);
      assert.ok(!text.includes('"bc_'), `an id of the gateway reached the client: ${text}`);
      for (const name of hiddenTools) {
        assert.ok(!text.includes(`"${name}"`), `the gateway's tool ${name} reached the client: ${text}`);
      }
    }
    this.#checkResponses();
    this.#checkChain();
  }

  // Every response has one beginning and one end, and nothing of it lies outside; one at a time.
  #checkResponses() {
    const ended = new Set();
    let open = null;
    for (const event of this.events) {
      if (event.type === 'response.created') {
        assert.equal(open, null, 'a response began within another');
        assert.ok(!ended.has(event.response.id), 'a response began twice');
        open = new ResponseLedger(event.response);
      } else if (event.type === 'response.done') {
        assert.equal(event.response.id, open?.id, 'response.done without its response.created');
        open.end(event.response);
        ended.add(open.id);
        open = null;
      } else if (event.response_id !== undefined) {
        assert.equal(event.response_id, open?.id, `${event.type} outside its response`);
        open.take(event);
      }
    }
    assert.equal(open, null, 'a response has no response.done');
  }

  // Each item follows one the client knows.
  #checkChain() {
    const known = new Set();
    for (const event of this.events) {
      if (!['conversation.item.added', 'conversation.item.done', 'input_audio_buffer.committed'].includes(event.type)) {
        continue;
      }
      const previous = event.previous_item_id ?? null;
      assert.ok(previous === null || known.has(previous), `${event.type} follows an item nobody has seen: ${previous}`);
      known.add(event.item_id ?? event.item.id);
    }
  }
}

class ResponseLedger {
  #items = new Map(); // id to state

  constructor(response) {
    this.id = response.id;
  }

  take(event) {
    const id = event.item_id ?? event.item.id;
    const state = this.#items.get(id);
    if (event.type === 'response.output_item.added') {
      assert.equal(state, undefined, 'an output item was added twice');
      this.#items.set(id, 'open');
      return;
    }
    assert.equal(state, 'open', `${event.type} of an item that is not open`);
    if (event.type === 'response.output_item.done') {
      this.#items.set(id, 'done');
    }
  }

  end(response) {
    assert.ok(['completed', 'cancelled'].includes(response.status), `a response ended ${response.status}`);
    assert.deepEqual(response.output.map((item) => item.id), [...this.#items.keys()],
                     'response.done lists other items than the response had');
    assert.deepEqual([...this.#items.values()].filter((state) => state !== 'done'), [], 'an item has no done');
    assert.equal(typeof response.usage?.total_tokens, 'number', 'response.done has no usage');
  }
}

// What the assistant said in a finished response.
export function spoken(done) {
  return done.response.output.flatMap((item) => item.content ?? [])
    .map((part) => part.transcript ?? part.text).join(' ');
}

// The client calls of a finished response.
export function calls(done) {
  return done.response.output.filter((item) => item.type === 'function_call');
}
