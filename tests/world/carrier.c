#include "tests/world/carrier.h"

#include "daemon/base/bug.h"

#include <string.h>

#define BITS      52
#define SYNC      0xE8D5u /* its shifted copies differ from it in many places */
#define AMPLITUDE 8000
#define QUIET     2000 /* below this a sample carries no bit */

/* The frame's bits lie in a uint64_t, the first one highest. */
#define SYNC_SHIFT   36
#define TURN_SHIFT   28
#define WORD_SHIFT   17
#define LAST_SHIFT   16
#define REPAIR_SHIFT 15
#define CHECK_MASK   0x7FFFu

static size_t frame_samples(enum audio_format format)
{
	return audio_rate(format) * CARRIER_FRAME_MS / 1000;
}

static size_t bit_samples(enum audio_format format)
{
	return frame_samples(format) / BITS;
}

/* CRC-15 (polynomial 0x4599) over the bits in front of the check. */
static uint64_t check_of(uint64_t bits)
{
	unsigned crc = 0x2A5A;

	for (int i = BITS - 1; i >= 15; i--) {
		unsigned in = (unsigned)(bits >> i & 1) ^ (crc >> 14 & 1);

		crc = (crc << 1) & CHECK_MASK;
		if (in != 0) {
			crc ^= 0x4599;
		}
	}
	return crc & CHECK_MASK;
}

static uint64_t bits_of(const struct carrier_mark *mark)
{
	uint64_t bits = (uint64_t)SYNC << SYNC_SHIFT | (uint64_t)mark->turn << TURN_SHIFT |
			(uint64_t)mark->word << WORD_SHIFT | (uint64_t)mark->last << LAST_SHIFT |
			(uint64_t)mark->repair << REPAIR_SHIFT;

	return bits | check_of(bits);
}

size_t carrier_frame_size(enum audio_format format)
{
	return frame_samples(format) * audio_sample_size(format);
}

static void sample_put(uint8_t *out, enum audio_format format, size_t index, int16_t value)
{
	switch (format) {
	case AUDIO_PCM16:
		out[2 * index] = (uint8_t)((uint16_t)value & 0xff);
		out[2 * index + 1] = (uint8_t)((uint16_t)value >> 8);
		return;
	case AUDIO_PCMU:
		out[index] = audio_linear_to_ulaw(value);
		return;
	case AUDIO_PCMA:
		out[index] = audio_linear_to_alaw(value);
		return;
	}
	BC_BUG_ON(true);
}

void carrier_put(uint8_t *out, enum audio_format format, const struct carrier_mark *mark)
{
	size_t n = frame_samples(format);
	size_t per_bit = bit_samples(format);
	uint64_t bits = 0;

	if (mark != NULL) {
		BC_BUG_ON(mark->turn > CARRIER_TURN_MAX || mark->word > CARRIER_WORD_MAX);
		bits = bits_of(mark);
	}
	for (size_t i = 0; i < n; i++) {
		bool positive = i % 2 == 0;

		if (mark == NULL) {
			sample_put(out, format, i, 0);
			continue;
		}
		if (i < per_bit * BITS) {
			positive = bits >> (BITS - 1 - i / per_bit) & 1;
		}
		sample_put(out, format, i, positive ? AMPLITUDE : -AMPLITUDE);
	}
}

void carrier_reader_init(struct carrier_reader *reader, enum audio_format format)
{
	*reader = (struct carrier_reader){.format = format};
}

/* The bit whose run begins first samples into the window; -1 if its samples do not agree. */
static int bit_at(const struct carrier_reader *reader, size_t first, size_t per_bit, size_t window)
{
	size_t from = (reader->at + CARRIER_SAMPLES_MAX - window + first) % CARRIER_SAMPLES_MAX;
	int8_t sign = reader->signs[from];

	for (size_t i = 1; i < per_bit; i++) {
		if (reader->signs[(from + i) % CARRIER_SAMPLES_MAX] != sign) {
			return -1;
		}
	}
	if (sign == 0) {
		return -1;
	}
	return sign > 0 ? 1 : 0;
}

/* Whether the last samples are a whole frame. */
static bool frame_ends_here(const struct carrier_reader *reader, struct carrier_mark *ret)
{
	size_t per_bit = bit_samples(reader->format);
	size_t window = per_bit * BITS;
	uint64_t bits = 0;

	if (reader->held < window) {
		return false;
	}
	for (size_t i = 0; i < BITS; i++) {
		int bit = bit_at(reader, i * per_bit, per_bit, window);

		if (bit < 0) {
			return false;
		}
		if (i < 16 && (unsigned)bit != (SYNC >> (15 - i) & 1)) {
			return false;
		}
		bits = bits << 1 | (unsigned)bit;
	}
	if ((bits & CHECK_MASK) != check_of(bits)) {
		return false;
	}
	ret->turn = (unsigned)(bits >> TURN_SHIFT) & CARRIER_TURN_MAX;
	ret->word = (unsigned)(bits >> WORD_SHIFT) & CARRIER_WORD_MAX;
	ret->last = bits >> LAST_SHIFT & 1;
	ret->repair = bits >> REPAIR_SHIFT & 1;
	return true;
}

static bool sample_take(struct carrier_reader *reader, const uint8_t *at, struct carrier_mark *ret)
{
	int16_t value = audio_sample(reader->format, at);
	int8_t sign = 0;

	if (value >= QUIET) {
		sign = 1;
	} else if (value <= -QUIET) {
		sign = -1;
	}
	reader->signs[reader->at] = sign;
	reader->at = (reader->at + 1) % CARRIER_SAMPLES_MAX;
	reader->samples++;
	if (reader->held < CARRIER_SAMPLES_MAX) {
		reader->held++;
	}
	/* Most samples are silence, and a frame ends on a loud one. */
	if (sign == 0 || !frame_ends_here(reader, ret)) {
		return false;
	}
	reader->held = 0;
	return true;
}

bool carrier_read(struct carrier_reader *reader, const uint8_t *bytes, size_t len, size_t *ret_used,
		  struct carrier_mark *ret)
{
	size_t size = audio_sample_size(reader->format);
	size_t used = 0;

	if (reader->has_odd && len > 0) {
		uint8_t pair[2] = {reader->odd, bytes[0]};

		reader->has_odd = false;
		used = 1;
		if (sample_take(reader, pair, ret)) {
			*ret_used = used;
			return true;
		}
	}
	for (; len - used >= size; used += size) {
		if (sample_take(reader, bytes + used, ret)) {
			*ret_used = used + size;
			return true;
		}
	}
	if (used < len) {
		reader->odd = bytes[used++];
		reader->has_odd = true;
	}
	*ret_used = used;
	return false;
}
