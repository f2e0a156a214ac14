// What is said in these tests: a dialogue for provider and tool server, in the format of tests/world.

export const DIALOGUE = 'conformance-1';

// Which tools the gateway runs; the others are the client's own.
export const GATEWAY_TOOLS = ['get_balance', 'get_tariff', 'get_usage'];

const ACCOUNT = {
  type: 'object',
  properties: { account: { type: 'string', description: 'Account number, digits only.' } },
  required: ['account'],
  additionalProperties: false,
};

const PAGE = {
  type: 'object',
  properties: { page: { type: 'string', description: 'Name of the page.' } },
  required: ['page'],
  additionalProperties: false,
};

export const TOOLS = [
  { name: 'get_balance', description: 'What a customer owes.', parameters: ACCOUNT, read_only: true, inverse: null },
  { name: 'get_tariff', description: "A customer's tariff.", parameters: ACCOUNT, read_only: true, inverse: null },
  { name: 'get_usage', description: 'Data used this month.', parameters: ACCOUNT, read_only: true, inverse: null },
  { name: 'show_page', description: "Shows a page on the caller's screen.", parameters: PAGE, read_only: true,
    inverse: null },
];

export const CLIENT_TOOL = TOOLS.find((tool) => tool.name === 'show_page');

// Turns by what they need.
export const TURN = { GATEWAY: 0, CLIENT: 1, BOTH: 2, LONG: 3, STOP: 4, TYPED: 5 };

function call(name, args, result, words) {
  return { name, args, result, read_only: true, depends_on: [], order_after: [], intent_word: words, ready: words,
           ready_clause: words, arg_word: {} };
}

function turn(user, calls, reply) {
  const words = user.split(' ').length;
  return { user, words, reply, calls: calls.map(([name, args, result]) => call(name, args, result, words)) };
}

const account = { account: '2093' };
// Long enough to be still going on when the caller breaks in.
const story = `Once upon a time ${'there was a little account that grew and grew '.repeat(40)}until the end.`;

export const TURNS = [
  turn('What do I owe on account two zero nine three?', [['get_balance', account, { owed: 31 }]],
       'You owe thirty one pounds.'),
  turn('Please show the bill on my screen.', [['show_page', { page: 'bill' }, { shown: true }]], 'There it is.'),
  turn('Tell me my tariff and show the page for it.',
       [['get_tariff', account, { tariff: 'Small' }], ['show_page', { page: 'tariff' }, { shown: true }]],
       'You are on Small, and its page is open.'),
  turn('Tell me a story about my account.', [], story),
  turn('Stop, that is enough.', [], 'As you wish.'),
  turn('And how much data have I used?', [['get_usage', account, { used_gb: 9 }]], 'Nine gigabytes.'),
];

export const dialogueLine = `${JSON.stringify({
  id: DIALOGUE, source: 'Backchannel', licence: 'Apache-2.0', tools: TOOLS, turns: TURNS })}\n`;
