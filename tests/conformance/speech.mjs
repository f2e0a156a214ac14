// A caller's voice the simulated provider can hear: every 20 ms frame of PCM16 at 24 kHz carries in its own
// samples which word is being spoken (the format is written down in tests/world/carrier.h).

const FRAME_SAMPLES = 480;
const BIT_SAMPLES = 9;
const BITS = 52;
const AMPLITUDE = 8000;
const WORD_FRAMES = 6;
const SILENCE_FRAMES = 40; // longer than the provider waits before it takes the turn as ended
const CHUNK_FRAMES = 5;
const PACE = 4; // times as fast as a person speaks

function bitsOf(value, count) {
  return Array.from({ length: count }, (_, i) => (value >> (count - 1 - i)) & 1);
}

// CRC-15, polynomial 0x4599.
function check(bits) {
  let crc = 0x2a5a;
  for (const bit of bits) {
    const carry = bit ^ ((crc >> 14) & 1);
    crc = (crc << 1) & 0x7fff;
    crc ^= carry ? 0x4599 : 0;
  }
  return crc;
}

function voicedFrame(turn, word, last) {
  const body = [...bitsOf(0xe8d5, 16), ...bitsOf(turn, 8), ...bitsOf(word, 11), last ? 1 : 0, 0];
  const bits = [...body, ...bitsOf(check(body), 15)];
  const frame = Buffer.alloc(FRAME_SAMPLES * 2);
  for (let i = 0; i < FRAME_SAMPLES; i++) {
    const positive = i < BITS * BIT_SAMPLES ? bits[Math.floor(i / BIT_SAMPLES)] === 1 : i % 2 === 0;
    frame.writeInt16LE(positive ? AMPLITUDE : -AMPLITUDE, i * 2);
  }
  return frame;
}

// The turn's words, then the silence that ends it.
function frames(index, words) {
  const list = [];
  for (let word = 0; word < words; word++) {
    for (let i = 0; i < WORD_FRAMES; i++) {
      list.push(voicedFrame(index, word, i === WORD_FRAMES - 1));
    }
  }
  return [...list, ...Array(SILENCE_FRAMES).fill(Buffer.alloc(FRAME_SAMPLES * 2))];
}

// Speak a turn: take(chunk) is called with a Buffer of PCM16 at a steady pace until all is said.
export function speak(index, text, take) {
  const list = frames(index, text.split(' ').length);
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      try {
        take(Buffer.concat(list.splice(0, CHUNK_FRAMES)));
      } catch (error) {
        clearInterval(timer);
        reject(error);
        return;
      }
      if (list.length === 0) {
        clearInterval(timer);
        resolve();
      }
    }, (CHUNK_FRAMES * 20) / PACE);
  });
}
