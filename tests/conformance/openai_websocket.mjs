// openai's OpenAIRealtimeWebSocket: the class over the platform's WebSocket, key as a subprotocol.
import assert from 'node:assert/strict';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { WebSocket } from 'undici';
import { openaiTests } from './openai_suite.mjs';

// Node has it of its own from 22 on; this is the same implementation.
globalThis.WebSocket ??= WebSocket;

// A WebSocket of the platform never tells a status.
openaiTests(OpenAIRealtimeWebSocket, (error) => assert.ok(error instanceof Error));
