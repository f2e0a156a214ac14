"""What must hold in every scenario, whatever it is about: watched on each event as it comes."""
import json
import re

from ears import Failure, member

OURS = re.compile(r'bc_[A-Za-z0-9_-]{1,29}')  # an id the gateway may choose


def require(condition, what):
    if not condition:
        raise Failure(what)


class ClientEye:
    """What the client may never see: something hidden, an order that is none, two answers at once."""

    def __init__(self, gateway_tools):
        self.gateway_tools = gateway_tools
        self.open = {}  # responses: id -> belongs to the default conversation
        self.items = []  # ids in the order of the conversation
        self.shown = {}  # response -> items it was seen to make
        self.deltas = {}  # item -> how many
        self.texts = {}  # item -> what was said so far
        self.faults = []

    def tap(self, event, text):
        try:
            self.look(event, text)
        except Failure as failure:
            self.faults.append(f'{failure}: {text[:600]}')

    def look(self, event, text):
        if event['type'].startswith('backchannel.'):
            return  # asked for by the client, and about the gateway
        require('"bc_' not in text and '"bc":' not in text, 'a mark of the gateway reached the client')
        for name in self.gateway_tools:
            require(f'"name":"{name}"' not in text.replace(': ', ':') or event['type'] == 'error',
                    f'the gateway tool {name} reached the client')
        kind = event['type']
        if kind == 'response.created':
            self.created(event['response'])
        elif kind == 'response.done':
            self.done(event['response'])
        elif kind.startswith('response.'):
            self.inside(kind, event)
        elif kind in ('conversation.item.added', 'input_audio_buffer.committed'):
            self.placed(event)
        elif kind == 'conversation.item.deleted' and event['item_id'] in self.items:
            self.items.remove(event['item_id'])

    def created(self, response):
        default = response['conversation_id'] is not None
        require(response['id'] not in self.open, 'a response began twice')
        require(not default or not any(self.open.values()), 'a response began while another one was open')
        self.open[response['id']] = default
        self.shown[response['id']] = []

    def done(self, response):
        require(response['id'] in self.open, 'a response ended that was not open')
        del self.open[response['id']]
        ids = [item['id'] for item in response['output']]
        require(set(ids) <= set(self.shown[response['id']]), 'a response ended with items that were not shown')
        require(isinstance(response['usage'], dict) or response['usage'] is None, 'a response ended without usage')

    def inside(self, kind, event):
        response = event['response_id']
        require(response in self.open, 'an event of a response that is not open')
        if kind == 'response.output_item.added':
            self.shown[response].append(event['item']['id'])
        if kind.endswith('.delta') and 'item_id' in event:
            self.deltas[event['item_id']] = self.deltas.get(event['item_id'], 0) + 1
            if 'text' in kind or 'transcript' in kind:
                self.texts[event['item_id']] = self.texts.get(event['item_id'], '') + event['delta']

    def placed(self, event):
        """Behind the item the client knows to be the last, or at the place it asked for."""
        item = member(event, 'item.id') or event.get('item_id')
        previous = event.get('previous_item_id')
        require(previous is None or previous in self.items, 'an item stands behind one the client does not know')
        if item not in self.items:
            self.items.insert(0 if previous is None else self.items.index(previous) + 1, item)


class ProviderEye:
    """What the gateway may never send: a second output, an answer asked for beside another, an id that is no id."""

    def __init__(self):
        self.outputs = {}  # call id -> how many
        self.calls = {}  # complete calls of the default conversation: call id -> name
        self.event_ids = set()
        self.faults = []

    def tap(self, event, text):
        try:
            self.look(event)
        except Failure as failure:
            self.faults.append(f'{failure}: {text[:600]}')

    def look(self, event):
        identifier = event.get('event_id')
        if isinstance(identifier, str) and identifier.startswith('bc_'):
            require(OURS.fullmatch(identifier), 'an event id that providers refuse')
            require(identifier not in self.event_ids, 'an event id was used twice')
            self.event_ids.add(identifier)
        if event['type'] == 'conversation.item.create':
            item = event['item']
            require(not str(item.get('id', '')).startswith('bc_') or OURS.fullmatch(item['id']),
                    'an item id that providers refuse')
            if item['type'] == 'function_call_output':
                self.output(item['call_id'])
            elif item['type'] == 'function_call':
                self.put_in(item)

    def output(self, call_id):
        self.outputs[call_id] = self.outputs.get(call_id, 0) + 1
        require(self.outputs[call_id] == 1, 'a second output for one call')
        require(call_id in self.calls, 'an output for a call that nobody made')

    def put_in(self, item):
        require(OURS.fullmatch(item['call_id']), 'a call id that providers refuse')
        self.calls[item['call_id']] = item['name']

    def missing(self, gateway_tools):
        return [call_id for call_id, name in self.calls.items() if name in gateway_tools and call_id not in self.outputs]


def same_text(actual, expected):
    """Whether a tool's output is what the script says: JSON by value, text as it is."""
    if isinstance(expected, str):
        return actual == expected
    try:
        return json.loads(actual) == expected
    except ValueError:
        return False
