"""The actors of a scenario.  Each verb of a script is a method: says_X what an actor does, gets_X what it must see next.

A verb of the provider is done by the script in its place, or, where the simulated provider plays, is what that one must
be seen to do: the same line reads the same either way.
"""
import base64
import json
import socket
import struct
import time

from ears import CLOSED, Ear, Failure, assign, matches, member
from eyes import ClientEye, ProviderEye, require, same_text
from language import BadScript
from stage import REASONER

FRAME_MS = 20
VOICE = base64.b64encode(struct.pack('<480h', *[8000 if i // 30 % 2 else -8000 for i in range(480)])).decode()
SILENCE = base64.b64encode(bytes(960)).decode()
SOUND = base64.b64encode(bytes(480)).decode()  # what a scripted provider says

# Of an item, what is said about it beside its deltas.
ABOUT = ('item_id', 'item.id')


def item_of(event):
    return next((member(event, path) for path in ABOUT if member(event, path)), None)


def is_folded(kind):
    """Events whose number means nothing, or that may come at any time."""
    return kind.endswith('.delta') or 'transcription' in kind


class Actor:
    """One end of the session: its connection and what came over it."""

    def __init__(self, play, peer, name):
        self.play, self.peer, self.name = play, peer, name
        self.ear = Ear(peer, name, play.trace)

    def send(self, event):
        self.play.note(self.name, event)
        self.peer.send(json.dumps(event))

    def next(self):
        """The next event that is not folded."""
        while True:
            event = self.ear.next()
            if not is_folded(event['type']) and event['type'] not in self.play.ignored:
                return event

    def take(self, kind, options=None, below=''):
        """The next event, of that type, with these members."""
        event = self.next()
        require(event['type'] == kind, f'the {self.name} got {event["type"]} in place of {kind}: {event}')
        self.check(event, options or {}, below)
        return event

    def check(self, event, options, below=''):
        for path, expected in options.items():
            actual = member(event, below + path)
            require(matches(actual, expected), f'{below + path} is {actual!r}, not {expected!r}, in {event}')

    def close(self, code):
        event = self.next()
        require(event['type'] == CLOSED and code in (None, event['code']),
                f'the {self.name} got {event} in place of a close with {code}')

    def gets_nothing(self, _):
        self.play.settle()
        while not self.ear.is_silent():
            event = self.ear.next()
            require(is_folded(event['type']) or event['type'] in self.play.ignored,
                    f'the {self.name} got {event} and should have got nothing')

    def gets_event(self, line):
        self.take(line.words[1], line.options)

    def gets_close(self, line):
        self.close(int(line.word(1)) if line.word(1) else None)


class Client(Actor):
    def __init__(self, play, peer, gateway_tools):
        super().__init__(play, peer, 'client')
        self.eye = ClientEye(gateway_tools)
        self.ear.taps.append(self.eye.tap)
        self.told = {}  # item -> how many of the provider's events about it were looked at

    # ---- does ----

    def says(self, line):
        event = {'type': line.word(0)}
        for path, value in line.options.items():
            assign(event, path, value)
        self.send(event)

    def writes(self, line):
        name, text = line.word(0), line.body
        item = {'id': name, 'type': 'message', 'role': 'user', 'content': [{'type': 'input_text', 'text': text}]}
        event = {'type': 'conversation.item.create', 'item': item}
        if line.after('after'):
            event['previous_item_id'] = self.play.identity(line.after('after'))
        self.send(event)

    def asks(self, line):
        response = {}
        for path, value in line.options.items():
            assign(response, path, value)
        event = {'type': 'response.create', 'event_id': line.word(0)}
        if response:
            event['response'] = response
        self.play.names[line.word(0)] = line.word(0)
        self.send(event)

    def cancels(self, line):
        event = {'type': 'response.cancel'}
        if line.words and line.word(0) != 'as':
            event['response_id'] = self.play.identity(line.word(0))
        if line.after('as'):
            event['event_id'] = line.after('as')
        self.send(event)

    def answers(self, line):
        item = {'type': 'function_call_output', 'call_id': self.play.call_id(line.word(0)),
                'output': line.body if isinstance(line.body, str) else json.dumps(line.body)}
        self.send({'type': 'conversation.item.create', 'item': item})

    def speaks(self, line):
        self.sound(VOICE, line)

    def pauses(self, line):
        self.sound(SILENCE, line)

    def sound(self, audio, line):
        for _ in range(int(line.word(0)) // FRAME_MS):
            self.peer.send(json.dumps({'type': 'input_audio_buffer.append', 'audio': audio}))

    def commits(self, _):
        self.send({'type': 'input_audio_buffer.commit'})

    def clears(self, _):
        self.send({'type': 'input_audio_buffer.clear'})

    def deletes(self, line):
        self.send({'type': 'conversation.item.delete', 'item_id': self.play.identity(line.word(0))})

    def truncates(self, line):
        self.send({'type': 'conversation.item.truncate', 'item_id': self.play.identity(line.word(0)),
                   'content_index': 0, 'audio_end_ms': int(line.after('at'))})

    def leaves(self, _):
        self.peer.close(1000)

    def disappears(self, _):
        self.peer.socket.shutdown(socket.SHUT_RDWR)

    # ---- gets ----

    def about(self, name, kinds=None):
        """The provider's events about an item that come next: all that were said, or up to one of these types."""
        identity = self.play.identity(name)
        said = self.play.provider.said_about(identity, kinds)
        told = self.told.get(identity, 0)
        for kind in said[told:]:
            event = self.take(kind)
            require(item_of(event) == identity, f'the client got {event}, which is not about {name}')
            told += 1
            self.told[identity] = told
            if kind in (kinds or ()):
                break
        return identity

    def gets_begin(self, line):
        event = self.take('response.created', line.options, 'response.')
        self.play.same(line.word(1), event['response']['id'])
        require(member(event, 'response.metadata.bc') is None, 'the gateway\'s mark reached the client')

    def gets_end(self, line):
        event = self.take('response.done', line.options, 'response.')
        self.play.same(line.word(1), event['response']['id'])
        status = line.word(2, 'completed')
        require(event['response']['status'] == status, f'the response ended {event["response"]["status"]}')

    def in_response(self, line, name):
        """The item's begin, which says whose it is."""
        first = 'response.output_item.added'
        response = self.play.identity(line.after('in'))
        event = self.next()
        require(event['type'] == first and event['response_id'] == response,
                f'the client got {event} in place of {first} in {line.after("in")}')
        self.play.same(name, event['item']['id'])
        self.ear.push_back(event)

    def gets_message(self, line):
        self.in_response(line, line.word(1))
        identity = self.about(line.word(1), ('conversation.item.done',))
        if line.body is not None:
            require(self.eye.texts.get(identity) == line.body,
                    f'the client heard {self.eye.texts.get(identity)!r}, not {line.body!r}')

    def gets_start(self, line):
        """start of M in R: as far as a scripted provider has said it."""
        self.in_response(line, line.words[2])
        self.about(line.words[2], () if self.play.scripted else ('response.content_part.added',))

    def gets_rest(self, line):
        self.about(line.words[2], ('conversation.item.done',))

    def gets_call(self, line):
        self.in_response(line, line.word(1))
        self.about(line.word(1), ('conversation.item.done',))

    def gets_item(self, line):
        name = line.word(1)
        added = self.take('conversation.item.added', line.options)
        self.play.same(name, added['item']['id'])
        self.place(line, added)
        self.told[added['item']['id']] = 2
        done = self.take('conversation.item.done')
        require(done['item']['id'] == added['item']['id'], f'the client got {done}, which is not about {name}')

    def place(self, line, event):
        after = line.after('after')
        if after:
            expected = None if after == 'nothing' else self.play.identity(after)
            require(event['previous_item_id'] == expected, f'{event["previous_item_id"]} is not {after}')

    def gets_hearing(self, line):
        event = self.take('input_audio_buffer.speech_started')
        self.play.same(line.word(1), event['item_id'])
        self.told[event['item_id']] = 1

    def gets_stop(self, line):
        event = self.take('input_audio_buffer.speech_stopped')
        self.play.same(line.word(1), event['item_id'])
        self.told[event['item_id']] = 2

    def gets_commit(self, line):
        """speech_stopped where there was one, committed, the item."""
        if self.play.identity(line.word(1)) not in self.told and not self.play.scripted:
            raise BadScript(f'{line.word(1)} was never heard')
        self.about(line.word(1), ('conversation.item.done',))

    def gets_error(self, line):
        """error CODE [for C]"""
        event = self.take('error', line.options)
        code = event['error']['code']
        require(code == line.word(1), f'the error is {code}')
        cause = line.after('for')
        require(cause is None or event['error']['event_id'] == cause, f'the error answers {event["error"]["event_id"]}')

    def gets_deleted(self, line):
        event = self.take('conversation.item.deleted')
        self.play.same(line.word(1), event['item_id'])

    def gets_sound(self, line):
        """sound of M: all of it that was said so far."""
        identity = self.play.identity(line.words[2])
        said = self.play.provider.deltas[identity]
        self.play.wait(lambda: self.eye.deltas.get(identity, 0) >= said, f'{said} pieces of {line.words[2]}')


class ProviderActor(Actor):
    """The provider's end, with what scripted and simulated have in common."""

    def __init__(self, play, peer):
        super().__init__(play, peer, 'provider')
        self.eye = ProviderEye()
        self.ear.taps.append(self.eye.tap)
        self.asks = {}  # name -> the response.create
        self.said = {}  # item -> types of what was said about it
        self.deltas = {}  # item -> how many
        self.conversation = []  # ids

    def note_said(self, event):
        identity = item_of(event)
        if event['type'].startswith('response.') and event['type'].endswith('.delta'):
            self.deltas[identity] = self.deltas.get(identity, 0) + 1
        elif event['type'] == 'conversation.item.added':
            previous = event['previous_item_id']
            at = self.conversation.index(previous) + 1 if previous in self.conversation else len(self.conversation)
            self.conversation.insert(at, identity)
        elif event['type'] == 'conversation.item.deleted':
            self.conversation.remove(identity)
        if identity and not is_folded(event['type']):
            self.said.setdefault(identity, []).append(event['type'])
        if event['type'] == 'response.output_item.done' and event['item']['type'] == 'function_call' and \
                event['item']['status'] == 'completed' and event['response_id'] not in self.asides():
            self.eye.calls[event['item']['call_id']] = event['item']['name']

    # ---- gets ----

    def created_item(self, line, kind):
        event = self.take('conversation.item.create', line.options)
        require(event['item']['type'] == kind, f'the provider got {event} in place of a {kind}')
        return event

    def gets_user(self, line):
        event = self.created_item(line, 'message')
        require(event['item']['id'] == line.word(1), f'the provider got {event} in place of {line.word(1)}')
        if line.after('after'):
            require(event['previous_item_id'] == self.play.identity(line.after('after')), f'not its place: {event}')
        self.acknowledge(event)

    def gets_message(self, line):
        """A message of the gateway: message ROLE ~"part of its text"."""
        event = self.created_item(line, 'message')
        require(event['item']['role'] == line.word(1), f'the provider got a message of another role: {event}')
        self.contains(line, json.dumps(event['item']['content'], ensure_ascii=False))
        self.acknowledge(event)

    def gets_output(self, line):
        event = self.created_item(line, 'function_call_output')
        name = line.word(1)
        require(event['item']['call_id'] == self.play.call_id(name), f'the provider got {event}, no output of {name}')
        output = event['item']['output']
        require(line.body is None or same_text(output, line.body), f'the output of {name} is {output}')
        self.contains(line, output)
        if line.after('as'):
            self.play.names[line.after('as')] = event['item']['id']
        self.take_in(line, event)

    def gets_call(self, line):
        """A call that is made for it: call F TOOL {…}."""
        event = self.created_item(line, 'function_call')
        name, item = line.word(1), event['item']
        require(item['name'] == line.word(2) and same_text(item['arguments'], line.body),
                f'the provider got {event}')
        self.play.names[name], self.play.calls[name] = item['id'], item['call_id']
        self.take_in(line, event)

    def take_in(self, line, event):
        """Acknowledge an item, or not."""
        if line.has('refused'):
            self.say('error', error={'type': 'invalid_request_error', 'code': 'invalid_value', 'message': 'no',
                                     'param': 'item.type', 'event_id': event['event_id']})
        elif line.has('unacknowledged'):
            self.play.pending[line.word(1)] = event
        else:
            self.acknowledge(event)

    def knows(self, line):
        """knows A B C: these are the items of its conversation, in this order."""
        expected = [self.play.identity(name) for name in line.words]
        require(self.conversation == expected, f'the conversation is {self.conversation}, not {expected}')

    @staticmethod
    def contains(line, text):
        for part in line.parts:
            require(part in text, f'{text} does not contain {part}')

    def ask(self, line, mark):
        event = self.take('response.create', line.options, 'response.')
        require(member(event, 'response.metadata.bc') == mark, f'the provider got {event}, asked by somebody else')
        name = line.word(1)
        self.asks[name] = event
        if mark:
            self.play.names[name] = event['event_id']
        else:
            require(event.get('event_id') == name, f'the provider got {event} in place of {name}')

    def gets_ask(self, line):
        self.ask(line, None)

    def gets_followup(self, line):
        self.ask(line, 'f')

    def gets_filler(self, line):
        self.ask(line, 'w')

    def gets_pass(self, line):
        self.ask(line, 'p')

    def gets_cancel(self, line):
        event = self.take('response.cancel')
        named = None if line.word(1) is None else self.play.identity(line.word(1))
        require(event.get('response_id') == named, f'the provider got {event}')

    def gets_audio(self, line):
        """audio MS: exactly so much of the caller's audio, before anything else."""
        for _ in range(int(line.word(1)) // FRAME_MS):
            event = self.ear.next()
            require(event['type'] == 'input_audio_buffer.append', f'the provider got {event} within audio')

    def gets_commit(self, _):
        self.take('input_audio_buffer.commit')


class Scripted(ProviderActor):
    """A provider that does what the script says, and acknowledges by itself what it gets."""

    def __init__(self, play, peer):
        super().__init__(play, peer)
        self.count = 0
        self.last = None
        self.responses = {}  # id -> {'conversation_id', 'metadata', 'output', 'usage'}
        self.items = {}  # id -> (response, item)
        self.heard = set()

    def asides(self):
        return [name for name, response in self.responses.items() if response['conversation_id'] is None]

    def acknowledge(self, event):
        item = dict(event['item'])
        item.setdefault('id', f'item_{self.count}')
        previous = event.get('previous_item_id', self.last)
        for kind in ('added', 'done'):
            self.say(f'conversation.item.{kind}', previous_item_id=previous, item=item)
        if previous == self.last:
            self.last = item['id']

    def say(self, kind, **members):
        self.count += 1
        event = {'type': kind, 'event_id': f'event_{self.count}', **members}
        self.note_said(event)
        self.send(event)

    def says(self, line):
        event = {}
        for path, value in line.options.items():
            assign(event, path, value)
        self.say(line.word(0), **event)

    # ---- responses ----

    def show(self, name, status, **more):
        response = self.responses[name]
        return {'object': 'realtime.response', 'id': name, 'status': status, 'status_details': None, 'output': [],
                'conversation_id': response['conversation_id'], 'metadata': response['metadata'], 'usage': None, **more}

    def begins(self, line):
        name, cause = line.word(0), line.after('for')
        asked = member(self.asks[cause], 'response') or {} if cause else {}
        aside = asked.get('conversation') == 'none'
        self.responses[name] = {'conversation_id': None if aside else 'conv', 'metadata': asked.get('metadata'),
                                'output': []}
        if line.has('without'):  # "without metadata": a provider that shows none
            self.responses[name]['metadata'] = None
        self.say('response.created', response=self.show(name, 'in_progress'))

    def ends(self, line):
        name, status = line.word(0), line.word(1, 'completed')
        details = None if status == 'completed' else {'type': status, 'reason': line.options.get('reason')}
        usage = {'total_tokens': 10, 'input_tokens': 7, 'output_tokens': 3}
        self.say('response.done', response=self.show(
            name, status, status_details=details, output=self.responses[name]['output'], usage=usage))

    def open_item(self, response, item):
        identity = item['id']
        self.items[identity] = (response, item)
        self.say('response.output_item.added', response_id=response, output_index=0, item=item)
        if self.responses[response]['conversation_id'] is not None:
            self.say('conversation.item.added', previous_item_id=self.last, item=item)
            self.last = identity

    def close_item(self, identity, **changes):
        response, item = self.items[identity]
        item = {**item, **changes}
        self.responses[response]['output'].append(item)
        self.say('response.output_item.done', response_id=response, output_index=0, item=item)
        if self.responses[response]['conversation_id'] is not None:
            self.say('conversation.item.done', previous_item_id=None, item=item)

    def calls(self, line):
        self.start_call(line.word(0), line)
        self.finish_call(line.word(0), line)

    def starts(self, line):
        """starts call F in R TOOL, starts M in R "text"."""
        if line.word(0) == 'call':
            self.start_call(line.word(1), line)
        else:
            self.start_message(line.word(0), line)

    def finishes(self, line):
        """finishes call F {…} [cut], finishes M ["text"] [cut]."""
        if line.word(0) == 'call':
            self.finish_call(line.word(1), line)
        else:
            self.finish_message(line.word(0), line)

    def start_call(self, name, line):
        at = line.words.index('in')
        self.play.calls[name] = f'call_{name}'
        self.open_item(line.words[at + 1], {
            'id': name, 'object': 'realtime.item', 'type': 'function_call', 'status': 'in_progress',
            'name': line.words[at + 2], 'call_id': f'call_{name}', 'arguments': ''})

    def finish_call(self, name, line):
        response, item = self.items[name]
        text = line.body if isinstance(line.body, str) else json.dumps(line.body)
        about = {'response_id': response, 'item_id': name, 'output_index': 0, 'call_id': item['call_id']}
        self.say('response.function_call_arguments.delta', **about, delta=text)
        self.say('response.function_call_arguments.done', **about, name=item['name'], arguments=text)
        self.close_item(name, status='incomplete' if line.has('cut') else 'completed', arguments=text)

    def speaks(self, line):
        self.start_message(line.word(0), line)
        line.body = None
        self.finish_message(line.word(0), line)

    def part(self, name, kind, **members):
        response, _ = self.items[name]
        self.say(kind, response_id=response, item_id=name, output_index=0, content_index=0, **members)

    def start_message(self, name, line):
        self.open_item(line.after('in'), {'id': name, 'object': 'realtime.item', 'type': 'message',
                                          'role': 'assistant', 'status': 'in_progress', 'content': []})
        kind = 'text' if line.has('written') else 'audio'
        self.part(name, 'response.content_part.added', part={'type': kind})
        self.play.written[name] = kind == 'text'
        self.utter(name, line.body)

    def utter(self, name, text):
        if text and self.play.written[name]:
            self.part(name, 'response.output_text.delta', delta=text)
        elif text:
            self.part(name, 'response.output_audio_transcript.delta', delta=text)
            self.part(name, 'response.output_audio.delta', delta=SOUND)

    def finish_message(self, name, line):
        self.utter(name, line.body)
        if self.play.written[name]:
            self.part(name, 'response.output_text.done', text='')
        else:
            self.part(name, 'response.output_audio.done')
            self.part(name, 'response.output_audio_transcript.done', transcript='')
        self.part(name, 'response.content_part.done', part={'type': 'text' if self.play.written[name] else 'audio'})
        self.close_item(name, status='incomplete' if line.has('cut') else 'completed')

    def sounds(self, line):
        """sounds M N: that many pieces of its audio."""
        for _ in range(int(line.word(1))):
            self.part(line.word(0), 'response.output_audio.delta', delta=SOUND)

    # ---- the caller ----

    def hears(self, line):
        self.heard.add(line.word(0))
        self.say('input_audio_buffer.speech_started', item_id=line.word(0), audio_start_ms=0)

    def stops(self, line):
        """stops hearing U"""
        self.heard.discard(line.word(1))
        self.say('input_audio_buffer.speech_stopped', item_id=line.word(1), audio_end_ms=0)

    def commits(self, line):
        name = line.word(0)
        if name in self.heard:
            self.heard.discard(name)
            self.say('input_audio_buffer.speech_stopped', item_id=name, audio_end_ms=0)
        self.say('input_audio_buffer.committed', item_id=name, previous_item_id=self.last)
        item = {'id': name, 'object': 'realtime.item', 'type': 'message', 'role': 'user', 'status': 'completed',
                'content': [{'type': 'input_audio', 'transcript': None}]}
        for kind in ('added', 'done'):
            self.say(f'conversation.item.{kind}', previous_item_id=self.last, item=item)
        self.last = name

    def transcribes(self, line):
        self.say('conversation.item.input_audio_transcription.delta', item_id=line.word(0), content_index=0,
                 delta=line.body)

    # ---- answers to requests ----

    def acknowledges(self, line):
        self.acknowledge(self.play.pending.pop(line.word(0)))

    def deletes(self, line):
        event = self.take('conversation.item.delete')
        require(event['item_id'] == line.word(0), f'the provider got {event}')
        if self.last == line.word(0):
            self.last = None
        self.say('conversation.item.deleted', item_id=line.word(0))

    def refuses(self, line):
        """refuses Q CODE [namelessly] [param=…]"""
        identity = None if line.has('namelessly') else self.play.identity(line.word(0))
        self.say('error', error={'type': 'invalid_request_error', 'code': line.word(1), 'message': 'no',
                                 'param': line.options.get('param'), 'event_id': identity})

    def leaves(self, line):
        self.peer.close(int(line.word(0, '1000')))

    def disappears(self, _):
        self.peer.socket.shutdown(socket.SHUT_RDWR)

    def said_about(self, identity, _):
        return self.said.get(identity, [])


class Tools:
    """The tool server's part: whose turn it is to answer is for the script to say."""

    def __init__(self, play, server):
        self.play, self.server = play, server
        self.held = {}  # name -> the request

    def gets(self, line):
        """tool gets T NAME {…}"""
        if line.word(0) == 'nothing':
            self.play.settle()
            require(not self.server.waiting, f'the tool server got {[r.name for r in self.server.waiting]}')
            return
        name, tool = line.word(0), line.word(1)
        request = self.server.find(tool, line.body)
        if request is None:
            there = [(r.name, r.arguments) for r in self.server.waiting]
            raise Failure(f'{tool} {line.body} never reached the tool server; waiting there: {there}')
        same = line.after('as')  # "as T": the same key as that request had
        require(same is None or self.held[same].key == request.key, 'the key is another one')
        self.play.trace.append(f'tool < {tool} {request.arguments}')
        self.held[name] = request

    def answers(self, line):
        body = line.body if isinstance(line.body, str) else json.dumps(line.body)
        self.reply(line, (int(line.options.get('status', 200)), body))

    def breaks(self, line):
        self.reply(line, 'cut')

    def reply(self, line, answer):
        self.play.trace.append(f'tool > {line.word(0)} {answer}')
        self.held[line.word(0)].give(answer)
        if not line.has('unfinished'):  # "unfinished": this answer does not end the call, or nobody waits for it
            self.play.expect_result()

    def loses(self, line):
        """The gateway goes away and does not wait for the answer."""
        self.play.wait(self.held[line.word(0)].lost.is_set, f'the end of {line.word(0)}')
        self.held[line.word(0)].give('cut')

    def waits(self, line):
        """At least so many milliseconds pass: for what may not happen before, never for what must have happened."""
        self.play.settle()
        time.sleep(int(line.word(0)) / 1000)

    def ends(self, _):
        """A call ends without an answer: it was refused, or its time is over."""
        self.play.expect_result()
        self.play.settle()


class Reasoner:
    """The text model, whose every generation is one step of the script."""

    def __init__(self, play, server):
        self.play, self.server = play, server
        self.held = {}  # name -> the request

    def gets(self, line):
        """reasoner gets S ~"…": a request whose last message holds this; reasoner gets nothing."""
        if line.word(0) == 'nothing':
            self.play.settle()
            require(not [r for r in self.server.waiting if r.name == REASONER], 'the reasoner was asked')
            return
        request = self.server.find(REASONER, None)
        if request is None:
            raise Failure('the reasoner was not asked')
        told = request.arguments['messages'][-1]['content']
        self.play.trace.append(f'reasoner < {told}')
        for part in line.parts:
            require(part in told, f'the reasoner was told {told}, without {part}')
        self.held[line.word(0)] = request

    def says(self, line):
        """reasoner says S "…": the action behind its thought."""
        chunk = {'choices': [{'index': 0, 'delta': {'content': f'<think>so</think>{line.body}'}, 'finish_reason': None}]}
        self.give(line, (200, f'data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n', 'text/event-stream'))

    def calls(self, line):
        """reasoner calls S [{…}] [wrongly]: an action that calls tools; wrongly: it is refused."""
        if not line.has('wrongly'):  # a call that waits for another one's result counts when that is there
            self.play.named += sum('"$' not in json.dumps(call['arguments']) for call in line.body)
        line.body = f'<tool_call>{json.dumps(line.body)}</tool_call>'
        self.says(line)

    def fails(self, line):
        self.give(line, (500, '{}'))

    def give(self, line, answer):
        self.play.trace.append(f'reasoner > {line.word(0)} {answer}')
        self.held[line.word(0)].give(answer)

    def loses(self, line):
        """Its generation is halted, because something happened."""
        self.play.wait(self.held[line.word(0)].lost.is_set, f'the end of {line.word(0)}')
        self.held[line.word(0)].give('cut')
