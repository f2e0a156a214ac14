"""The simulated provider in the provider's place.  It acts by itself: a line that says what the provider does waits until
it has been seen to do it, and names what it made."""
import json
import threading

from actors import ProviderActor, is_folded, item_of
from ears import CLOSED, PATIENCE, Ear, Failure, member
from eyes import require, same_text


class Simulating(ProviderActor):
    def __init__(self, play, peer, onward):
        super().__init__(play, peer)
        self.onward = onward
        self.lock = threading.Lock()
        self.changed = threading.Condition()
        self.events = []  # what it has said and no line has named
        self.aside = set()
        self.ear.taps.append(lambda event, text: self.onward.send(text))
        self.mouth = Ear(onward, 'simulated', play.trace)
        self.mouth.taps.append(self.hear)

    def asides(self):
        return self.aside

    def start(self):
        self.ear.start()
        self.mouth.start()

    def send(self, event):
        with self.lock:
            self.peer.send(json.dumps(event))

    def hear(self, event, text):
        with self.changed:
            if event['type'] == 'response.created' and event['response']['conversation_id'] is None:
                self.aside.add(event['response']['id'])
            self.note_said(event)
            if not is_folded(event['type']):
                self.events.append(event)
            self.changed.notify_all()
        with self.lock:
            self.peer.send(text)

    def said_about(self, identity, kinds):
        """Wait until one of these was said about the item."""
        def there():
            said = self.said.get(identity, [])
            return said if not kinds or any(kind in said for kind in kinds) else None
        with self.changed:
            if not self.changed.wait_for(there, PATIENCE):
                raise Failure(f'the provider never said {kinds} about {identity}')
            return list(there())

    def find(self, kind, test=lambda event: True):
        """Wait for an event that no line has named yet, and take it out."""
        def there():
            return next((event for event in self.events if event['type'] == kind and test(event)), None)
        with self.changed:
            if not self.changed.wait_for(there, PATIENCE):
                raise Failure(f'the provider never said {kind}; it said {[event["type"] for event in self.events]}')
            event = there()
            self.events.remove(event)
            return event

    def acknowledge(self, event):
        identity = event['item'].get('id')
        for kind in ('added', 'done'):
            self.find(f'conversation.item.{kind}', lambda said: identity in (None, said['item']['id']))

    # ---- what it is seen to do ----

    def begins(self, line):
        event = self.find('response.created')
        self.play.same(line.word(0), event['response']['id'])

    def of(self, line):
        return self.play.identity(line.after('in'))

    def calls(self, line):
        name, tool = line.word(0), line.words[line.words.index('in') + 2]
        event = self.find('response.output_item.done', lambda said: member(said, 'item.name') == tool and
                          said['response_id'] == self.of(line))
        require(same_text(event['item']['arguments'], line.body), f'{tool} was called with {event["item"]["arguments"]}')
        require((event['item']['status'] == 'incomplete') == line.has('cut'), f'the call is {event["item"]["status"]}')
        self.play.names[name] = event['item']['id']
        self.play.calls[name] = event['item']['call_id']

    def starts(self, line):
        event = self.find('response.output_item.added', lambda said: said['item']['type'] == 'message' and
                          said['response_id'] == self.of(line))
        self.play.same(line.word(0), event['item']['id'])

    def speaks(self, line):
        self.starts(line)

    def ends(self, line):
        identity = self.play.identity(line.word(0))
        event = self.find('response.done', lambda said: said['response']['id'] == identity)
        require(event['response']['status'] == line.word(1, 'completed'), f'it ended {event["response"]["status"]}')

    def hears(self, line):
        event = self.find('input_audio_buffer.speech_started')
        self.play.same(line.word(0), event['item_id'])

    def commits(self, line):
        event = self.find('input_audio_buffer.committed')
        self.play.same(line.word(0), event['item_id'])

    def gets_close(self, line):
        super().gets_close(line)
        self.onward.close(1000)


__all__ = ['CLOSED', 'Simulating', 'item_of']
