#!/usr/bin/env python3
"""Spoken turns: voice activity, manual turns, transcripts, barge-in."""
import sys
import unittest

from case import TURN, Case, types
from realtime import SILENCE, say, speech


class Audio(Case):
    ANSWER = ['response.created', 'response.output_item.added', 'conversation.item.added',
              'response.content_part.added', 'response.output_audio_transcript.delta', 'response.output_audio.delta',
              'response.output_audio.done', 'response.output_audio_transcript.done', 'response.content_part.done',
              'response.output_item.done', 'conversation.item.done', 'response.done']

    def test_vad_turn(self):
        client = self.talking()
        say(client, SILENCE * 50 + speech(2, 0, 3) + SILENCE * 30)
        done = client.until('response.done')['response']
        self.assertEqual(types(client.events), TURN + self.ANSWER)
        started, stopped, committed, added = client.events[:4]
        self.assertEqual(started['audio_start_ms'], 700)
        self.assertEqual(stopped['audio_end_ms'], 1900)
        self.assertEqual({started['item_id'], stopped['item_id'], committed['item_id'], added['item']['id']},
                         {started['item_id']})
        self.assertEqual(done['output'][0]['content'], [{'type': 'output_audio', 'transcript': 'You are welcome.'}])
        self.assertEqual((done['status'], done['status_details'], done['metadata']), ('completed', None, None))
        self.assertTrue(done['conversation_id'].startswith('conv_'))
        self.assertEqual(done['usage']['input_token_details']['audio_tokens'], 12)
        said = ''.join(e['delta'] for e in client.events if e['type'] == 'response.output_audio_transcript.delta')
        self.assertEqual(said, 'You are welcome.')
        self.assertTrue(all('obfuscation' in e for e in client.events if e['type'].endswith('.delta')))

    def test_any_chunking_and_format(self):
        for chunk in (131, 960, 50001):
            client = self.talking(output_modalities=['text'])
            say(client, SILENCE * 5 + speech(2, 0, 3) + SILENCE * 30, chunk)
            done = client.until('response.done')['response']
            self.assertEqual(done['output'][0]['content'], [{'type': 'output_text', 'text': 'You are welcome.'}])

    def test_flags_are_independent(self):
        detection = {'type': 'server_vad', 'create_response': False, 'silence_duration_ms': 200}
        client = self.talking(audio={'input': {'turn_detection': detection}})
        say(client, speech(2, 0, 3) + SILENCE * 10)
        client.until('input_audio_buffer.committed')
        client.until('conversation.item.done')
        client.nothing_more()

    def test_manual_turn(self):
        client = self.talking(audio={'input': {'turn_detection': None}})
        say(client, SILENCE * 4)
        client.send('input_audio_buffer.commit', event_id='c')
        error = client.error()
        self.assertEqual((error['code'], error['message']), (
            'input_audio_buffer_commit_empty', 'Error committing input audio buffer: buffer too small. Expected at '
            'least 100ms of audio, but buffer only has 80.00ms of audio.'))
        say(client, speech(2, 0, 3))
        client.send('input_audio_buffer.commit')
        self.assertIsNone(client.take('input_audio_buffer.committed')['previous_item_id'])
        client.until('conversation.item.done')
        client.nothing_more()
        client.send('response.create', response={'metadata': {'k': 'v'}})
        self.assertEqual(client.until('response.created')['response']['metadata'], {'k': 'v'})
        self.assertEqual(client.until('response.done')['response']['metadata'], {'k': 'v'})
        say(client, speech(2, 0, 3))
        client.send('input_audio_buffer.clear')
        client.take('input_audio_buffer.cleared')
        client.send('input_audio_buffer.commit')
        client.error()

    def test_streaming_transcript(self):
        client = self.talking(audio={'input': {'transcription': {'model': 'gpt-live-transcribe'}}})
        say(client, speech(2, 0, 1))
        started = client.until('input_audio_buffer.speech_started')
        for word in ('Thank', ' you'):
            delta = client.take('conversation.item.input_audio_transcription.delta')
            self.assertEqual((delta['delta'], delta['item_id']), (word, started['item_id']))
        say(client, speech(2, 2, 3) + SILENCE * 30)
        done = client.until('conversation.item.input_audio_transcription.completed')
        self.assertEqual((done['transcript'], done['usage']['type']), ('Thank you very much.', 'duration'))

    def test_transcript_after_commit(self):
        client = self.talking(audio={'input': {'transcription': {'model': 'gpt-4o-transcribe'}}})
        say(client, speech(2, 0, 3) + SILENCE * 30)
        delta = client.until('conversation.item.input_audio_transcription.delta')
        self.assertIn('input_audio_buffer.committed', types(client.events))
        self.assertEqual(delta['delta'], 'Thank you very much.')
        done = client.until('conversation.item.input_audio_transcription.completed')
        self.assertEqual(done['usage']['type'], 'tokens')

    def test_barge_in(self):
        client = self.talking(scale=0.1, timing=self.slow_talker())
        say(client, speech(2, 0, 3) + SILENCE * 30)
        client.until('response.output_audio.delta')
        client.events.clear()
        say(client, speech(2, 0, 0))
        client.until('input_audio_buffer.speech_started')
        done = client.until('response.done')['response']
        self.assertEqual((done['status'], done['status_details']),
                         ('cancelled', {'type': 'cancelled', 'reason': 'turn_detected'}))
        self.assertEqual(done['output'][0]['status'], 'incomplete')
        self.assertEqual(types(client.events)[-6:], [
            'response.output_audio.done', 'response.output_audio_transcript.done', 'response.content_part.done',
            'response.output_item.done', 'conversation.item.done', 'response.done'])

    def test_response_created_after_speech_started_is_not_cancelled(self):
        client = self.talking()
        say(client, speech(0, 0, 0))
        client.until('input_audio_buffer.speech_started')
        client.send('response.create')
        say(client, speech(0, 1, 3))
        self.assertEqual(client.until('response.done')['response']['status'], 'completed')

    def test_no_interrupt(self):
        detection = {'type': 'server_vad', 'interrupt_response': False}
        client = self.talking(audio={'input': {'turn_detection': detection}})
        say(client, speech(2, 0, 3) + SILENCE * 30)
        client.until('response.created')
        say(client, speech(2, 0, 0))
        client.until('input_audio_buffer.speech_started')
        self.assertEqual(client.until('response.done')['response']['status'], 'completed')

    def test_update_in_the_middle_of_speech(self):
        for options, stopped in (([], True), (['--reset-vad'], False)):
            client = self.talking(*options)
            say(client, speech(2, 0, 1))
            started = client.until('input_audio_buffer.speech_started')['item_id']
            client.update(audio={'input': {'turn_detection': {'type': 'server_vad', 'silence_duration_ms': 200}}})
            client.events.clear()
            say(client, SILENCE * 15)
            client.send('input_audio_buffer.clear')
            client.until('input_audio_buffer.cleared')
            self.assertEqual([e['item_id'] for e in client.events if e['type'].endswith('speech_stopped')],
                             [started] if stopped else [])

    def test_an_update_that_takes_its_time(self):
        """It meets what is said meanwhile, and updates are answered in their order."""
        client = self.talking('--reset-vad', '--detection-lag', '3600000')
        client.send('session.update', session={'type': 'realtime', 'audio': {'input': {'turn_detection': {
            'type': 'server_vad', 'silence_duration_ms': 200}}}})
        say(client, speech(2, 0, 1))
        client.until('input_audio_buffer.speech_started')
        self.assertEqual([e for e in client.events if e['type'] == 'session.updated'], [])
        client.update(instructions='Be brief.')
        client.events.clear()
        say(client, SILENCE * 15 + speech(2, 0, 1))
        client.until('input_audio_buffer.speech_started')
        self.assertEqual([e for e in client.events if e['type'].endswith('speech_stopped')], [])

    def test_idle_timeout(self):
        detection = {'type': 'server_vad', 'idle_timeout_ms': 5000}
        client = self.talking(audio={'input': {'turn_detection': detection}})
        say(client, speech(2, 0, 3) + SILENCE * 30)
        client.until('response.done')
        item = client.until('input_audio_buffer.timeout_triggered')['item_id']
        self.assertEqual(client.take('input_audio_buffer.committed')['item_id'], item)
        client.until('response.created')


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
