// openai's OpenAIRealtimeWS: the class over the ws package, key in the Authorization header.
import assert from 'node:assert/strict';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { openaiTests } from './openai_suite.mjs';

openaiTests(OpenAIRealtimeWS, (error) => assert.match(error.message, /401/));
